"""docs/reliability.md has the table; no fault of the disk, a file or a folder ends wrongly."""

import shutil
import subprocess
import sys

import pytest

from tests.conftest import ROOT


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("gcc"), reason="gcc makes the library that lets calls fail")
@pytest.mark.parametrize("sample", [0, 12])
def test_no_fault_ends_wrongly(sample):
    """All of them, and a dozen for those in a hurry."""
    command = [sys.executable, "-m", "tests.faults", f"--sample={sample}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:] + done.stdout
