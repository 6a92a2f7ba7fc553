"""Images that show several findings, in ChestMNIST's form: trained, evaluated and predicted."""

import csv
import json

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from scipy.special import expit
from sklearn import metrics

from classify.evaluate import evaluate
from classify.export import _model
from classify.flags import ClassifyOptions
from classify.inference import load_inference
from classify.judge import make_judge
from classify.losses import binary_cross_entropy, finding_targets
from classify.outputs import Outputs
from classify.predict import predict
from common.data.findings import findings_of, outputs_of, shown_by
from common.data.prepared.prepared import prepare
from common.data.sources.arrays import open_npz
from common.program.errors import UserError
from common.runs.ensemble import ensemble_of
from common.runs.workdir import open_run
from common.scores.classification import Predicted, intervals, scores, temperature
from common.training.train import train
from configs import small_cnn_chest_xray

RNG = np.random.default_rng(0)
SIZE, FINDINGS = 16, 3


def phantoms(num):
    """Draws images with up to three findings: a bright corner, a bright side, a dark middle."""
    shown = RNG.random((num, FINDINGS)) < 0.4
    images = RNG.integers(80, 140, (num, SIZE, SIZE), np.uint8)
    for image, (corner, side, middle) in zip(images, shown, strict=True):
        image[:6, :6] += np.uint8(100 * corner)
        image[:, 12:] += np.uint8(100 * side)
        image[6:12, 4:10] -= np.uint8(70 * middle)
    return images, shown.astype(np.uint8)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """Returns an .npz file as of ChestMNIST."""
    path = tmp_path_factory.mktemp("data") / "chestmnist.npz"
    arrays = {}
    for split, num in (("train", 160), ("val", 40), ("test", 40)):
        arrays[f"{split}_images"], arrays[f"{split}_labels"] = phantoms(num)
    np.savez(path, **arrays)
    return path


@pytest.fixture(scope="module")
def run(file, tmp_path_factory):
    config = small_cnn_chest_xray.get_config("tiny").unlock()
    config.model.network.width = 8
    config.data.update(dir=str(file), image_size=SIZE, group="", folds=0, batch_size=32)
    config.optimizer.learning_rate = 3e-3
    config.train.update(num_steps="24", log_every="24", eval_every="24", checkpoint_every="24")
    config.train.picture_every = "24"
    config.augment.flip_horizontal = False
    workdir = tmp_path_factory.mktemp("run")
    assert train(config.lock(), workdir)
    found = open_run(workdir)
    evaluate(found, ClassifyOptions())
    return found


def test_a_class_is_all_that_an_image_shows(file):
    source, labels = open_npz(file), np.load(file)["test_labels"]
    for record, row in zip(source.splits["test"], labels, strict=True):
        found = findings_of(source.classes[record.label])
        assert found == tuple(map(str, np.flatnonzero(row)))
    assert "no finding" in source.classes and outputs_of(source.classes) == ("0", "1", "2")


def test_names_join_findings_and_plain_classes_stay():
    names = ("No Finding", "Mass", "Mass|Nodule", "Nodule|Effusion")
    assert outputs_of(names) == ("Effusion", "Mass", "Nodule")
    np.testing.assert_array_equal(shown_by(names)[2], [False, True, True])
    assert not shown_by(names)[0].any()
    plain = ("no finding", "Mass")
    assert outputs_of(plain) == plain and (shown_by(plain) == np.eye(2)).all()


