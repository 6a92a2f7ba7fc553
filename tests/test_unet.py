"""From pairs of image and mask to masks of new images, through the command line."""

import csv
import json
import os

import nibabel
import numpy as np
import pytest
from PIL import Image

from common.data.phantoms import brain_mri
from tests.test_launch import refused

SIZE = 48
# Enough to learn from, small enough for two cores.
TRAINING = (
    "--config=configs/unet_brain_mri_best.py",
    f"--config.data.image_size={SIZE}",
    "--config.data.num_phantoms=256",
    "--config.model.width=8",
    "--config.model.depth=4",
    "--config.train.num_steps=16 epochs",
    "--config.train.eval_every=4 epochs",
    "--config.train.checkpoint_every=4 epochs",
    "--config.train.picture_every=0",
)


def dice(truth, predicted):
    return 2 * (truth & predicted).sum() / (truth.sum() + predicted.sum())


@pytest.fixture(scope="module")
def run(trained_once):
    """A trained and evaluated run, what it said, and the seconds that both took."""
    return trained_once("segmenter", *TRAINING)


@pytest.fixture(scope="module")
def patients(tmp_path_factory):
    """Phantoms that the run has not seen, as files, and their masks."""
    folder = tmp_path_factory.mktemp("patients")
    drawn = brain_mri(7, 24, SIZE)
    for number, image in enumerate(drawn.images):
        (folder / "ward").mkdir(exist_ok=True)
        Image.fromarray(image).save(folder / "ward" / f"{number:02d}.png")
    return folder, drawn


def report_of(workdir):
    return json.loads((workdir / "evaluation" / "evaluation.json").read_text())


def test_phantoms_are_learnt_in_minutes(run):
    workdir, said, seconds = run
    report = report_of(workdir)
    tumour = report["scores"]["tumour"]
    assert tumour["pooled"]["dice"]["value"] >= 0.9
    assert tumour["per_image_with_truth"]["dice"]["value"] >= 0.85
    assert seconds < 300
    assert report["synthetic"] and report["threshold_chosen_on"] == "val"
    assert "tumour" in said and f"threshold {report['threshold']}" in said


def test_the_best_checkpoint_is_kept_by_validation_dice(run):
    workdir = run[0]
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    scores = {row["step"]: row["val/dice"] for row in rows if "val/dice" in row}
    best = max(scores, key=lambda step: scores[step])
    assert report_of(workdir)["checkpoint_step"] == best
    assert (workdir / "checkpoints" / str(best)).exists()


def test_scores_do_not_depend_on_the_number_of_devices(run, launch, tmp_path):
    launch("--mode=evaluate", f"--workdir={run[0]}", f"--output={tmp_path}", devices=4)
    one, four = report_of(run[0]), json.loads((tmp_path / "evaluation.json").read_text())
    assert one == four


def test_another_hospital_is_scored_at_the_threshold_of_the_run(run, patients, launch, tmp_path):
    """Names that the run's expression does not match, and no splits."""
    images, masks = patients[1].images[:6], patients[1].masks[:6]
    for kind, arrays in (("images", images), ("masks", masks)):
        (tmp_path / "there" / kind).mkdir(parents=True)
        for number, array in enumerate(arrays):
            Image.fromarray(array).save(tmp_path / "there" / kind / f"scan{number}.png")
    said = launch("--mode=evaluate", f"--workdir={run[0]}", f"--input={tmp_path / 'there'}")
    there = json.loads((run[0] / "evaluation-there" / "evaluation.json").read_text())
    assert "every image counts as one" in said.stderr
    assert (there["images"], there["patients"], there["split"]) == (6, None, "all")
    assert "6 images of unknown patients, each counted as one" in said.stdout
    assert there["threshold"] == report_of(run[0])["threshold"]
    assert there["scores"]["tumour"]["pooled"]["dice"]["value"] > 0.8


def test_evaluation_leaves_tables_and_panels(run):
    folder, report = run[0] / "evaluation", report_of(run[0])
    images = list(csv.DictReader((folder / "images.csv").read_text().splitlines()))
    assert len(images) == report["images"] == 64
    pooled = report["scores"]["tumour"]["per_image"]["dice"]["value"]
    np.testing.assert_allclose(np.mean([float(row["dice"]) for row in images]), pooled, atol=1e-4)
    assert report["patients"] is None and not (folder / "patients.csv").exists()  # drawings
    for name in ("worst", "median", "best", "random"):
        with Image.open(folder / f"{name}.png") as picture:
            assert picture.mode == "RGB" and picture.width > 4 * 160


