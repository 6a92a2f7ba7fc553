"""After `kill -9` at any moment a run that is started again leaves what an uninterrupted one does.

Pictures, films, curves and numbers are equal byte for byte, but for times; so is the last state.
"""

import json
import signal
import time

import numpy as np
import pytest

from common.report.curves import draw_curves
from common.runs.rows import read_rows
from tests.checkpoint_leaves import assert_same_leaves, read_leaves
from tests.conftest import ROOT
from tests.forked import SECONDS, fork

STEPS = 12
# Pictures are due with checkpoints, between them, and at the end.
RUN = (
    "--config=configs/toy_gan_1d.py:tiny",
    f"--config.train.num_steps={STEPS}",
    "--config.train.checkpoint_every=4",
    "--config.train.picture_every=5",
    "--config.train.eval_every=0",
    "--config.train.log_every=1",
    "--config.optimizer.discriminator_steps=1",
)
SEEDS = [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 100))]


@pytest.fixture(scope="module")
def uninterrupted(launch, made_once):
    def train(folder):
        return (launch(*RUN, f"--workdir={folder}").stdout,)

    return made_once("to be killed", train)[0]


def rows(workdir):
    """Returns the lines of metrics.jsonl without the times, which are never the same."""
    read = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if not k.startswith("timing/")} for row in read]


def drawings(workdir):
    """Returns all files of the pictures, but for the curves, in which there are times."""
    files = sorted((workdir / "pictures").iterdir())
    return {file.name: file.read_bytes() for file in files if file.name != "curves.png"}


def written(workdir):
    """Returns how many rows and files there are, which grows while a run goes on."""
    numbers = workdir / "metrics.jsonl"
    count = numbers.read_bytes().count(b"\n") if numbers.exists() else 0
    return count + sum(1 for _ in workdir.glob("pictures/*")) + sum(1 for _ in workdir.iterdir())


def kill_at(rng, workdir, folder):
    """Starts a run and kills it some time after it has written so much; says whether it lived."""
    folder.mkdir()
    workdir.mkdir(exist_ok=True)
    before, more, delay = written(workdir), int(rng.integers(STEPS + 10)), rng.uniform(0, 0.2)
    process = fork(["launch.py", *RUN, f"--workdir={workdir}"], ROOT, {}, folder)
    end = time.monotonic() + SECONDS
    while written(workdir) < before + more and process.is_alive():
        assert time.monotonic() < end
        time.sleep(0.001)
    time.sleep(delay)
    process.kill()
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL), (folder / "err").read_text()
    return process.exitcode != 0


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_is_missing_or_double(launch, uninterrupted, tmp_path, seed):
    rng, workdir = np.random.default_rng(seed), tmp_path / "run"
    killed = kill_at(rng, workdir, tmp_path / "first")
    if rng.random() < 0.25:
        killed += kill_at(rng, workdir, tmp_path / "second")
    print(f"seed {seed}: {int(killed)} killed")
    launch(*RUN, f"--workdir={workdir}")
    assert drawings(workdir) == drawings(uninterrupted)
    assert rows(workdir) == rows(uninterrupted)
    draw_curves(read_rows(workdir / "metrics.jsonl"), tmp_path / "curves.png")
    curves = (workdir / "pictures" / "curves.png").read_bytes()
    assert curves == (tmp_path / "curves.png").read_bytes()
    assert_same_leaves(read_leaves(workdir, STEPS), read_leaves(uninterrupted, STEPS))
    assert not [path for path in workdir.rglob(".*") if path.name != ".lock"]  # no leftovers
