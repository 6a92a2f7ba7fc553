"""Programs compile for hardware that is not here: eight chips of a TPU v5e, eight H100."""

import json
import os
import subprocess
import sys

import pytest

from common.devices.hardware import missing_package
from tests.conftest import ROOT
from tests.test_configs import RUNS, config_of

MEMORY = {"v5e:2x2": 16 * 2**30, "v5e:2x4": 16 * 2**30, "h100:8": 80 * 2**30}  # of one chip
# Exchanges of what else looks at the images of all devices.
OTHERS = {
    "cyclegan_brain_mri": 4,  # the pools: images and keys of both
    "semi_supervised_chest_xray": 2,  # the share of labelled images, the means of features
    # A loss over the batch, and its gradient.
    **dict.fromkeys(("unet", "unet_brain_mri_best"), 2),
    "vgg16_covid_best": 2,  # mixup's neighbours: images and targets
    # The critic's deviations, twice each way in both updates; pairs of images of the whole batch.
    **dict.fromkeys(("acgan_covid_best", "cnn_gan_best", "dcgan_chest_xray_best", "gan"), 8 + 3),
}

pytestmark = pytest.mark.slow


def compiled(config, hardware, program, *arg):
    """Returns what the compiled program says of itself."""
    if package := missing_package(hardware):
        pytest.skip(f"there is no {package}, which compiles for this; pip installs it")
    file = ROOT / "configs" / f"{config}.py"
    words = ["-m", "tests.compile_step", file, hardware, program, *arg]
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
@pytest.mark.parametrize("hardware", ["v5e:2x4", "h100:8"])
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
@pytest.mark.parametrize("hardware", ["v5e:2x4", "h100:8"])
def test_what_a_trained_network_is_used_for_compiles(config, program, hardware):
    said = compiled(config, hardware, program)
    # Metrics are gathered from all devices; images need nothing of the others.
    assert (said["all_reduces"] + said["all_gathers"] > 0) == (program == "eval_step")


def updates(config):
    """Returns how many networks a step updates, each as often as it does."""
    if config.task == "gan":
        return config.optimizer.discriminator_steps + 1
    if config.task == "translate":
        return {"pix2pix": 2, "cyclegan": 4}[config.model.name]
    return 1


@pytest.mark.parametrize("config", RUNS)
def test_chips_exchange_moments_twice_gradients_once_and_metrics_once(config):
    """A BatchNorm's forward and backward, an update's and a step's; XLA joins some of them."""
    said = compiled(config, "v5e:2x2", "train_step", "tiny")
    most = 2 * said["batch_norms"] + updates(config_of(config, "tiny")) + 1
    assert said["exchanges"] <= most + OTHERS.get(config, 0)
