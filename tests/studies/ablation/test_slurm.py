"""An ablation through a real Slurm: the same numbers, whatever becomes of its jobs."""

import shutil
import subprocess
import sys
import time

import pytest

from common.program.errors import UserError
from studies.slurm import Slurm, asked
from tests.conftest import ROOT

needs_slurm = pytest.mark.skipif(not shutil.which("squeue"), reason="needs Slurm (squeue)")


def start(workdir, *flags):
    config = "--config=configs/small_cnn_chest_xray.py:tiny"
    sweep = ("--sweep=optimizer.learning_rate=0.001,0.002", "--sweep=seed=3", "--at_once=2")
    line = [sys.executable, "launch.py", "--mode=ablate", config, *sweep, f"--workdir={workdir}"]
    return subprocess.Popen([*line, *flags], cwd=ROOT, stdout=subprocess.DEVNULL)


def jobs_that_train(workdir):
    """Returns two jobs once both have begun to train."""
    while True:
        cells = {file.parent for file in workdir.glob("cells/*/*/run.json")}
        if len(cells) == 2:
            return [(cell / "slurm.txt").read_text() for cell in cells]
        time.sleep(0.2)


@needs_slurm
@pytest.mark.slow  # a requeued job waits two minutes
def test_a_cancelled_and_a_requeued_job_end_with_the_same_table(tmp_path):
    pytest.importorskip("submitit", reason="needs submitit: pip install -e '.[slurm]'")
    study = start(tmp_path / "slurm", "--executor=slurm", "--slurm=cpus_per_task=1,time=30")
    cancelled, requeued = jobs_that_train(tmp_path / "slurm")
    subprocess.run(["scancel", cancelled], check=True)
    subprocess.run(["scontrol", "requeue", requeued], check=True)
    assert start(tmp_path / "here").wait() == 0 and study.wait() == 0
    here, there = ((tmp_path / name / "ablation.csv").read_text() for name in ("here", "slurm"))
    assert here == there


def test_a_job_asks_for_what_the_flag_names():
    assert asked("partition=gpu, time=240,") == {"partition": "gpu", "time": 240}
    assert asked("") == {}
    with pytest.raises(ValueError, match="must be NAME=VALUE"):
        asked("gpu")


def test_without_slurm_one_sentence_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(UserError, match=r"finds no Slurm|needs submitit"):
        Slurm(tmp_path, "", 1)
