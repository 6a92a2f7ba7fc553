"""The command line: right use ends with 0, wrong use with 2 and one sentence."""

import csv
import fcntl
import json
import os
import re
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from tests.checkpoint_leaves import assert_same_leaves, read_leaves
from tests.event_reader import read_events

TINY = "--config=configs/acgan_covid.py:tiny"
SIMPLE = "--config=configs/dense_gan_mnist.py:tiny"  # less to compile
STEPS_ALONE = ("--config.train.eval_every=0", "--config.train.picture_every=0")
PAIR = (SIMPLE, "--config.train.eval_every=0")


class Said(NamedTuple):
    stdout: str
    stderr: str


@pytest.fixture(scope="module")
def trained(launch, made_once):
    """A workdir with a trained run, and what was said while it trained."""

    def train(folder):
        said = launch(TINY, f"--workdir={folder / 'run'}")
        return said.stdout, said.stderr

    folder, said = made_once("trained", train)
    return folder / "run", Said(*said)


@pytest.fixture(scope="module")
def resident(launch, made_once):
    """A run of another GAN, whose event files are by CLU, with TensorFlow."""

    def train(folder):
        said = launch(*PAIR, f"--workdir={folder / 'run'}", tensorflow=True)
        return said.stdout, said.stderr

    folder, said = made_once("resident", train)
    return folder / "run", Said(*said)


@pytest.fixture(scope="module")
def streamed(launch, made_once):
    """The same run, but with data that are read as it goes, and without TensorFlow."""

    def train(folder):
        said = launch(*PAIR, f"--workdir={folder / 'run'}", "--config.data.resident_limit_mb=0")
        return said.stdout, said.stderr

    folder, said = made_once("streamed", train)
    return folder / "run", Said(*said)


def folder_of_images(root, *names):
    """Makes small grey images: "train/COVID/a.png"."""
    rng = np.random.default_rng(0)
    for name in names:
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (20, 20), np.uint8)).save(file)
    return root


def refused(launch, *args, **options):
    """Runs a wrong command and returns its one sentence."""
    said = launch(*args, code=2, **options)
    lines = [line for line in said.stderr.splitlines() if line.startswith("launch.py:")]
    assert "Traceback" not in said.stderr
    assert len(lines) == 1, said.stderr
    return lines[0]


def test_a_run_leaves_what_the_design_says(trained):
    workdir, said = trained
    names = {path.name for path in workdir.iterdir()}
    assert {"config.json", "run.json", "metrics.jsonl", "metrics", "checkpoints"} <= names
    assert "step 6 of 6" in (workdir / "card.md").read_text()
    assert (workdir / "pictures" / "000006_samples.png").exists()
    assert (workdir / "pictures" / "curves.png").exists()
    assert list((workdir / "metrics").glob("*tfevents*"))
    for where in ("pictures", "checkpoints", "report.html"):
        assert f"{workdir}/{where}" in said.stdout


def test_a_run_has_a_page_of_its_whole_training(trained):
    page = (trained[0] / "report.html").read_text()
    assert "step 6 of 6" in page and "Not evaluated yet" in page
    assert "generator adversarial loss" in page and 'aria-label="samples at step 6"' not in page
    assert 'alt="samples at step 6"' in page and "launch.py" in page


def test_a_page_is_made_of_the_files_alone(trained, launch):
    file = trained[0] / "report.html"
    file.unlink()
    assert launch("--mode=report", f"--workdir={trained[0]}").stdout == f"{file}\n"
    assert "step 6 of 6" in file.read_text()


