"""Every experiment, `:tiny`: trains, resumes, does its modes. test_launch.py has the flags."""

import csv
import importlib
import json

import pytest
from ml_collections import ConfigDict
from PIL import Image

from common.config.tasks import find_mode, options_of
from common.learning.optimizers import check_rates
from common.program.settings import flatten
from common.runs.workdir import open_run
from common.training.train import train
from tests.compile_step import check_step
from tests.conftest import ROOT
from tests.interrupted import signalled_after

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
    "translate": {
        *("train/discriminator_loss", "train/generator_loss"),
        *("val/l1", "val/psnr", "val/ssim"),
    },
    "pretrain": {"train/loss", "train/variance", "val/loss", "val/invariance"},
}


def config_of(name, arg=""):
    return importlib.import_module(f"configs.{name}").get_config(arg)


# Configs of one run: others are studies of many, or ablations of another config.
RUNS = [
    name for name in CONFIGS if config_of(name).task in SCALARS and not name.startswith("ablate_")
]
# The others are slow tests. tests/test_launch.py, test_resume.py and test_killed_runs.py train and
# resume AC-GANs and toy GANs, tests/test_classify.py a small CNN, tests/test_unet.py a U-Net.
KINDS = ("dense_gan_mnist", "pix2pix_brain_mri")


@pytest.mark.parametrize("name", [name for name in RUNS if name not in KINDS])
def test_its_step_fits_its_data(name):
    check_step(config_of(name, "tiny"))


@pytest.mark.usefixtures("one_program")
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] * (name not in KINDS)) for name in RUNS],
)
def test_it_trains_resumes_and_does_what_its_task_can(name, tmp_path, caplog):
    folder, config = tmp_path / "run", config_of(name, "tiny")
    with pytest.MonkeyPatch.context() as patch:
        signalled_after(3, patch)
        assert not train(config, folder)  # it is stopped
    with caplog.at_level("INFO"):
        train(config, folder)
    assert "resuming from step 3" in caplog.text
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["step"] == 6
    assert {name for row in rows for name in row} >= SCALARS[config.task]
    pictures = {file.name for file in (folder / "pictures").iterdir()}
    kinds = {
        "classify": "predictions",
        "gan": "samples",
        "unet": "segments",
        "translate": "translations",
        "pretrain": "nearest",
    }
    kind = {"toy_gan_1d": "density"}.get(name, kinds[config.task])
    steps = ("000001", "000003", "000006")
    assert {f"{step}_{kind}.png" for step in steps} | {f"{kind}.webp", "curves.png"} <= pictures
    modes = {
        **{"classify": classifies, "gan": generates, "unet": segments, "translate": translates},
        "pretrain": compares,
    }
    modes[config.task](open_run(folder), tmp_path)


def do(mode, run, **options):
    task = run.config.task
    find_mode(task, mode)(run, options_of(task)(**options))


def report_of(run):
    return json.loads((run.workdir / "evaluation" / "evaluation.json").read_text())


def generates(run, folder):
    out, data = folder / "out", run.config.data
    do("generate", run, output=str(out), num_images=5)
    table = list(csv.DictReader((out / "labels.csv").read_text().splitlines()))
    for row in table:
        with Image.open(out / row["file"]) as image:
            assert image.size == (data.image_size,) * 2
            assert image.mode == {1: "L", 3: "RGB"}[run.card.channels]
    assert len(table) == 5


def classifies(run, folder):
    do("evaluate", run)
    assert report_of(run)["images"] == 8
    image, out = folder / "x.png", folder / "out"
    Image.new("L", (50, 40)).save(image)
    do("predict", run, input=str(image), output=str(out), explain=True)
    (row,) = csv.DictReader((out / "predictions.csv").read_text().splitlines())
    assert row["file"] == "x.png" and (out / "x.png").exists()


def segments(run, folder):
    do("evaluate", run)
    assert report_of(run)["images"] == 4
    image, out = folder / "x.png", folder / "out"
    Image.new("RGB", (50, 40)).save(image)
    do("predict", run, input=str(image), output=str(out))
    with Image.open(out / "x.png") as mask:
        assert mask.size == (50, 40) and mask.mode == "L"


def translates(run, folder):
    do("evaluate", run)
    scores = report_of(run)["scores"]
    assert {*scores} == {"translated", "input", "regression"}
    assert {*scores["translated"]} == {"image", "body", "tumour"}
    image, out = folder / "x.png", folder / "out"
    Image.new("RGB", (50, 40)).save(image)
    do("predict", run, input=str(image), output=str(out), back=run.config.model.name == "cyclegan")
    with Image.open(out / "x.png") as translation:
        assert translation.size == (50, 40) and translation.mode == "L"


def compares(run, folder):
    do("evaluate", run, nearest=5)
    report = report_of(run)
    assert report["images"] == 8 and report["losses"]["loss"] > 0
    assert report["nearest"]["number"] == 5
    assert {*report["nearest"]["scores"]} == {*report["nearest"]["untrained"]}
    assert (run.workdir / "evaluation" / "nearest.png").exists()


@pytest.mark.parametrize("name", CONFIGS)
def test_its_docstring_says_how_to_run_it(name):
    module = importlib.import_module(f"configs.{name}")
    study = "ablate" if name.startswith("ablate_") else config_of(name).task
    mode = "" if name in RUNS else f"--mode={study} "
    assert f"python launch.py {mode}--config=configs/{name}.py" in module.__doc__


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("num_steps", ["1", "100"])
def test_tiny_can_be_shorter_and_longer(name, num_steps):
    config = ConfigDict(config_of(name, "tiny").to_dict())
    config.train.num_steps = num_steps
    check_rates(config, steps_per_epoch=4.0)


@pytest.mark.parametrize("name", CONFIGS)
def test_tiny_has_the_settings_of_the_whole(name):
    whole, tiny = dict(flatten(config_of(name))), dict(flatten(config_of(name, "tiny")))
    assert whole.keys() == tiny.keys()
    assert whole.get("model.name") == tiny.get("model.name") and None not in whole.values()