def test_it_learns_and_each_finding_is_scored_as_scikit_learn_does(run):
    folder = run.workdir / "evaluation"
    report = json.loads((folder / "evaluation.json").read_text())
    assert report["classes"] == ["0", "1", "2"] and report["split"] == "test"
    assert report["operating_points"].keys() == {"0", "1", "2"}
    split = prepare(run.config.data).splits["test"]
    examples = split.read(range(len(split)))
    inference = load_inference(run)[0]
    logits = inference.logits(examples["image"])
    truth = shown_by(run.card.classes)[examples["label"]]
    chances = expit(logits.astype(float) / report["temperature"])
    expected = metrics.roc_auc_score(truth, chances, average=None)
    found = [report["scores"][f"roc_auc_{name}"]["value"] for name in report["classes"]]
    np.testing.assert_allclose(found, expected)
    assert report["scores"]["roc_auc_macro"]["value"] == pytest.approx(expected.mean())
    assert expected.mean() > 0.8
    assert "AUC" in report["verdict"] and "Weakest on" in report["verdict"]
    rows = list(csv.DictReader((folder / "scored_images.csv").read_text().splitlines()))
    assert [row["truth"] for row in rows] == [run.card.classes[x] for x in examples["label"]]
    shares = _model(run).function(jnp.asarray(examples["image"]))
    np.testing.assert_allclose(shares, chances, atol=1e-5)


def test_predict_names_all_findings(run, tmp_path):
    images, labels = phantoms(6)
    (tmp_path / "new").mkdir()
    for place, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / "new" / f"{place}.png")
    options = ClassifyOptions(input=str(tmp_path / "new"), output=str(tmp_path / "found"))
    predict(run, options)
    rows = list(csv.DictReader((tmp_path / "found" / "predictions.csv").read_text().splitlines()))
    for row in rows:
        found = [name for name in "012" if float(row[f"probability_{name}"]) >= 0.5]
        assert row["label"] == ("|".join(found) or "no finding")
        assert {row[f"found_{name}"] for name in "012"} <= {"yes", "no"}
    assert len(rows) == len(labels)


def test_members_are_averaged_and_no_judge_is_made(run, tmp_path):
    pixels = RNG.integers(0, 256, (5, SIZE, SIZE, 1), np.uint8)
    both = ensemble_of([run.workdir], tmp_path / "ensemble")
    alone = load_inference(run, "")[0].logits(pixels)
    np.testing.assert_allclose(load_inference(both, "")[0].logits(pixels), alone, rtol=1e-5)
    outputs = Outputs.of(run.card.classes)
    shares = outputs.probabilities(alone, 1.0)
    np.testing.assert_allclose(outputs.logits(shares), alone, rtol=1e-4)
    with pytest.raises(UserError, match="may show several findings; a judge must"):
        make_judge(run)


def test_the_loss_is_the_mean_over_findings():
    logits = jnp.asarray(RNG.normal(size=(4, 3)), jnp.float32)
    shown = jnp.asarray(RNG.random((4, 3)) < 0.5)
    chances = expit(np.asarray(logits))
    expected = -np.log(np.where(shown, chances, 1 - chances)).mean(-1)
    found = binary_cross_entropy(logits, finding_targets(shown, 0.0))
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    np.testing.assert_allclose(finding_targets(shown, 0.2), np.where(shown, 0.9, 0.1), rtol=1e-6)


def test_scores_of_findings_are_scikit_learns():
    truth = RNG.random((60, 4)) < 0.4
    logits = RNG.normal(size=truth.shape) + 1.5 * truth
    chances, names = expit(logits), ("a", "b", "c", "d")
    found = scores(truth, chances, names)
    called = chances >= 0.5
    assert found["accuracy"] == pytest.approx((called == truth).mean())
    assert found["f1_macro"] == pytest.approx(metrics.f1_score(truth, called, average="macro"))
    assert found["f1_micro"] == pytest.approx(metrics.f1_score(truth, called, average="micro"))
    assert found["pr_auc_macro"] == pytest.approx(metrics.average_precision_score(truth, chances))
    losses = [metrics.log_loss(truth[:, i], chances[:, i]) for i in range(4)]
    assert found["log_loss"] == pytest.approx(np.mean(losses))
    assert found["brier"] == pytest.approx(((chances - truth) ** 2).mean())
    assert temperature(3 * logits, truth) == pytest.approx(3 * temperature(logits, truth), rel=0.01)
    ids = tuple(map(str, range(60)))
    one = intervals(Predicted(ids, ("",) * 60, truth, chances), names, 50)["roc_auc_b"]
    assert one.low <= one.value <= one.high