def test_every_number_is_logged_and_finite(trained):
    rows = [json.loads(x) for x in (trained[0] / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "train/generator_loss" in row] == [2, 3, 4, 6]
    logged = {name for row in rows for name in row}
    for half in ("real", "fake"):
        assert f"train/discriminator_accuracy_{half}" in logged
        assert f"train/discriminator_class_accuracy_{half}" in logged
        assert f"train/discriminator_adversarial_loss_{half}" in logged
        assert f"train/discriminator_class_loss_{half}" in logged
    assert {"train/generator_gradient_norm", "train/discriminator_gradient_norm"} <= logged
    assert "val/discriminator_class_accuracy_real" in logged
    assert all(np.isfinite(value) for row in rows for value in row.values())


def test_a_run_on_phantoms_says_so(trained):
    workdir, said = trained
    assert "drawings, not patients" in said.stderr
    record = json.loads((workdir / "run.json").read_text())
    assert record["data"]["synthetic"] is True
    assert 0 <= record["data_wait_share"] <= record["idle_share"] < 1
    assert "images/s" in said.stdout


def test_the_log_has_the_totals_of_parameters_and_a_file_the_table(trained):
    workdir, said = trained
    assert "generator: 430,281 parameters, 640 of them running statistics (1.7 MB)" in said.stderr
    table = (workdir / "parameters.txt").read_text()
    assert "Total: 430,281" in table and "params/upsample_1/kernel" in table
    assert "params/upsample_1/kernel" not in said.stderr and "parameters.txt" in said.stderr


def test_compiling_is_announced_and_validation_says_so(trained):
    lines = trained[1].stderr.splitlines()
    assert lines.index("compiling the training step ...") < len(lines) - 1
    assert any(line.startswith("compiled the training step in ") for line in lines)
    assert any(line.startswith("step 3/6  val  ") for line in lines)


def test_generate_writes_images_by_label_a_grid_and_a_table(trained, launch, tmp_path):
    out = tmp_path / "new"
    launch("--mode=generate", f"--workdir={trained[0]}", f"--output={out}", "--num_images=7")
    rows = list(csv.DictReader((out / "labels.csv").read_text().splitlines()))
    assert [row["file"] for row in rows[:3]] == [
        "COVID/000000.png",
        "NonCOVID/000000.png",
        "COVID/000001.png",
    ]
    assert [row["label"] for row in rows] == ["COVID", "NonCOVID"] * 3 + ["COVID"]
    for row in rows:
        with Image.open(out / row["file"]) as image:
            assert (image.mode, image.size) == ("L", (16, 16))
    assert len(list(out.glob("*/*.png"))) == 7
    assert (out / "grid.png").exists()


def test_generate_is_reproducible_from_its_seed(trained, launch, tmp_path):
    def draw(name, *flags):
        out = tmp_path / name
        launch("--mode=generate", f"--workdir={trained[0]}", f"--output={out}", *flags)
        return {str(f.relative_to(out)): f.read_bytes() for f in sorted(out.glob("*/*.png"))}

    both = draw("both", "--num_images=150", "--seed=3")
    again = draw("again", "--num_images=10", "--seed=3", "--label=NonCOVID")
    other = draw("other", "--num_images=4", "--seed=4")
    assert len(again) == 10
    assert all(name.startswith("NonCOVID/") and both[name] == again[name] for name in again)
    assert all(both[name] != other[name] for name in other)


def test_generate_refuses_what_it_cannot_do(trained, launch, tmp_path):
    base = ("--mode=generate", f"--workdir={trained[0]}")
    out = f"--output={tmp_path / 'out'}"
    assert "COVID, NonCOVID" in refused(launch, *base, out, "--label=Covid")
    assert "--output" in refused(launch, *base)
    assert "--num_images" in refused(launch, *base, out, "--num_images=0")
    (tmp_path / "mine.txt").write_text("keep me")
    assert "not empty" in refused(launch, *base, f"--output={tmp_path}")
    assert "holds no run" in refused(launch, "--mode=generate", f"--workdir={tmp_path}", out)
    assert "--workdir" in refused(launch, "--mode=generate", out)


def test_overwrite_replaces_an_earlier_result_and_nothing_else(trained, launch, tmp_path):
    base = ("--mode=generate", f"--workdir={trained[0]}", f"--output={tmp_path}")
    launch(*base, "--num_images=6")
    (tmp_path / "COVID" / "mine.txt").write_text("keep me")
    launch(*base, "--num_images=2", "--overwrite")
    assert len(list(tmp_path.glob("*/*.png"))) == 2
    assert (tmp_path / "COVID" / "mine.txt").exists()


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--config.data.batchsize=8"], "data.batch_size"),
        (["--config.batch_size=8"], "data.batch_size"),
        (["--config.seed=abc"], "seed"),
        (["--config.train.num_steps=soon"], "num_steps is 'soon'; it must be a duration"),
        (["--config.train.num_steps=2.5"], "num_steps is '2.5'; it must be a duration, steps"),
        (["--config.optimizer.generator.learning_rate=-1"], "learning_rate is -1.0; it must be"),
        (["--config.data.dir=no/such/folder"], "no/such/folder"),
        (["--config.task=gna"], "gan"),
        (["--config.model.name=acgam"], "acgan"),
        (["--config.train.best_metric=val/f1"], "val/discriminator_accuracy_real"),
        (["--config.data.name=mri"], "covid_ct"),
        (["--mode=evaluat"], "mode"),
        (["--workdri=x"], "workdir"),
        (["stray"], "stray"),
    ],
)
def test_a_wrong_flag_is_met_with_one_sentence(launch, tmp_path, flags, expected):
    workdir = tmp_path / "run"
    assert expected in refused(launch, TINY, f"--workdir={workdir}", *flags)
    assert not (workdir / "config.json").exists()


