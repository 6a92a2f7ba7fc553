"""A run that is killed at any moment and started again ends as if nothing had happened."""

import json
import re
import signal
import time

import pytest

from tests.checkpoint_leaves import assert_same_leaves, read_leaves

# Large enough that a checkpoint takes a while to write, and quick to compile.
RUN = (
    "--config=configs/dense_gan_mnist.py:tiny",
    "--config.train.num_steps=40",
    "--config.train.checkpoint_every=10",
    "--config.train.eval_every=0",
    "--config.train.picture_every=0",
    "--config.train.log_every=5",
)
DEADLINE = 240


@pytest.fixture(scope="module")
def uninterrupted(launch, made_once):
    def train(folder):
        return (launch(*RUN, f"--workdir={folder}").stdout,)

    return made_once("to be resumed", train)[0]


def logged(workdir):
    """Returns the lines of metrics.jsonl without the times, which are never the same."""
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if not k.startswith("timing/")} for row in rows]


def before_the_first_checkpoint(workdir):
    numbers = workdir / "metrics.jsonl"
    written = numbers.exists() and numbers.stat().st_size > 0
    return written and not any(workdir.glob("checkpoints/[0-9]*"))


def during_a_checkpoint(workdir):
    return any(workdir.glob("checkpoints/2*tmp*"))


def after_a_checkpoint(workdir):
    return (workdir / "checkpoints" / "20").exists()


def killed_at(moment, start, workdir):
    """Starts a run, stops it at a moment and kills it; says whether the moment still held then."""
    process = start("launch.py", *RUN, f"--workdir={workdir}")
    end = time.monotonic() + DEADLINE
    while not moment(workdir):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.0005)
    process.send_signal(signal.SIGSTOP)  # so that the moment cannot pass while we look
    held = moment(workdir) and not (workdir / "checkpoints" / "40").exists()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    return held


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param(before_the_first_checkpoint, marks=pytest.mark.slow),
        during_a_checkpoint,
        pytest.param(after_a_checkpoint, marks=pytest.mark.slow),
    ],
)
def test_killed_and_started_again_every_leaf_is_equal(
    start, launch, uninterrupted, tmp_path, moment
):
    for attempt in range(5):
        workdir = tmp_path / str(attempt)
        if killed_at(moment, start, workdir):
            break
    else:
        pytest.fail("the moment was missed five times")
    launch(*RUN, f"--workdir={workdir}")
    assert_same_leaves(read_leaves(workdir, 40), read_leaves(uninterrupted, 40))
    assert logged(workdir) == logged(uninterrupted)  # each step once


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_a_signal_saves_and_says_how_to_go_on(start, launch, uninterrupted, tmp_path, number):
    process = start("launch.py", *RUN, f"--workdir={tmp_path}")
    end = time.monotonic() + DEADLINE
    while not before_the_first_checkpoint(tmp_path):
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.005)
    process.send_signal(number)
    out, err = process.communicate(timeout=DEADLINE)
    assert process.returncode == 0, err
    saved = re.search(rf"{number.name}: saved step (\d+) of 40", out)
    assert saved and int(saved[1]) < 40 and "same command" in out
    launch(*RUN, f"--workdir={tmp_path}")
    assert_same_leaves(read_leaves(tmp_path, 40), read_leaves(uninterrupted, 40))


@pytest.mark.slow  # tests/gan/test_frozen.py makes one longer in its process
def test_a_finished_run_can_be_made_longer(launch, uninterrupted, tmp_path):
    short = [arg.replace("num_steps=40", "num_steps=20") for arg in RUN]
    launch(*short, f"--workdir={tmp_path}")
    launch(*RUN, f"--workdir={tmp_path}")
    assert_same_leaves(read_leaves(tmp_path, 40), read_leaves(uninterrupted, 40))
    assert json.loads((tmp_path / "run.json").read_text())["devices"]["count"] == 1