def test_images_unlike_those_of_training_are_reported(run, launch, tmp_path):
    """Its own test images are not; noise of another size is, in the table of its own input."""
    report = report_of(run[0])
    outside = report["unlike"]["outside"]
    assert outside <= 6  # of 64: 4 % are expected, and so few vary
    images = list(csv.DictReader((run[0] / "evaluation" / "images.csv").read_text().splitlines()))
    assert sum(float(row["unlike"]) > 1 for row in images) == outside
    rng = np.random.default_rng(0)
    (tmp_path / "noise").mkdir()
    for number in range(4):
        image = Image.fromarray(rng.integers(0, 256, (SIZE + 9, SIZE, 3), np.uint8))
        image.save(tmp_path / "noise" / f"{number}.png")
    out = tmp_path / "out"
    said = launch(
        *("--mode=predict", f"--workdir={run[0]}"),
        *(f"--input={tmp_path / 'noise'}", f"--output={out}"),
    ).stdout
    rows = list(csv.DictReader((out / "unlike-noise.csv").read_text().splitlines()))
    assert [row["file"] for row in rows] == [f"{number}.png" for number in range(4)]
    assert all(float(row["unlike"]) > 1 for row in rows)
    assert "4 of 4 images lie outside what this run was trained on" in said


@pytest.fixture(scope="module")
def predicted(run, patients, launch, tmp_path_factory):
    out = tmp_path_factory.mktemp("masks") / "out"
    said = launch(
        "--mode=predict",
        f"--workdir={run[0]}",
        f"--input={patients[0]}",
        f"--output={out}",
        "--overlays",
        "--probabilities",
    )
    return out, said


def test_predict_writes_a_mask_of_each_image_where_the_image_was(run, patients, predicted):
    out, said = predicted
    masks = []
    for number in range(24):
        with Image.open(out / "ward" / f"{number:02d}.png") as mask:
            masks.append(np.array(mask))
    masks = np.stack(masks)
    assert set(np.unique(masks)) == {0, 255} and masks.shape == patients[1].masks.shape
    assert dice(patients[1].masks > 0, masks > 0) >= 0.9
    assert f"threshold {report_of(run[0])['threshold']}" in said.stdout
    with Image.open(out / "ward" / "00_probability.png") as shares:
        assert shares.mode == "I;16"
        threshold = report_of(run[0])["threshold"]
        np.testing.assert_array_equal(np.array(shares) >= threshold * 65535, masks[0] > 0)
    with Image.open(out / "ward" / "00_overlay.png") as picture:
        assert picture.size == (SIZE, SIZE) and picture.mode == "RGB"


def test_masks_are_not_replaced_unless_told(run, patients, predicted, launch):
    out, _ = predicted
    args = ("--mode=predict", f"--workdir={run[0]}", f"--input={patients[0] / 'ward' / '00.png'}")
    (out / "00.png").write_bytes(b"mine")
    for more in ((), ("--overwrite",)):
        said = refused(launch, *args, f"--output={out}", *more)
        assert f"{out / '00.png'} exists and was not written by this program" in said
    assert (out / "00.png").read_bytes() == b"mine"
    (out / "00.png").unlink()
    launch(*args, f"--output={out}")
    assert f"{out / '00.png'} exists; add --overwrite" in refused(launch, *args, f"--output={out}")
    launch(*args, f"--output={out}", "--overwrite")
    with Image.open(out / "00.png") as mask:
        assert mask.size == (SIZE, SIZE)


def test_a_volume_comes_back_as_a_volume_in_its_own_space(run, launch, tmp_path):
    """The same patient stored along other axes gives the same mask along those axes."""
    rng = np.random.default_rng(0)
    upright = rng.integers(0, 1000, (50, 70, 5)).astype(np.int16)
    affine = np.diag([1.0, 2.0, 3.0, 1.0])
    nibabel.save(nibabel.Nifti1Image(upright, affine), tmp_path / "upright.nii.gz")
    turned = np.flip(upright.transpose(2, 0, 1), 1)  # axes: superior, left, anterior
    turned_affine = np.array([[0, -1, 0, 49], [0, 0, 2, 0], [3, 0, 0, 0], [0, 0, 0, 1.0]])
    nibabel.save(nibabel.Nifti1Image(turned, turned_affine), tmp_path / "turned.nii")
    (tmp_path / "turned.mha").write_text("not read")
    out = tmp_path / "out"
    said = launch(
        "--mode=predict",
        f"--workdir={run[0]}",
        f"--input={tmp_path}",
        f"--output={out}",
        "--threshold=0.02",
        "--probabilities",
    )
    assert "1 of 3 files is not read" in said.stderr and "turned.mha" in said.stderr
    assert "images/s); 1 other file is not read\n  10 of 10 images lie outside" in said.stdout
    first, second = nibabel.load(out / "upright.nii.gz"), nibabel.load(out / "turned.nii")
    np.testing.assert_array_equal(first.affine, affine)
    np.testing.assert_array_equal(second.affine, turned_affine)
    masks = np.asarray(first.dataobj), np.asarray(second.dataobj)
    assert masks[0].dtype == np.uint8 and set(np.unique(masks[0])) <= {0, 1}
    np.testing.assert_array_equal(np.flip(masks[0].transpose(2, 0, 1), 1), masks[1])
    shares = nibabel.load(out / "upright_probability.nii.gz")
    np.testing.assert_array_equal(np.asarray(shares.dataobj) >= 0.02, masks[0] > 0)


