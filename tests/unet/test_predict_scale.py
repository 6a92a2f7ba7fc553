"""A new image reaches the network as a training image did."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from common.data.files.decode import read_image as decode
from common.data.fit import fit_image, scaled_size
from common.data.prepared.prepared import DataCard
from common.runs.workdir import Run
from configs.unet_brain_mri import get_config
from unet.flags import UNetOptions
from unet.inputs import input_scale
from unet.reading import read_image

CARD = DataCard("test", ("a",), {"train": 8}, 32, 3, "0", False, 0, mask_classes=("a", "b"))
RNG = np.random.default_rng(0)


def run_of(tmp_path, fit, native_size):
    config = get_config("tiny")
    config.data.fit = fit
    return Run(tmp_path, config, replace(CARD, native_size=native_size))


@pytest.mark.parametrize("fit", ["stretch", "pad"])
@pytest.mark.parametrize("native", [(64, 40), (32, 32), (20, 31)])
@pytest.mark.parametrize("known", [True, False], ids=["one size", "several sizes"])
def test_an_image_of_the_training_shape_is_seen_as_it_was_in_training(tmp_path, fit, native, known):
    file = tmp_path / "x.png"
    Image.fromarray(RNG.integers(0, 256, (*native, 3), np.uint8)).save(file)
    pixels = decode(file).pixels
    run = run_of(tmp_path, fit, native if known else ())
    read = read_image([lambda: decode(file)], run, UNetOptions(), None)
    np.testing.assert_array_equal(read.shown, fit_image(pixels, 32, 3, fit))
    np.testing.assert_array_equal(read.pixels, pixels)


def test_another_shape_keeps_the_scale_of_training():
    """Training images of 256x256 were halved: so is one of 1000x700, whatever its shape."""
    assert scaled_size(1000, 700, 128, "stretch", (256, 256)) == (500, 350)
    assert scaled_size(1000, 700, 128, "pad", (256, 512)) == (250, 175)
    assert scaled_size(1000, 700, 128, "crop", (256, 512)) == (500, 350)
    assert scaled_size(1000, 700, 128, "stretch", (128, 128)) == (1000, 700)
    assert scaled_size(1000, 700, 128, "stretch") == (128, 128)


def test_without_rescaling_pixels_stay(tmp_path):
    file = tmp_path / "x.png"
    Image.fromarray(RNG.integers(0, 256, (50, 60), np.uint8)).save(file)
    run = run_of(tmp_path, "stretch", (64, 64))
    read = read_image([lambda: decode(file)], run, UNetOptions(rescale=False), None)
    assert read.shown.shape == (50, 60, 3)


def test_the_mean_of_millions_of_pixels_is_exact():
    image = RNG.integers(150, 256, (1, 3000, 2000, 3), np.uint8)
    mean, deviation = input_scale(image, "standardised")
    np.testing.assert_allclose(mean[0, 0, 0], image[0].reshape(-1, 3).mean(0), rtol=1e-6)
    np.testing.assert_allclose(deviation[0, 0, 0], image[0].reshape(-1, 3).std(0), rtol=1e-5)
