"""Triptych in a program or a notebook: the same as by its command line, and nothing is left."""

import csv
import json
from functools import cache

import numpy as np
import pytest
from PIL import Image

import triptych
from common.config.tasks import find_mode, options_of
from tests.conftest import ROOT
from tests.untrained import untrained

_EXAMPLES = """
import doctest, signal
from pathlib import Path

import numpy as np

import triptych
from tests.untrained import untrained

handlers = [signal.getsignal(number) for number in signal.Signals]
wakeup = signal.set_wakeup_fd(-1)
workdir = Path("run")
untrained(triptych.load_config("acgan_covid:tiny"), Path("gan"))
untrained(triptych.load_config("small_cnn_chest_xray:tiny"), workdir)
known = {
    "workdir": workdir,
    "run": triptych.open_run("gan"),
    "classifier": triptych.open_run(workdir),
    "classifier_images": np.zeros((3, 50, 70), np.uint8),
}
found = doctest.testmod(triptych, extraglobs=known, optionflags=doctest.ELLIPSIS)
assert found.attempted > 12 and not found.failed
assert [signal.getsignal(number) for number in signal.Signals] == handlers
assert signal.set_wakeup_fd(-1) == wakeup == -1
"""


def test_its_examples_hold_in_any_folder_and_no_handler_of_signals_is_left(launch, tmp_path):
    (tmp_path / "examples.py").write_text(_EXAMPLES)
    launch(program="examples.py", cwd=tmp_path)


def test_importing_it_loads_no_library(start):
    loaded = "{'jax', 'numpy', 'absl', 'ml_collections'} & set(sys.modules)"
    process = start("-c", f"import sys, triptych; print({loaded})")
    assert process.communicate(timeout=60)[0] == "set()\n"


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """Returns a config's name -> an untrained run; JAX stays as this process's tests have it."""

    @cache
    def make(name):
        workdir = tmp_path_factory.mktemp("runs") / "run"
        untrained(triptych.load_config(name), workdir)
        return triptych.open_run(workdir)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(triptych, "_start", lambda: None)
        yield make


@pytest.fixture
def files(tmp_path):
    """Pictures of two sizes, larger and smaller than networks of the tests see."""
    folder = tmp_path / "images"
    folder.mkdir()
    drawn = np.random.default_rng(0)
    for name, shape in {"a": (40, 56, 3), "b": (24, 20, 3), "c": (40, 56, 3)}.items():
        Image.fromarray(drawn.integers(0, 256, shape, np.uint8)).save(folder / f"{name}.png")
    return sorted(folder.iterdir())


def by_command(run, mode, output, **flags):
    """Returns the files that a mode writes, below a folder."""
    options = options_of(run.config.task)(output=str(output), **flags)
    find_mode(run.config.task, mode)(run._run, options)
    return sorted(output.rglob("*.png"))


def pixels(file):
    with Image.open(file) as image:
        return np.array(image)


@pytest.mark.parametrize(
    "name",
    ["unet_brain_mri:tiny", pytest.param("pix2pix_brain_mri:tiny", marks=pytest.mark.slow)],
)
def test_what_is_found_in_images_is_what_the_command_writes(opened, files, tmp_path, name):
    run = opened(name)
    written = by_command(run, "predict", tmp_path / "out", input=str(files[0].parent))
    values = np.arange(256, dtype=np.uint8)
    if run.config.task == "unet":  # a mask's classes are written as 0 and 255
        values = np.array([0, 255], np.uint8)
    for given in (files, [pixels(file) for file in files]):
        for found, file in zip(run.predict(given), written, strict=True):
            np.testing.assert_array_equal(np.squeeze(values[found]), pixels(file))


