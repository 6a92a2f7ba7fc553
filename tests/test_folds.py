"""An ensemble of folds: each image is scored by the members that were not trained on it."""

import csv
import json

import numpy as np
import pytest

from classify.evaluate import evaluate as evaluate_classifier
from classify.evaluate import logits_of
from classify.flags import ClassifyOptions
from classify.inference import load_inference
from classify.outputs import softmax
from classify.scores import temperature
from common.data.prepared.prepared import prepare
from common.program.errors import UserError
from common.program.options import Command
from common.runs.ensemble import ensemble_of
from common.runs.evaluation import held_out
from common.runs.workdir import open_run
from configs import small_cnn_chest_xray, toy_gan_1d, unet_brain_mri
from studies import ensemble
from studies.cell import Cell
from studies.ensemble import train_ensemble
from studies.executors import Here
from tests.untrained import untrained
from unet.evaluate import evaluate as evaluate_unet
from unet.flags import UNetOptions
from unet.segment import load_windows, segment
from unet.threshold import to_mask

SIZE, FOLDS = 16, 3


def classifier_config(**data):
    config = small_cnn_chest_xray.get_config("tiny").unlock()
    config.model.network.width = 4
    config.data.update(image_size=SIZE, num_phantoms=12, folds=FOLDS, **data)
    return config.lock()


def unet_config(fold):
    config = unet_brain_mri.get_config("tiny").unlock()
    config.model.update(depth=2, width=4)
    config.data.update(image_size=SIZE, num_phantoms=8, folds=2, fold=fold)
    return config.lock()


@pytest.fixture(scope="module")
def folds(tmp_path_factory):
    """Returns the ensemble of three folds, the first with two seeds."""
    folder, runs = tmp_path_factory.mktemp("folds"), []
    for fold, seed in ((0, 0), (0, 1), (1, 0), (2, 0)):
        config = classifier_config(fold=fold)
        config.seed = seed
        runs.append(untrained(config, folder / f"fold{fold}_seed{seed}"))
    return ensemble_of([run.workdir for run in runs], folder / "together")


def rows_of(folder, table):
    return list(csv.DictReader((folder / table).read_text().splitlines()))


def test_each_image_is_scored_by_the_members_that_have_not_seen_it(folds):
    held = held_out(folds, ClassifyOptions(split="val"))
    assert held.name == "val" and held.cross_validated
    assert [len(part.run.members) for part in held.parts] == [2, 1, 1]
    for part in held.parts:
        splits = prepare(part.run.config.data).splits
        assert part.split.ids == splits["val"].ids
    splits = prepare(folds.config.data).splits
    assert sorted(held.split.ids) == sorted((*splits["train"].ids, *splits["val"].ids))

    evaluate_classifier(folds, ClassifyOptions(split="val"))
    found = rows_of(folds.workdir / "evaluation_val", "scored_images.csv")
    shares = [float(row["probability_NORMAL"]) for row in found]
    images = held.split.read(range(len(found)))["image"]
    place = 0
    for part in held.parts:
        own = images[place : place + len(part.split)]
        each = [softmax(load_inference(one)[0].logits(own), 1.0) for one in part.run.members]
        expected = np.mean(each, 0)[:, 0]
        np.testing.assert_allclose(shares[place : place + len(own)], expected, rtol=1e-6)
        place += len(own)


def test_the_test_images_are_scored_by_all_at_what_was_chosen_on_the_folds(folds):
    evaluate_classifier(folds, ClassifyOptions())
    report = json.loads((folds.workdir / "evaluation" / "evaluation.json").read_text())
    assert report["split"] == "test" and not report["cross_validated"]
    assert report["temperature_fitted_on"] == report["operating_points_chosen_on"] == "val"
    parts = held_out(folds, ClassifyOptions()).validation
    found = [logits_of(part.split, load_inference(part.run)[0]) for part in parts]
    logits, labels = (np.concatenate(values) for values in zip(*found, strict=True))
    assert report["temperature"] == pytest.approx(temperature(logits, labels))


def test_a_mask_is_scored_by_the_members_that_have_not_seen_its_image(tmp_path):
    runs = [untrained(unet_config(fold), tmp_path / str(fold)) for fold in range(2)]
    run = ensemble_of([one.workdir for one in runs], tmp_path / "both")
    evaluate_unet(run, UNetOptions(split="val"))
    found = {row["image"]: row for row in rows_of(run.workdir / "evaluation_val", "images.csv")}
    total = 0
    for one in runs:
        split = prepare(one.config.data).splits["val"]
        total += len(split)
        images = split.read(range(len(split)))["image"]
        for name, shares in zip(split.ids, segment(images, load_windows(one)[0]), strict=True):
            assert int(found[name]["predicted_pixels"]) == to_mask(shares, 0.5).sum()
    assert len(found) == total
    evaluate_unet(run, UNetOptions())
    report = json.loads((run.workdir / "evaluation" / "evaluation.json").read_text())
    assert report["split"] == "test" and report["threshold_chosen_on"] == "val"


def test_one_command_trains_what_is_missing_and_cross_validates(tmp_path, monkeypatch):
    trained, stops = [], [True]

    def train(config, workdir):
        if len(trained) == 2 and stops:
            return not stops.pop()
        trained.append(workdir.name)
        return bool(untrained(config, workdir))

    monkeypatch.setattr("studies.cell.train", train)
    monkeypatch.setattr(ensemble, "executor_of", lambda _, workdir: Here(workdir / "log.txt"))
    workdir, command = tmp_path / "runs", Command(mode="ensemble", seeds=2)
    workdir.mkdir()
    assert not train_ensemble(classifier_config(), command, workdir)
    assert trained == ["fold0_seed0", "fold0_seed1"]
    assert train_ensemble(classifier_config(), command, workdir)
    assert len(trained) == len(set(trained)) == 6
    run = open_run(workdir)
    assert [one.workdir.name for one in run.members] == trained
    assert {one.config.data.fold for one in run.members} == {0, 1, 2}
    report = json.loads((workdir / "evaluation_val" / "evaluation.json").read_text())
    assert report["cross_validated"] and report["images"] == 15
    assert not list(workdir.rglob("evaluation"))  # nothing has read test images
    assert train_ensemble(classifier_config(), command, workdir) and len(trained) == 6


def test_what_is_no_ensemble_is_refused_in_a_sentence(tmp_path, folds):
    one, two = Command(mode="ensemble"), Command(mode="ensemble", seeds=2)
    single = classifier_config()
    single.data.folds = 0
    for config, command, workdir, said in (
        (single, one, tmp_path / "a", "needs several runs: set --config.data.folds=5"),
        (toy_gan_1d.get_config("tiny"), two, tmp_path / "b", "predicts nothing"),
        (single, Command(mode="ensemble", members="x"), tmp_path / "c", "leave one of them out"),
        (single, two, folds.members[0].workdir, "is in use; choose another --workdir"),
        (single, two, folds.workdir, "is in use; choose another --workdir"),
    ):
        with pytest.raises(UserError, match=said):
            train_ensemble(config, command, workdir)


def test_a_split_of_other_images_is_refused(folds, tmp_path):
    with pytest.raises(UserError, match="leave it or --input out"):
        held_out(folds, ClassifyOptions(split="val", input=str(tmp_path)))


def test_a_cell_that_is_scored_on_validation_has_those_figures(tmp_path):
    config = classifier_config(fold=1)
    cell = Cell("x", config, options=ClassifyOptions(split="val"))
    run = untrained(config, tmp_path)
    evaluate_classifier(run, cell.options)
    assert cell.figures(tmp_path)["images"] == run.card.num_examples["val"]
