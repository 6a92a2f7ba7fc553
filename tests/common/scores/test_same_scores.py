"""Log, evaluate and studies say the same of the same predictions: what scikit-learn says.

scikit-learn is asked with all classes as `labels` and `zero_division=np.nan`; its defaults give the
same accuracy, F1 and, of the classes that are there, recall.
"""

import csv
import math
import warnings
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sklearn
from sklearn import metrics as reference

from classify.evaluate import read_scored_images, scored_rows
from common.devices.axis import AXIS
from common.runs.evaluation import write_table
from common.scores.classification import Predicted, scores
from common.scores.metrics import (
    averages_and_scores,
    classification_scores,
    confusion_matrix,
    known_values,
    segmentation_scores,
)
from studies.statistics import interval, measure
from unet.scores import Scored, readings, summary

TABLES = 500


@cache
def tables():
    """Random predictions: classes that are absent or never predicted, ties, zeros, one image."""
    rng, made = np.random.default_rng(0), []
    for number in range(TABLES):
        classes, images = rng.integers(2, 5), rng.integers(1, 40)
        probabilities = rng.dirichlet(np.full(classes, rng.choice([0.05, 0.5, 5.0])), images)
        kind = number % 5
        if kind == 1:  # ties
            probabilities = np.round(4 * probabilities) + 0.25
        if kind == 2:  # exact zeros and ones
            probabilities = np.eye(classes)[probabilities.argmax(-1)]
        if kind == 3:  # a class that is never predicted
            probabilities[:, rng.integers(classes)] = 0.0
            probabilities += 1e-9
        probabilities /= probabilities.sum(-1, keepdims=True)
        there = rng.permutation(classes)[: rng.integers(1, classes + 1)]
        made.append((rng.choice(there, images), probabilities))
    return made


def predicted_of(labels, probabilities):
    names = tuple(map(str, range(len(labels))))
    return Predicted(names, ("",) * len(labels), labels, probabilities)


def of_scikit_learn(labels, probabilities):
    """Returns its scores by our names; its warnings of what has no value are what is tested."""
    classes = np.arange(probabilities.shape[1])
    called = probabilities.argmax(-1)
    each = reference.precision_recall_fscore_support(
        labels, called, labels=classes, zero_division=np.nan
    )
    found = {"accuracy": reference.accuracy_score(labels, called)}
    found["balanced_accuracy"] = reference.balanced_accuracy_score(labels, called)
    for name, values in zip(("precision", "recall", "f1"), each, strict=False):
        found |= {f"{name}_c{index}": value for index, value in enumerate(values)}
        known = values[np.isfinite(values)]
        found[f"{name}_macro"] = known.mean()
    found["log_loss"] = reference.log_loss(labels, probabilities, labels=classes)
    for index in classes:
        truth = labels == index
        if truth.any() and not truth.all():
            score = probabilities[:, index]
            found[f"roc_auc_c{index}"] = reference.roc_auc_score(truth, score)
            found[f"pr_auc_c{index}"] = reference.average_precision_score(truth, score)
        found[f"sensitivity_c{index}"] = each[1][index]
    counts = reference.multilabel_confusion_matrix(labels, called, labels=classes)
    for index, ((others, wrong), (missed, _)) in enumerate(counts):
        found[f"specificity_c{index}"] = others / (others + wrong)
        found[f"npv_c{index}"] = others / (others + missed)
    return found


@pytest.fixture(scope="module")
def expected():
    fast = sklearn.config_context(assume_finite=True, skip_parameter_validation=True)
    with fast, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [of_scikit_learn(*table) for table in tables()]


def test_evaluate_agrees_with_scikit_learn(expected):
    for table, wanted in zip(tables(), expected, strict=True):
        found = scores(*table, [f"c{index}" for index in range(table[1].shape[1])])
        for name, value in wanted.items():
            assert found[name] == pytest.approx(value, rel=1e-9, abs=1e-12, nan_ok=True), name
        areas = [value for name, value in wanted.items() if name.startswith("roc_auc")]
        mean = np.mean(areas) if areas else math.nan
        assert found["roc_auc_macro"] == pytest.approx(mean, nan_ok=True)


def test_the_log_agrees_with_evaluate(expected):
    names = {"accuracy": "accuracy", "balanced_accuracy": "balanced_accuracy"}
    names |= {name: f"{name}_macro" for name in ("precision", "recall", "f1")}
    for (labels, probabilities), wanted in zip(tables(), expected, strict=True):
        number = probabilities.shape[1]
        classes = tuple(f"c{index}" for index in range(number))
        confusion = predicted_of(labels, probabilities).confusion(number)
        of_classes = {f"f1_{name}": f"f1_{name}" for name in classes}
        for name, score in classification_scores(classes):
            value = wanted[{**names, **of_classes}[name]]
            assert score(confusion) == pytest.approx(value, rel=1e-9, nan_ok=True), name