@pytest.mark.parametrize("config", ["configs/nothing.py", "configs/acgan_covid.py:huge"])
def test_a_wrong_config_file_or_argument_is_met_with_one_sentence(launch, config):
    assert config.split(":")[-1] in refused(launch, f"--config={config}")


def test_a_config_that_is_a_pipe_is_not_waited_at(launch, tmp_path):
    os.mkfifo(tmp_path / "config.py")
    for flags in ([f"--config={tmp_path}/config.py:tiny"], ["--config", f"{tmp_path}/config.py"]):
        assert "config.py is a named pipe, not a file" in refused(launch, *flags)


def test_training_needs_a_config(launch):
    assert "--config=FILE" in refused(launch)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ([], "image"),
        (["train/A/a.png", "train/B/b.png", "val/A/c.png"], "B"),
        (["A/a.txt"], "image"),
    ],
)
def test_a_folder_that_will_not_do(launch, tmp_path, files, expected):
    data = tmp_path / "data"
    data.mkdir()
    folder_of_images(data, *[name for name in files if name.endswith(".png")])
    for name in files:
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).touch()
    flags = (f"--config.data.dir={data}", f"--workdir={tmp_path / 'run'}")
    assert expected in refused(launch, TINY, *flags)


def test_an_unreadable_image_is_named_or_skipped_and_counted(launch, tmp_path):
    data = folder_of_images(tmp_path / "data", *[f"{c}/{i}.png" for c in "AB" for i in range(8)])
    (data / "A" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n nothing more")
    base = (SIMPLE, *STEPS_ALONE, f"--config.data.dir={data}", f"--workdir={tmp_path / 'run'}")
    sentence = refused(launch, *base)
    assert "broken.png" in sentence and "on_bad_image=skip" in sentence
    said = launch(*base, "--config.data.on_bad_image=skip")
    assert "broken.png" in said.stderr
    data_card = json.loads((tmp_path / "run" / "run.json").read_text())["data"]
    assert (data_card["skipped"], data_card["num_examples"]["train"]) == (1, 16)
    assert data_card["synthetic"] is False


def test_a_batch_that_does_not_divide_by_the_devices(launch, tmp_path):
    flags = ("--config.data.batch_size=10", f"--workdir={tmp_path / 'run'}")
    sentence = refused(launch, TINY, *flags, devices=4)
    assert "batch_size" in sentence and "4 devices" in sentence


def test_a_workdir_of_another_config_is_refused_naming_the_fields(trained, launch):
    sentence = refused(
        launch, TINY, f"--workdir={trained[0]}", "--config.seed=1", "--config.data.batch_size=4"
    )
    assert "seed" in sentence and "data.batch_size" in sentence and "image_size" not in sentence


def test_a_workdir_whose_data_has_changed_is_refused(launch, tmp_path):
    data = folder_of_images(tmp_path / "data", *[f"{c}/{i}.png" for c in "AB" for i in range(8)])
    base = (SIMPLE, *STEPS_ALONE, f"--config.data.dir={data}", f"--workdir={tmp_path / 'run'}")
    launch(*base, "--config.train.num_steps=2")
    folder_of_images(data, "A/new.png")
    assert "has changed" in refused(launch, *base)


def test_a_second_run_in_the_same_workdir_is_refused(trained, launch):
    with (trained[0] / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "Another run" in refused(launch, TINY, f"--workdir={trained[0]}")


def test_generating_touches_nothing_that_a_running_training_is_writing(trained, launch, tmp_path):
    unfinished = trained[0] / "checkpoints" / "9.orbax-checkpoint-tmp"
    unfinished.mkdir()
    launch("--mode=generate", f"--workdir={trained[0]}", f"--output={tmp_path}", "--num_images=1")
    assert unfinished.exists()
    unfinished.rmdir()


def test_a_workdir_that_cannot_be_written_is_named(launch, tmp_path):
    (tmp_path / "file").write_text("")
    where = tmp_path / "file" / "run"
    assert str(where) in refused(launch, TINY, f"--workdir={where}")


@pytest.mark.slow  # test_processes.py compares a streamed run with one that holds its data
def test_streamed_data_train_the_same_network_as_resident_data(resident, streamed):
    assert "streaming" in streamed[1].stderr and "streaming" not in resident[1].stderr
    assert_same_leaves(read_leaves(streamed[0], 6), read_leaves(resident[0], 6))


@pytest.mark.slow
def test_colour_images_one_class_and_an_average_go_all_the_way(launch, tmp_path):
    data = folder_of_images(tmp_path / "data", *[f"{i}.png" for i in range(9)])
    flags = (
        f"--config.data.dir={data}",
        "--config.data.channels=3",
        "--config.model.average_decay=0.99",
        f"--workdir={tmp_path / 'run'}",
    )
    launch(TINY, *flags, "--config.train.num_steps=3")
    out = tmp_path / "new"
    launch("--mode=generate", f"--workdir={tmp_path / 'run'}", f"--output={out}", "--num_images=3")
    with Image.open(out / "data" / "000002.png") as image:
        assert (image.mode, image.size) == ("RGB", (16, 16))


def test_divergence_stops_with_the_metric_and_the_steps(launch, tmp_path):
    flags = ("--config.optimizer.generator.learning_rate=1e38", f"--workdir={tmp_path / 'run'}")
    said = launch(SIMPLE, *STEPS_ALONE, *flags, code=1)
    last = said.stderr.splitlines()[-1]
    assert re.search(r"train/discriminator_\w+ is (nan|inf)", last)
    assert "between steps 1 and 2" in last
    assert "Traceback" not in said.stderr


@pytest.mark.slow  # imports TensorFlow; common/training/test_event_files.py reads ours
def test_tensorboard_reads_the_same_of_a_run_with_and_without_tensorflow(resident, streamed):
    clus, ours = (read_events(workdir / "metrics") for workdir, _ in (resident, streamed))
    assert clus.keys() == ours.keys()
    measured = {name for name in clus if name.startswith("timing/")}  # of time
    for name in clus:
        assert clus[name].keys() == ours[name].keys(), name
        for step in clus[name].keys() if name not in measured else ():
            np.testing.assert_array_equal(clus[name][step], ours[name][step], name)
    assert {"train/generator_loss", "samples"} <= clus.keys()


def test_help_is_quick_and_imports_no_jax(start):
    process = start("-X", "importtime", "launch.py", "--helpfull")
    out, err = process.communicate(timeout=60)
    assert "--workdir" in out
    assert not any(line.split("|")[-1].strip() == "jax" for line in err.splitlines())
