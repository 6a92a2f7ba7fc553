"""From images in folders of classes to the classes of new images, through the command line."""

import csv
import json
import os

import numpy as np
import pytest
from PIL import Image

from common.data.phantoms import CHEST_XRAY_CLASSES, chest_xray, lung_ct
from tests.test_launch import folder_of_images, refused

SIZE = 32
TRAINING = (
    "--config=configs/small_cnn_chest_xray.py",
    f"--config.data.image_size={SIZE}",
    "--config.data.num_phantoms=768",
    "--config.model.network.width=16",
    "--config.train.num_steps=16 epochs",
    "--config.train.eval_every=4 epochs",
    "--config.train.checkpoint_every=4 epochs",
    "--config.train.picture_every=0",
)


@pytest.fixture(scope="module")
def run(trained_once):
    """A trained and evaluated run, what it said, and the seconds that both took."""
    return trained_once("classifier", *TRAINING)


@pytest.fixture(scope="module")
def patients(tmp_path_factory):
    """Phantoms that the run has not seen, as files, and their classes."""
    folder = tmp_path_factory.mktemp("patients")
    drawn = chest_xray(7, 40, SIZE)
    (folder / "ward").mkdir()
    for number, image in enumerate(drawn.images):
        Image.fromarray(image[..., 0]).save(folder / "ward" / f"{number:02d}.png")
    return folder, drawn


def report_of(workdir, name="evaluation"):
    return json.loads((workdir / name / "evaluation.json").read_text())


def test_phantoms_are_learnt_in_minutes(run):
    workdir, said, seconds = run
    report = report_of(workdir)
    assert report["scores"]["accuracy"]["value"] >= 0.95
    assert report["scores"]["roc_auc_macro"]["value"] >= 0.97
    assert seconds < 180
    assert report["synthetic"] and report["temperature_fitted_on"] == "val"
    assert "accuracy" in said and "temperature" in said


def test_evaluation_leaves_a_table_and_figures_that_agree(run):
    folder, report = run[0] / "evaluation", report_of(run[0])
    rows = list(csv.DictReader((folder / "scored_images.csv").read_text().splitlines()))
    right = np.mean([row["truth"] == row["label"] for row in rows])
    assert len(rows) == report["images"] == np.sum(report["confusion"]) == 192
    assert right == pytest.approx(report["scores"]["accuracy"]["value"])
    for row in rows:
        shares = [float(row[f"probability_{name}"]) for name in CHEST_XRAY_CLASSES]
        assert sum(shares) == pytest.approx(1, abs=1e-5)
        assert CHEST_XRAY_CLASSES[int(np.argmax(shares))] == row["label"]
    with Image.open(folder / "figures.png") as picture:
        assert picture.width > 1200


def test_scores_do_not_depend_on_the_number_of_devices(run, launch, tmp_path):
    launch("--mode=evaluate", f"--workdir={run[0]}", f"--output={tmp_path}", devices=4)
    one, four = report_of(run[0]), json.loads((tmp_path / "evaluation.json").read_text())
    assert one["confusion"] == four["confusion"]
    for name, entry in one["scores"].items():
        assert four["scores"][name] == pytest.approx(entry, rel=1e-4, abs=1e-6), name


def test_predict_writes_a_table_and_the_evidence_for_each_class(run, patients, launch, tmp_path):
    args = (
        "--mode=predict",
        f"--workdir={run[0]}",
        f"--input={patients[0]}",
        f"--output={tmp_path / 'out'}",
        "--explain",
    )
    said = launch(*args)
    rows = list(csv.DictReader((tmp_path / "out" / "predictions.csv").read_text().splitlines()))
    assert [row["file"] for row in rows] == [f"ward/{number:02d}.png" for number in range(40)]
    truth = [CHEST_XRAY_CLASSES[label] for label in patients[1].labels]
    assert np.mean([row["label"] == name for row, name in zip(rows, truth, strict=True)]) >= 0.9
    assert f"temperature {report_of(run[0])['temperature']:.3f}" in said.stdout
    with Image.open(tmp_path / "out" / "ward" / "00.png") as picture:
        assert picture.mode == "RGB" and picture.size == (SIZE, SIZE)
    assert "exists; add --overwrite" in refused(launch, *args)


def test_images_unlike_those_of_training_are_reported(run, patients, launch, tmp_path):
    """Its own test images are not; noise is, and so are drawings of another kind."""
    outside = report_of(run[0])["unlike"]["outside"]
    with (run[0] / "evaluation" / "scored_images.csv").open() as stream:
        assert sum(float(row["unlike"]) > 1 for row in csv.DictReader(stream)) == outside
    assert outside <= 0.05 * 192
    assert f"{outside} of 192 images lie outside what this run was trained on" in run[1]
    noise = np.random.default_rng(0).integers(0, 256, (8, SIZE, SIZE), np.uint8)
    for number, image in enumerate([*noise, *lung_ct(3, 8, SIZE).images[..., 0]]):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    out = tmp_path / "out"
    args = ("--mode=predict", f"--workdir={run[0]}", f"--input={tmp_path}", f"--output={out}")
    said = launch(*args).stdout
    rows = list(csv.DictReader((out / "predictions.csv").read_text().splitlines()))
    assert all(float(row["unlike"]) > 1 for row in rows)
    assert "16 of 16 images lie outside what this run was trained on" in said
    assert "treat its results for them with care" in said


def test_a_broken_file_does_not_stop_the_others(run, patients, launch, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(b"no image")
    os.mkfifo(tmp_path / "in" / "pipe.png")
    (tmp_path / "in" / "c.mha").write_text("not read")
    Image.fromarray(patients[1].images[0][..., 0]).save(tmp_path / "in" / "b.png")
    said = launch(
        "--mode=predict",
        f"--workdir={run[0]}",
        f"--input={tmp_path / 'in'}",
        f"--output={tmp_path / 'out'}",
        code=2,
    ).stderr
    assert "2 files could not be classified" in said and "a.png" in said
    assert "pipe.png is a named pipe, not a file" in said
    assert "1 of 4 files is not read" in said and "c.mha" in said
    assert len((tmp_path / "out" / "predictions.csv").read_text().splitlines()) == 2


def test_another_hospital_must_have_the_same_classes(run, launch, tmp_path):
    folder = folder_of_images(tmp_path / "there", "SICK/a.png", "WELL/b.png")
    said = refused(launch, "--mode=evaluate", f"--workdir={run[0]}", f"--input={folder}")
    assert "are SICK, WELL, the run's are NORMAL, PNEUMONIA" in said


def test_images_of_one_class_cannot_be_told_apart(launch, tmp_path):
    folder = folder_of_images(tmp_path / "set", "train/A/a.png", "val/A/b.png")
    said = refused(
        launch,
        "--config=configs/small_cnn_chest_xray.py:tiny",
        f"--config.data.dir={folder}",
        f"--workdir={tmp_path / 'run'}",
    )
    assert "are of one class, A" in said