def test_a_large_image_keeps_its_size_and_a_broken_one_does_not_stop_the_others(
    run, patients, launch, tmp_path
):
    """400x280 pixels, with a phantom somewhere in it, found where it is."""
    scene = np.zeros((280, 400, 3), np.uint8)
    scene[120 : 120 + SIZE, 200 : 200 + SIZE] = patients[1].images[0]
    (tmp_path / "in").mkdir()
    Image.fromarray(scene).save(tmp_path / "in" / "large.png")
    (tmp_path / "in" / "broken.png").write_bytes(b"no image")
    os.mkfifo(tmp_path / "in" / "pipe.png")
    said = launch(
        "--mode=predict",
        f"--workdir={run[0]}",
        f"--input={tmp_path / 'in'}",
        f"--output={tmp_path / 'out'}",
        code=2,
    ).stderr
    assert "2 files could not be segmented" in said and "broken.png" in said
    assert "pipe.png is a named pipe, not a file" in said
    with Image.open(tmp_path / "out" / "large.png") as mask:
        found = np.array(mask) > 0
    assert found.shape == (280, 400)
    truth = np.zeros_like(found)
    truth[120 : 120 + SIZE, 200 : 200 + SIZE] = patients[1].masks[0] > 0
    assert (found & truth).sum() > 0.5 * truth.sum()


def pairs(folder, masks):
    """Writes an image for each of these masks, and the masks, as a training set."""
    rng = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for number, mask in enumerate(masks):
        pixels = rng.integers(0, 256, (20, 20, 3), np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{number}_.png")
        if mask is not None:
            Image.fromarray(mask).save(folder / "masks" / f"{number}_.png")
    return folder


GOOD = np.eye(20, dtype=np.uint8) * 255


@pytest.mark.parametrize(
    ("masks", "sentence"),
    [
        ((GOOD, None), "No mask has the name of 1 of 2 files"),
        ((GOOD, GOOD[:10]), "has 20x10 pixels, its image 20x20; make them equal"),
        ((GOOD, np.eye(20, dtype=np.uint8) * 128), "which are unknown"),
        ((GOOD, GOOD), "set --config.data.splits=70,15,15"),
    ],
    ids=["no mask", "another size", "another value", "nothing held out"],
)
def test_pairs_that_cannot_be_trained_on(masks, sentence, launch, tmp_path):
    folder = pairs(tmp_path / "set", masks)
    said = refused(
        launch,
        "--config=configs/unet_brain_mri.py:tiny",
        f"--config.data.dir={folder}",
        f"--workdir={tmp_path / 'run'}",
    )
    assert sentence in said


def test_input_that_cannot_be_predicted(run, patients, launch, tmp_path):
    def said(*args):
        return refused(launch, "--mode=predict", f"--workdir={run[0]}", *args)

    (tmp_path / "empty").mkdir()
    empty, out = f"--input={tmp_path / 'empty'}", f"--output={tmp_path / 'out'}"
    assert "holds no readable image" in said(empty, out)
    assert "would replace" in said(
        f"--input={patients[0]}/ward/00.png", f"--output={patients[0]}/ward"
    )
    assert "is the folder of --input" in said(f"--input={patients[0]}", f"--output={patients[0]}")
    both = pairs(tmp_path / "set", (GOOD,))
    assert f"name {both / 'images'}" in said(f"--input={both}", out)
    assert not (tmp_path / "out").exists()


def test_masks_inside_the_input_are_no_images_the_next_time(run, patients, launch, tmp_path):
    (tmp_path / "in").mkdir()
    Image.fromarray(patients[1].images[0]).save(tmp_path / "in" / "a.png")
    args = (
        "--mode=predict",
        f"--workdir={run[0]}",
        f"--input={tmp_path / 'in'}",
        f"--output={tmp_path / 'in' / 'masks'}",
    )
    for more in ((), ("--overwrite",)):
        assert "1 image is segmented" in launch(*args, *more).stdout


def test_obstacles_are_reported(run, launch, tmp_path):
    (tmp_path / "file").write_text("")
    for mode, more in (("evaluate", ()), ("predict", (f"--input={tmp_path / 'x.png'}",))):
        Image.new("RGB", (8, 8)).save(tmp_path / "x.png")
        said = refused(
            launch,
            f"--mode={mode}",
            f"--workdir={run[0]}",
            *more,
            f"--output={tmp_path / 'file' / 'sub'}",
        )
        assert "can't be written" in said


def test_a_mode_of_another_task_is_refused(run, launch):
    said = refused(launch, "--mode=generate", f"--workdir={run[0]}", "--output=x")
    assert "have no --mode=generate; use --mode=evaluate or --mode=predict" in said
