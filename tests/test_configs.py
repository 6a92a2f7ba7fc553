"""Every experiment, `:tiny`, through the command line: trains, resumes, does its modes."""

import csv
import importlib
import json

import pytest
from PIL import Image

from common.training.config import flatten
from tests.conftest import ROOT

CONFIGS = sorted(file.stem for file in (ROOT / "configs").glob("*.py") if file.stem != "__init__")
SCALARS = {
    "gan": {
        "train/discriminator_loss",
        "train/generator_loss",
        "train/discriminator_output_real",
        "train/discriminator_output_fake",
        "train/generator_output_fake",
    },
    "classify": {"train/loss", "train/accuracy", "val/loss", "val/accuracy", "val/f1"},
    "unet": {"train/loss", "train/dice", "val/dice", "val/iou", "val/dice_per_image"},
}


def config_of(name, arg=""):
    return importlib.import_module(f"configs.{name}").get_config(arg)


RUNS = [name for name in CONFIGS if config_of(name).task in SCALARS]  # not studies of many


@pytest.mark.parametrize("name", RUNS)
def test_it_trains_resumes_and_does_what_its_task_can(name, launch, tmp_path):
    run, config = tmp_path / "run", config_of(name, "tiny")
    base = (f"--config=configs/{name}.py:tiny", f"--workdir={run}")
    launch(*base, "--config.train.num_steps=3")
    assert "going on from step 3" in launch(*base).stderr
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["step"] == 6
    assert {name for row in rows for name in row} >= SCALARS[config.task]
    pictures = {file.name for file in (run / "pictures").iterdir()}
    kinds = {"classify": "predictions", "gan": "samples", "unet": "segments"}
    kind = {"toy_gan_1d": "density"}.get(name, kinds[config.task])
    steps = ("000000", "000003", "000006")
    assert {f"{step}_{kind}.png" for step in steps} | {f"{kind}.webp", "curves.png"} <= pictures
    modes = {"classify": classifies, "gan": generates, "unet": segments}
    modes[config.task](run, config, launch, tmp_path)


def generates(run, config, launch, tmp_path):
    out = tmp_path / "out"
    launch("--mode=generate", f"--workdir={run}", f"--output={out}", "--num_images=5")
    table = list(csv.DictReader((out / "labels.csv").read_text().splitlines()))
    for row in table:
        with Image.open(out / row["file"]) as image:
            assert image.size == (config.data.image_size,) * 2
            assert image.mode == {1: "L", 3: "RGB"}[config.data.channels]
    assert len(table) == 5
    if config.model.name == "acgan":  # a walk is the same for all: tests/gan/test_walk.py
        launch("--mode=generate", f"--workdir={run}", f"--output={out}-walk", "--walk=linear")
        assert (tmp_path / "out-walk" / "walk.webp").exists()


def classifies(run, config, launch, tmp_path):
    launch("--mode=evaluate", f"--workdir={run}")
    assert json.loads((run / "evaluation" / "evaluation.json").read_text())["images"] == 8
    image, out = tmp_path / "x.png", tmp_path / "out"
    Image.new("L", (50, 40)).save(image)
    launch("--mode=predict", f"--workdir={run}", f"--input={image}", f"--output={out}", "--explain")
    (row,) = csv.DictReader((out / "predictions.csv").read_text().splitlines())
    assert row["file"] == "x.png" and (out / "x.png").exists()


def segments(run, config, launch, tmp_path):
    launch("--mode=evaluate", f"--workdir={run}")
    assert json.loads((run / "evaluation" / "evaluation.json").read_text())["images"] == 4
    image, out = tmp_path / "x.png", tmp_path / "out"
    Image.new("RGB", (50, 40)).save(image)
    launch("--mode=predict", f"--workdir={run}", f"--input={image}", f"--output={out}")
    with Image.open(out / "x.png") as mask:
        assert mask.size == (50, 40) and mask.mode == "L"


@pytest.mark.parametrize("name", CONFIGS)
def test_its_docstring_says_how_to_run_it(name):
    module = importlib.import_module(f"configs.{name}")
    mode = "" if name in RUNS else f"--mode={config_of(name).task} "
    assert f"python launch.py {mode}--config=configs/{name}.py" in module.__doc__


@pytest.mark.parametrize("name", CONFIGS)
def test_tiny_has_the_settings_of_the_whole(name):
    whole, tiny = dict(flatten(config_of(name))), dict(flatten(config_of(name, "tiny")))
    assert whole.keys() == tiny.keys()
    assert whole.get("model.name") == tiny.get("model.name") and None not in whole.values()
