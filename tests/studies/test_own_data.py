"""--mode=run and `make run DATA=...`: from a folder of one's own to scores, nothing being set."""

import json
import os
import shlex
import subprocess

import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from classify.evaluate import evaluate
from classify.flags import ClassifyOptions
from common.data.records import Contents, Record
from common.program.errors import DivergenceError, UserError
from common.runs.changes import continuable
from common.runs.workdir import open_run
from configs import classify, gan, unet
from studies import own_data
from studies.experiment import Experiment
from studies.own_data import run_own_data, what_fits
from tests.conftest import ROOT

PATIENTS = 8  # of each class


def draw(path, seed, size=(24, 20), colour=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (*size, 3) if colour else size
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, shape, np.uint8)).save(path)


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """A folder to work in, with a cache of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRIPTYCH_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def patients(desk):
    """Images of two classes in folders of patients, as scanners leave them."""
    for number in range(2 * PATIENTS):
        for image in range(3):
            folder = desk / "my scans" / "AB"[number % 2] / f"Patient {number} ü"
            draw(folder / f"{image}.png", 100 * number + image)
    return desk / "my scans"


@pytest.fixture
def pairs(desk):
    """Colour images of two sizes, and masks, in folders that are called as people call them."""
    for number in range(12):
        size = (24, 20) if number % 2 else (30, 40)
        draw(desk / "pairs" / "Images" / f"{number}.jpg", number, size, colour=True)
        mask = np.zeros(size, np.uint8)
        mask[5:15, 4:12] = 255
        (desk / "pairs" / "Labels").mkdir(exist_ok=True)
        Image.fromarray(mask).save(desk / "pairs" / "Labels" / f"{number}.png")
    return desk / "pairs"


@pytest.fixture
def trained(monkeypatch):
    """What would be trained: (config, workdir) of each call."""
    calls = []

    def train(config, workdir, *, restart=False):
        calls.append((config, workdir))
        return False

    monkeypatch.setattr(own_data, "train", train)
    monkeypatch.setattr(own_data, "run_inspect", lambda *_: 0)
    return calls


def record(**fields):
    return Record("a.png", 0, lambda: None, **fields)


def contents(*classes, masks=(), target=None):
    return Contents(classes, {"train": [record(read_target=target)]}, masks)


def test_the_config_is_chosen_from_the_contents():
    assert what_fits(contents("scans", masks=("background", "tumour"))) == "unet"
    assert what_fits(contents("COVID", "NonCOVID")) == "gan"
    assert what_fits(contents("scans")) == "gan"


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        (contents("scans", target=lambda: None), "have targets for translation"),
        (
            contents("Images", "segs"),
            r"If segs holds the masks of the images in Images, rename it to masks",
        ),
    ],
)
def test_contents_that_no_config_fits_are_refused(found, sentence):
    with pytest.raises(UserError, match=sentence):
        what_fits(found)


def test_pairs_are_for_the_unet(pairs, trained):
    run_own_data(None, str(pairs), "", restart=False)
    ((config, workdir),) = trained
    assert (config.task, config.data.dir) == ("unet", str(pairs))
    assert workdir.as_posix() == "runs/pairs-unet"


def test_classes_are_for_the_gan_and_nothing_is_split(patients, trained):
    run_own_data(None, str(patients), "", restart=False)
    ((config, workdir),) = trained
    assert (config.task, config.data.group) == ("gan", "")
    assert workdir.as_posix() == "runs/my-scans-gan"


def test_patients_stay_together_in_splits_that_are_made(patients, trained, caplog):
    given = Experiment("configs/classify.py", classify.get_config(), {})
    with caplog.at_level("INFO"):
        run_own_data(given, str(patients), "", restart=False)
    assert trained[0][0].data.group == "^[^/]+/([^/]+)/"
    assert "suggest 16 groups" in caplog.text
    assert "--config.data.group='^[^/]+/([^/]+)/'" in caplog.text


def test_an_empty_group_setting_is_obeyed(patients, trained):
    given = Experiment("configs/classify.py", classify.get_config(), {"data.group": ""})
    run_own_data(given, str(patients), "", restart=False)
    assert trained[0][0].data.group == ""


def test_a_table_that_names_patients_is_believed(desk, trained):
    lines = ["file,label,group"]
    for number in range(24):
        draw(desk / "scans" / f"p{number // 4}_{number}.png", number)
        lines.append(f"p{number // 4}_{number}.png,{'AB'[number % 2]},patient {number // 2}")
    (desk / "scans" / "labels.csv").write_text("\n".join(lines))
    given = Experiment("configs/classify.py", classify.get_config(), {})
    run_own_data(given, str(desk / "scans"), "", restart=False)
    assert trained[0][0].data.group == ""


def test_a_length_is_no_other_run_but_a_size_is(pairs, trained):
    longer, larger = (unet.get_config() for _ in range(2))
    longer.train.num_steps = "2400"
    larger.data.image_size = 256
    file = "configs/unet.py"
    assert "train.num_steps" in continuable("unet")
    run_own_data(None, str(pairs), "", restart=False)
    run_own_data(
        Experiment(file, longer, {"train.num_steps": "2400"}), str(pairs), "", restart=False
    )
    run_own_data(Experiment(file, larger, {"data.image_size": 256}), str(pairs), "", restart=False)
    first, second, third = (workdir for _, workdir in trained)
    assert first == second != third


def test_an_error_says_where_a_setting_goes(pairs, desk):
    """Masks of three values need one, and the command that was typed has no place for it."""
    for file in (pairs / "Labels").iterdir():
        with Image.open(file) as mask:
            three = np.asarray(mask) // 255 * 128
        Image.fromarray(three).save(file)
    with pytest.raises(UserError, match=r"mask_values.* --config=configs/unet\.py.*TASK=unet"):
        run_own_data(None, str(pairs), "", restart=False)


def test_there_must_be_images(desk):
    with pytest.raises(UserError, match="--input=PATH"):
        run_own_data(None, "", "", restart=False)
    with pytest.raises(UserError, match="no/such"):
        run_own_data(None, "no/such", "", restart=False)


def test_a_folder_of_patients_is_inspected_trained_on_and_evaluated(patients, desk, capsys):
    """And the same command goes on where it was; the last lines name what is there."""
    config = ConfigDict(classify.get_config("tiny"))
    config.unlock()
    config.model.name, config.model.network = "small_cnn", ConfigDict({"width": 4})  # fast
    given = Experiment("configs/classify.py:tiny", config, {})
    run_own_data(given, str(patients), "", restart=False)
    said = capsys.readouterr().out
    workdir = desk / "runs" / "my-scans-classify-tiny"
    report = json.loads((workdir / "evaluation" / "evaluation.json").read_text())
    assert report["split"] == "test" and report["images"] == 6
    data = json.loads((workdir / "run.json").read_text())["data"]
    assert data["channels"] == 1 and set(data["num_examples"]) == {"train", "val", "test"}
    results = said[said.index("The results:") :]
    assert "runs/inspect-my-scans/inspect.html" in results
    assert "runs/my-scans-classify-tiny/evaluation" in results
    (longer,) = (line for line in results.splitlines() if "train longer:" in line)
    assert shlex.split(longer)[-5:] == [
        "--mode=run",
        f"--input={patients}",
        "--workdir=runs/my-scans-classify-tiny",
        "--config=configs/classify.py:tiny",
        "--config.train.num_steps=24",
    ]
    run_own_data(given, str(patients), "", restart=False)
    assert "step 6 of 6" in capsys.readouterr().out
    # Of another folder all is scored, in the run's colours, whatever its own are.
    for name in "AB":
        draw(desk / "others" / name / "0.png", 7, colour=True)
    evaluate(open_run(workdir), ClassifyOptions(input=str(desk / "others")))
    report = json.loads((workdir / "evaluation-others" / "evaluation.json").read_text())
    assert (report["split"], report["images"]) == ("all", 2)


def test_make_passes_on_any_folder_name(tmp_path):
    """Spaces, quotes and dollars are the shell's to read in no place."""
    program = tmp_path / "bin" / "python"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    program.chmod(0o755)
    for extra in ("cpu", "dicom", "nifti", "pictures"):
        (tmp_path / f".installed-{extra}").touch()
    name = 'my "scans" of 3\'4 `x` ü'
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}
    words = [f"VENV={tmp_path}", "ACCEL=cpu", "TASK=unet", "ARGS=--restart", f"DATA={name}"]
    said = subprocess.run(
        ["make", "--silent", "run", "PYTHON=python3", *words],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert said == [
        "launch.py",
        "--mode=run",
        f"--input={name}",
        "--config=configs/unet.py",
        "--restart",
    ]


def test_what_can_be_chosen_is_there():
    tasks = {module.get_config().task for module in (gan, unet, classify)}
    assert tasks == {"gan", "unet", "classify"}


def test_a_diverged_training_suggests_only_flags_of_this_mode(pairs, monkeypatch):
    def diverge(config, workdir, *, restart):
        raise DivergenceError("Training diverged in step 3: x is nan.", "--allow_config_change")

    monkeypatch.setattr(own_data, "train", diverge)
    with pytest.raises(DivergenceError, match=r"x is nan\. Start again with --restart") as caught:
        run_own_data(None, str(pairs.parent / "pairs"), "run", restart=False)
    assert "allow_config_change" not in str(caught.value)