def test_probabilities_are_those_of_the_commands_table(opened, files, tmp_path):
    run = opened("small_cnn_chest_xray:tiny")
    by_command(run, "predict", tmp_path / "out", input=str(files[0].parent))
    with (tmp_path / "out" / "predictions.csv").open() as table:
        rows = [
            [float(row[f"probability_{x}"]) for x in run.classes] for row in csv.DictReader(table)
        ]
    np.testing.assert_allclose(run.predict(files), rows, atol=1e-6)
    np.testing.assert_array_equal(run.predict(str(files[1])), run.predict([pixels(files[1])]))
    assert run.predict([]).shape == (0, 2)


def test_generated_images_are_those_that_the_command_writes(opened, tmp_path):
    run = opened("acgan_covid:tiny")
    by_command(run, "generate", tmp_path / "out", num_images=5, seed=3)
    with (tmp_path / "out" / "labels.csv").open() as table:
        rows = list(csv.DictReader(table))
    assert [row["label"] for row in rows] == [run.classes[i % 2] for i in range(5)]
    files = [pixels(tmp_path / "out" / row["file"]) for row in rows]
    np.testing.assert_array_equal(run.generate(5, seed=3)[..., 0], files)


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (np.zeros((2, 8, 8)), r"float64 \[8, 8\]; give uint8"),
        (np.zeros((8, 8), np.uint8), r"uint8 \[8\]; give uint8"),
        (np.zeros((1, 8, 8, 4), np.uint8), r"uint8 \[8, 8, 4\]"),
        ("nowhere.png", "nowhere.png is no file"),
        ([ROOT], "name files, as in"),
    ],
)
def test_what_is_no_image_is_refused(opened, image, said):
    with pytest.raises(triptych.UserError, match=said):
        opened("small_cnn_chest_xray:tiny").predict(image)


def test_what_a_run_does_not_do_is_refused(opened):
    run = opened("small_cnn_chest_xray:tiny")
    with pytest.raises(triptych.UserError, match="'classify' have no --mode=generate; use"):
        run.generate(4)
    with pytest.raises(triptych.UserError, match="takes no images_per_class; it takes input,"):
        run.evaluate(images_per_class=4)


def test_settings_are_changed_by_name_or_by_section_and_read_as_on_the_command_line(tmp_path):
    changes = {"data.dir": tmp_path, "train.num_steps": 20}
    config = triptych.load_config("vgg16_covid:tiny", changes, seed=3, model={"name": "resnet18"})
    assert (config.data.dir, config.train.num_steps) == (str(tmp_path), "20")
    assert (config.seed, config.model.name) == (3, "resnet18")
    assert config.is_locked


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data.bach_size": 8}, "config.data.bach_size is not a setting of this config. Did you"),
        ({"data": "scans"}, "config.data is not a setting of this config. Did you mean"),
        ({"data.batch_size": "many"}, "config.data.batch_size is 'many'; it must be like 8."),
        ({"seed": -1}, "config.seed is -1; it must be a whole number from 0"),
        ({"train": {"num_steps": "soon"}}, "config.train.num_steps is 'soon'; it must be"),
    ],
)
def test_settings_that_are_wrong_are_refused_with_one_sentence(changes, said):
    with pytest.raises(triptych.UserError, match=said):
        triptych.load_config("acgan_covid:tiny", changes)


def test_a_training_that_a_signal_ends_raises_what_python_raises(monkeypatch, tmp_path):
    monkeypatch.setattr(triptych, "_start", lambda: None)
    monkeypatch.setattr("common.training.train.train", lambda *_, **__: False)
    with pytest.raises(KeyboardInterrupt, match="stopped and saved; call it again"):
        triptych.train(triptych.load_config("acgan_covid:tiny"), tmp_path)


@pytest.mark.slow
def test_the_notebook_runs_from_its_first_cell_to_its_last(launch, tmp_path):
    cells = json.loads((ROOT / "docs/tour.ipynb").read_text())["cells"]
    programs = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert all(not cell.get("outputs") for cell in cells) and len(programs) > 8
    (tmp_path / "tour.py").write_text("\n".join(programs))
    launch(program="tour.py", cwd=tmp_path, optimised=True)
    for name in ("gan", "classifier"):
        assert (tmp_path / "triptych-runs" / name / "report.html").exists()
