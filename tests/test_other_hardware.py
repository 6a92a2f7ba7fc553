"""Training steps compile for hardware that is not here: eight chips of a TPU v5e, eight H100."""

import json
import os
import subprocess
import sys

import pytest

from tests.compile_step import missing
from tests.conftest import ROOT

MEMORY = {"tpu": 16 * 2**30, "gpu": 80 * 2**30}  # of one chip

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("config", ["acgan_covid", "unet_brain_mri", "vgg16_covid_best"])
@pytest.mark.parametrize("target", ["tpu", "gpu"])
def test_a_step_compiles_and_fits(config, target):
    if package := missing(target):
        pytest.skip(f"there is no {package}, which compiles for this target; pip installs it")
    words = ["-m", "tests.compile_step", ROOT / "configs" / f"{config}.py", target]
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("JAX_", "XLA_"))}
    done = subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    print(said)
    # The new state takes the old one's memory; what does not change of it is no argument.
    assert said["aliased"] > 0.95 * said["arguments"]
    assert 0.5 * said["state"] < said["arguments"] < 1.1 * said["state"] + 2**23
    assert said["arguments"] + said["temporaries"] + said["program"] < MEMORY[target]
    assert said["all_reduces"] > 0