def test_a_study_agrees_with_evaluate_through_the_file_that_it_reads(tmp_path, expected):
    """Of one training, on every tenth table: the file keeps ties, zeros and the smallest shares."""
    for (labels, probabilities), wanted in list(zip(tables(), expected, strict=True))[::10]:
        classes = tuple(f"c{index}" for index in range(probabilities.shape[1]))
        one = predicted_of(labels, probabilities)
        write_table(tmp_path / "scored_images.csv", scored_rows(one, classes, {}))
        read = read_scored_images(tmp_path / "scored_images.csv", classes)
        found = measure([read], classes, 2)
        for name, value in wanted.items():
            observed = float(found[name].observed[0])
            assert observed == pytest.approx(value, rel=1e-9, nan_ok=True), name
        assert interval(found["f1_macro"]).value == pytest.approx(wanted["f1_macro"])


def logged(truth, called, scores_of, classes):
    """Returns what a step logs of one image a row, as the loop reads it."""
    rows = jnp.asarray(truth)[None, :, None], jnp.asarray(called)[None, :, None]

    def step(truth, called):
        confusion = confusion_matrix(truth, called, len(classes))
        return averages_and_scores({"loss": jnp.ones(len(truth))}, confusion, scores_of(classes))

    metrics = jax.vmap(step, axis_name=AXIS)(*rows)
    return known_values(jax.tree.map(lambda x: x[0], metrics))


def test_a_class_that_validation_lacks_is_in_no_mean():
    """Two of six images are right: F1 of a and b is 1 / 3, and there is no c, nor is it found."""
    truth, called = np.array([0, 0, 0, 1, 1, 1]), np.array([0, 1, 1, 0, 0, 1])
    found = logged(truth, called, classification_scores, ("a", "b", "c"))
    f1 = reference.f1_score(truth, called, average="macro")
    assert found["f1"] == pytest.approx(f1) == pytest.approx(1 / 3)
    assert found["balanced_accuracy"] == found["recall"] == pytest.approx(1 / 3)
    assert "f1_c" not in found and found["f1_a"] == pytest.approx(1 / 3)
    told = scores(truth, np.eye(3)[called], ("a", "b", "c"))
    assert told["f1_macro"] == pytest.approx(f1) and math.isnan(told["f1_c"])


def test_a_class_may_be_called_as_a_mean_over_classes_is():
    truth, called = np.array([0, 0, 0, 1, 1, 1]), np.array([0, 1, 1, 0, 0, 1])
    known = scores(truth, np.eye(2)[called], ("a", "b"))
    told = scores(truth, np.eye(2)[called], ("macro", "micro"))
    assert told["f1_macro"] == known["f1_macro"] and told["f1_micro"] == known["f1_micro"]
    assert told["f1_class_macro"] == known["f1_a"] and told["f1_class_micro"] == known["f1_b"]


def test_a_mask_class_that_validation_lacks_is_in_no_mean():
    """The log, evaluate's pooled view and its readings; an empty image is still a success."""
    truth, called = np.array([0, 0, 0, 1, 1, 1]), np.array([0, 1, 1, 0, 0, 1])
    classes = ("background", "b", "c")
    found = logged(truth, called, segmentation_scores, classes)
    jaccard = reference.jaccard_score(truth, called, labels=[1], average="macro")
    assert found["iou"] == pytest.approx(jaccard) and "dice_c" not in found
    assert found["dice"] == found["dice_b"] == pytest.approx(1 / 3)
    confusion = reference.confusion_matrix(truth, called, labels=[0, 1, 2])[None]
    scored = Scored(("x",), ("",), confusion, np.zeros((1, 2)), np.zeros((1, 2)))
    told = {
        (view.class_name, view.name): view.scores["iou"].value for view in summary(scored, classes)
    }
    assert told["b", "pooled"] == pytest.approx(jaccard)
    assert math.isnan(told["c", "pooled"])
    assert told["c", "per_image"] == 1.0
    read = readings(confusion)
    assert read["f1"]["pooled"]["foreground"] == pytest.approx(1 / 3)
    for name, average in (("mean_of_classes", "macro"), ("weighted", "weighted")):
        assert read["f1"]["pooled"][name] == pytest.approx(
            reference.f1_score(truth, called, average=average)
        )


def test_where_nothing_is_to_be_found_or_found_the_log_has_no_dice():
    nothing = np.zeros(4, int)
    found = logged(nothing, nothing, segmentation_scores, ("background", "tumour"))
    assert found == {"accuracy": 1.0, "loss": 1.0}


def test_exact_zeros_cost_the_same_as_in_scikit_learn():
    labels, probabilities = np.array([0, 1]), np.array([[0.0, 1.0], [0.0, 1.0]])
    found = scores(labels, probabilities, ("a", "b"))["log_loss"]
    assert found == reference.log_loss(labels, probabilities) == pytest.approx(18.02, abs=0.01)


def test_the_table_keeps_every_digit(tmp_path):
    probabilities = np.array([[1 / 3, 2 / 3], [1e-300, 1.0], [0.5000000001, 0.4999999999]])
    one = predicted_of(np.array([0, 1, 0]), probabilities)
    write_table(tmp_path / "p.csv", scored_rows(one, ("a", "b"), {}))
    read = read_scored_images(tmp_path / "p.csv", ("a", "b"))
    np.testing.assert_array_equal(read.probabilities, probabilities)
    with (tmp_path / "p.csv").open() as stream:
        assert [row["label"] for row in csv.DictReader(stream)] == ["b", "b", "a"]
