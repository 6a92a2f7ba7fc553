"""bench/card.py and bench/device.sh: what they measure on a card, tried on a CPU."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.test_configs import RUNS


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "bench"))


@pytest.mark.usefixtures("bench")
def test_all_configs_of_one_run_are_measured():
    from card import training_configs

    assert training_configs() == RUNS


@pytest.mark.usefixtures("bench")
def test_the_script_names_rows_and_rivals_that_exist():
    from rows import RIVALS, row_named

    script = (ROOT / "bench" / "device.sh").read_text()
    (rows,) = re.findall(r"for row in ([\w ]+); do", script)
    for row in rows.split():
        assert row_named(f"{row}:bfloat16").work == "train"
    for rivals in re.findall(r"--rivals=([\w,+]+)", script):
        assert set(rivals.split(",")) <= set(RIVALS)


@pytest.mark.slow  # a minute: it compiles three networks, PyTorch's beside
def test_a_trial_of_the_script_writes_its_tables(tmp_path: Path):
    environment = {**os.environ, "TRIAL": "1", "PYTHON": sys.executable}
    script = [ROOT / "bench" / "device.sh", tmp_path]
    subprocess.run(script, cwd=ROOT, env=environment, check=True, timeout=600)
    steps = (tmp_path / "steps.md").read_text()
    for name in ("dense_gan_mnist", "unet_brain_mri"):
        (row,) = re.findall(rf"^\| {name} \|(.*)\|$", steps, re.MULTILINE)
        batch, milliseconds, images, *_ = (cell.strip() for cell in row.split("|"))
        assert float(milliseconds) * float(images) == pytest.approx(1e3 * int(batch), rel=0.01)
    assert "dense GAN 28x28" in (tmp_path / "rows.md").read_text()
