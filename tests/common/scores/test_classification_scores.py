"""Scores of classifications against scikit-learn, closed forms and their edge cases."""

import math

import numpy as np
import pytest
from scipy.special import softmax
from sklearn import metrics as reference

from common.scores.classification import Predicted, intervals, scores, temperature

RNG = np.random.default_rng(0)


def random_predictions(num, classes, ties=False):
    logits = RNG.normal(size=(num, classes))
    if ties:
        logits = np.round(logits)
    return RNG.integers(0, classes, num), softmax(logits, axis=-1)


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("ties", [False, True], ids=["apart", "tied"])
def test_every_score_agrees_with_scikit_learn(classes, ties):
    labels, probabilities = random_predictions(60, classes, ties)
    names = [f"c{i}" for i in range(classes)]
    found, predicted = scores(labels, probabilities, names), probabilities.argmax(-1)
    assert found["accuracy"] == reference.accuracy_score(labels, predicted)
    expected = reference.balanced_accuracy_score(labels, predicted)
    assert found["balanced_accuracy"] == pytest.approx(expected)
    for score in ("precision", "recall", "f1"):
        function = getattr(reference, f"{score}_score")
        assert found[f"{score}_macro"] == pytest.approx(
            function(labels, predicted, average="macro")
        )
        each = function(labels, predicted, average=None)
        assert [found[f"{score}_{name}"] for name in names] == pytest.approx(each)
    assert found["f1_micro"] == pytest.approx(
        reference.f1_score(labels, predicted, average="micro")
    )
    for index, name in enumerate(names):
        truth, score = labels == index, probabilities[:, index]
        roc_auc = reference.roc_auc_score(truth, score)
        assert found[f"roc_auc_{name}"] == pytest.approx(roc_auc, rel=1e-12)
        pr_auc = reference.average_precision_score(truth, score)
        assert found[f"pr_auc_{name}"] == pytest.approx(pr_auc, rel=1e-12)
    if classes > 2:
        macro = reference.roc_auc_score(labels, probabilities, multi_class="ovr")
        assert found["roc_auc_macro"] == pytest.approx(macro)
    assert found["log_loss"] == pytest.approx(reference.log_loss(labels, probabilities))
    one_hot = np.eye(classes)[labels]
    assert found["brier"] == pytest.approx(((one_hot - probabilities) ** 2).sum(-1).mean())
    if classes == 2:
        half = reference.brier_score_loss(labels, probabilities[:, 1])
        assert found["brier"] == pytest.approx(2 * half)


def test_where_all_images_are_of_one_class_curves_have_no_area():
    _, probabilities = random_predictions(20, 2)
    found = scores(np.zeros(20, int), probabilities, ("a", "b"))
    assert math.isnan(found["roc_auc_macro"]) and math.isnan(found["pr_auc_b"])
    assert math.isnan(found["recall_b"]) and found["balanced_accuracy"] == found["recall_a"]
    assert found["precision_b"] == 0.0 and found["accuracy"] == found["recall_a"]


def test_a_class_that_is_never_predicted_has_no_precision():
    probabilities = np.tile([0.9, 0.1], (6, 1))
    found = scores(np.array([0, 0, 0, 1, 1, 1]), probabilities, ("a", "b"))
    assert math.isnan(found["precision_b"]) and found["recall_b"] == 0.0 and found["f1_b"] == 0.0
    assert found["roc_auc_macro"] == 0.5


def test_calibration_error_in_closed_form():
    """Nine of ten sure to 0.8 are right: a gap of 0.1; five of ten sure to 0.6: another."""
    probabilities = np.array([[0.8, 0.2]] * 10 + [[0.6, 0.4]] * 10)
    labels = np.array([0] * 9 + [1] + [0] * 5 + [1] * 5)
    assert scores(labels, probabilities, ("a", "b"))["ece"] == pytest.approx(0.1)


def test_probabilities_that_come_true_are_calibrated():
    probabilities = RNG.dirichlet([1, 1], 50_000)
    labels = (RNG.random(50_000) < probabilities[:, 1]).astype(int)
    assert scores(labels, probabilities, ("a", "b"))["ece"] < 0.01


@pytest.mark.parametrize("true", [0.5, 1.0, 3.0])
def test_temperature_scaling_finds_the_temperature(true):
    logits = RNG.normal(size=(40_000, 3)) * 2
    chances = softmax(logits, axis=-1)
    labels = (RNG.random((40_000, 1)) > chances.cumsum(-1)).sum(-1)
    assert temperature(logits * true, labels) == pytest.approx(true, rel=0.03)


def test_a_temperature_stays_within_bounds_where_nothing_is_wrong():
    logits = np.array([[1.0, 0.0], [0.0, 1.0]])
    assert 0.04 < temperature(logits, np.array([0, 1])) < 0.1


def test_an_interval_is_of_the_scores_of_images_drawn_again():
    """Image by image and draw by draw, as the bootstrap is written in books."""
    labels, probabilities = random_predictions(25, 3, ties=True)
    ids, names = tuple(map(str, range(25))), ("a", "b", "c")
    groups = tuple(f"patient {place // 2}" for place in range(25))
    found = intervals(Predicted(ids, groups, labels, probabilities), names, 40)
    patients = sorted(set(groups))
    drawn = np.random.default_rng(0).integers(len(patients), size=(40, len(patients)))
    of_draws = []
    for draw in drawn:
        rows = [row for one in draw for row in range(25) if groups[row] == patients[one]]
        of_draws.append(scores(labels[rows], probabilities[rows], names))
    for name, entry in found.items():
        low, high = np.nanpercentile([some[name] for some in of_draws], (2.5, 97.5))
        assert (entry.low, entry.high) == pytest.approx((low, high), rel=1e-9), name


def test_intervals_are_over_patients():
    """Ten copies of every image tell nothing new, and the interval says so."""
    labels, probabilities = random_predictions(30, 2)
    ids = tuple(map(str, range(30)))
    once = intervals(Predicted(ids, ("",) * 30, labels, probabilities), ("a", "b"), 200)
    rows = np.repeat(np.arange(30), 10)
    copies = Predicted(
        tuple(map(str, range(300))), tuple(ids[r] for r in rows), labels[rows], probabilities[rows]
    )
    tenfold = intervals(copies, ("a", "b"), 200)
    for name in ("accuracy", "roc_auc_macro", "brier"):
        width, same = (x[name].high - x[name].low for x in (once, tenfold))
        assert same == pytest.approx(width, rel=0.35)
        assert once[name].low < once[name].value < once[name].high
        assert tenfold[name].value == pytest.approx(once[name].value, abs=0.01)
