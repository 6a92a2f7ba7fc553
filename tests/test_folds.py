"""An ensemble of folds: each image is scored by the members that were not trained on it."""

import csv
import json

import numpy as np
import pytest

from classify.evaluate import evaluate, logits_of
from classify.flags import ClassifyOptions
from classify.inference import load_inference
from classify.outputs import softmax
from common.data.prepared.prepared import prepare
from common.program.errors import UserError
from common.program.options import Command
from common.runs.ensemble import ensemble_of
from common.runs.evaluation import held_out, once_each
from common.runs.workdir import open_run
from common.scores.classification import temperature
from configs import small_cnn_chest_xray, toy_gan_1d, unet_brain_mri
from studies import ensemble
from studies.cell import Cell
from studies.ensemble import train_ensemble
from studies.executors import Here
from tests.untrained import untrained
from unet.flags import UNetOptions
from unet.segment import load_windows, segment
from unet.segmented import segmented

SIZE, FOLDS = 16, 2
COMMAND = Command(mode="ensemble", seeds=2)


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
def trained(tmp_path_factory):
    """Returns the workdir of an ensemble that was stopped once, and which runs were trained."""
    workdir, names, stops = tmp_path_factory.mktemp("runs"), [], [True]

    def train(config, place):
        if len(names) == 1 and stops:
            return not stops.pop()
        names.append(place.name)
        return bool(untrained(config, place))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("studies.cell.train", train)
        patch.setattr(ensemble, "executor_of", lambda _, place: Here(place / "log.txt"))
        assert not train_ensemble(classifier_config(), COMMAND, workdir)
        assert names == ["fold0_seed0"]
        assert train_ensemble(classifier_config(), COMMAND, workdir)
    return workdir, names


def report_of(folder):
    return json.loads((folder / "evaluation.json").read_text())


def test_one_command_trains_what_is_missing_and_cross_validates(trained):
    workdir, names = trained
    assert names == ["fold0_seed0", "fold0_seed1", "fold1_seed0", "fold1_seed1"]
    run = open_run(workdir)
    assert [one.workdir.name for one in run.members] == names
    assert [(one.config.data.fold, one.config.seed) for one in run.members] == [
        *((0, 0), (0, 1), (1, 0), (1, 1))
    ]
    report = report_of(workdir / "evaluation_val")
    assert report["cross_validated"] and report["images"] == 12 + 3
    assert not list((workdir / "cells").rglob("evaluation*"))  # nothing has read test images


def test_each_image_is_scored_by_the_members_that_have_not_seen_it(trained):
    workdir, _ = trained
    run = open_run(workdir)
    held = held_out(run, ClassifyOptions(split="val"))
    assert [len(part.run.members) for part in held.parts] == [2, 2]
    for part in held.parts:
        assert part.split.ids == prepare(part.run.config.data).splits["val"].ids
    splits = prepare(run.config.data).splits
    assert sorted(held.split.ids) == sorted((*splits["train"].ids, *splits["val"].ids))

    table = (workdir / "evaluation_val" / "scored_images.csv").read_text()
    found = csv.DictReader(table.splitlines())
    shares = [float(row["probability_NORMAL"]) for row in found]
    images = held.split.read(range(len(shares)))["image"]
    last = images[-len(held.parts[1].split) :]
    each = [softmax(load_inference(one)[0].logits(last), 1.0) for one in run.members[2:]]
    np.testing.assert_allclose(shares[-len(last) :], np.mean(each, 0)[:, 0], rtol=1e-6)


def test_the_test_images_are_scored_by_all_at_what_was_chosen_on_the_folds(trained):
    workdir, _ = trained
    run = open_run(workdir)
    evaluate(run, ClassifyOptions(average="mirror"))
    report = report_of(workdir / "evaluation")
    assert report["split"] == "test" and not report["cross_validated"]
    assert report["average"] == "mirror"
    assert report["temperature_fitted_on"] == report["operating_points_chosen_on"] == "val"
    parts = held_out(run, ClassifyOptions()).validation
    found = [logits_of(part.split, load_inference(part.run)[0]) for part in parts]
    logits, labels = (np.concatenate(values) for values in zip(*found, strict=True))
    assert report["temperature"] == pytest.approx(temperature(logits, labels))


def test_a_mask_is_found_by_the_members_that_have_not_seen_its_image(tmp_path):
    runs = [untrained(unet_config(fold), tmp_path / str(fold)) for fold in range(2)]
    run = ensemble_of([one.workdir for one in runs], tmp_path / "both")
    held, loaded = held_out(run, UNetOptions(split="val")), once_each(load_windows)
    found = list(segmented(held.parts, loaded))
    first, second = held.parts
    assert [part.run.members[0].workdir for part in held.parts] == [one.workdir for one in runs]
    images = second.split.read(range(len(second.split)))["image"]
    expected = segment(images, loaded(second.run)[0])
    for one, shares in zip(found[len(first.split) :], expected, strict=True):
        np.testing.assert_allclose(one.probabilities, shares, atol=1e-6)
    places = [1, len(first.split)]  # one of each part
    for place, one in zip(places, segmented(held.parts, loaded, places), strict=True):
        np.testing.assert_array_equal(one.image, found[place].image)
        np.testing.assert_allclose(one.probabilities, found[place].probabilities, atol=1e-6)


def test_what_is_no_ensemble_is_refused_in_a_sentence(tmp_path, trained):
    workdir, _ = trained
    single = classifier_config()
    single.data.folds = 0
    one = Command(mode="ensemble")
    other = ensemble_of([open_run(workdir / "cells" / "fold0_seed0").workdir], tmp_path / "other")
    for config, command, place, said in (
        (single, one, tmp_path / "a", "needs several runs: set --config.data.folds=5"),
        (toy_gan_1d.get_config("tiny"), COMMAND, tmp_path / "b", "predicts nothing"),
        (single, Command(mode="ensemble", members="x"), tmp_path / "c", "leave one of them out"),
        (single, COMMAND, workdir / "cells" / "fold0_seed0", "is in use; choose another --workdir"),
        (single, COMMAND, other.workdir, "is in use; choose another --workdir"),
    ):
        with pytest.raises(UserError, match=said):
            train_ensemble(config, command, place)
    with pytest.raises(UserError, match="leave it or --input out"):
        held_out(open_run(workdir), ClassifyOptions(split="val", input=str(tmp_path)))


def test_a_cell_that_is_scored_on_validation_has_those_figures(trained):
    cell = Cell("x", classifier_config(), options=ClassifyOptions(split="val"))
    assert cell.figures(trained[0])["images"] == 15
