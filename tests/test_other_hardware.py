"""Programs compile for hardware that is not here: eight chips of a TPU v5e, eight H100."""

import json
import os
import subprocess
import sys

import pytest

from common.devices.hardware import missing_package
from tests.conftest import ROOT

MEMORY = {"v5e:2x4": 16 * 2**30, "h100:8": 80 * 2**30}  # of one chip

pytestmark = pytest.mark.slow


def compiled(config, hardware, program):
    """Returns what the compiled program says of itself."""
    if package := missing_package(hardware):
        pytest.skip(f"there is no {package}, which compiles for this; pip installs it")
    words = ["-m", "tests.compile_step", ROOT / "configs" / f"{config}.py", hardware, program]
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
    assert said["arguments"] + said["temporaries"] + said["program"] < MEMORY[hardware]
    return said


@pytest.mark.parametrize("config", ["acgan_covid", "unet_brain_mri", "vgg16_covid_best"])
@pytest.mark.parametrize("hardware", MEMORY)
def test_a_step_compiles_and_fits(config, hardware):
    said = compiled(config, hardware, "train_step")
    # The new state takes the old one's memory; what does not change of it is no argument.
    assert said["aliased"] > 0.95 * said["arguments"]
    assert 0.5 * said["state"] < said["arguments"] < 1.1 * said["state"] + 2**23
    assert said["all_reduces"] > 0


@pytest.mark.parametrize(
    ("config", "program"),
    [
        ("acgan_covid", "generate"),
        ("unet_brain_mri", "predict"),
        ("unet_brain_mri", "eval_step"),
        ("vgg16_covid_best", "predict"),
    ],
)
@pytest.mark.parametrize("hardware", MEMORY)
def test_what_a_trained_network_is_used_for_compiles(config, program, hardware):
    said = compiled(config, hardware, program)
    # Metrics are gathered from all devices; images need nothing of the others.
    assert (said["all_reduces"] + said["all_gathers"] > 0) == (program == "eval_step")
