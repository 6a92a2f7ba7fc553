"""Specification of the phantoms whose density is known."""

import numpy as np
import pytest

from common.data.phantoms import gaussian
from common.data.phantoms.gaussian import DEVIATION, MEAN


def values(num: int, image_size: int, seed: int = 0) -> np.ndarray:
    """The pixels as a network sees them, -1 to 1."""
    return gaussian(seed, num, image_size).images / 127.5 - 1


@pytest.mark.parametrize(("num", "image_size"), [(40, 50), (100_000, 1)])
def test_pixels_have_the_documented_mean_and_deviation(num: int, image_size: int) -> None:
    pixels = values(num, image_size)
    assert pixels.size == 100_000
    assert pixels.mean() == pytest.approx(MEAN, abs=0.003)  # 5 standard errors
    assert pixels.std() == pytest.approx(DEVIATION, abs=0.003)


def test_they_are_normal_as_far_as_three_deviations() -> None:
    away = np.abs(values(100_000, 1) - MEAN) / DEVIATION
    shares = [(away < deviations).mean() for deviations in (1, 2, 3)]
    np.testing.assert_allclose(shares, [0.6827, 0.9545, 0.9973], atol=0.008)  # of 255 levels


def test_pixels_of_an_image_and_images_are_independent() -> None:
    pixels = values(2000, 2).reshape(2000, 4)
    between_pixels = np.corrcoef(pixels, rowvar=False)[~np.eye(4, dtype=bool)]
    between_images = np.corrcoef(pixels[:-1].ravel(), pixels[1:].ravel())[0, 1]
    between_seeds = np.corrcoef(pixels.ravel(), values(2000, 2, seed=1).ravel())[0, 1]
    assert np.abs([*between_pixels, between_images, between_seeds]).max() < 0.1


@pytest.mark.parametrize("image_size", [1, 7, 64])
def test_an_image_does_not_depend_on_how_many_are_drawn(image_size: int) -> None:
    many = gaussian(0, 1000, image_size).images
    for num in (1, 2, 999):
        np.testing.assert_array_equal(gaussian(0, num, image_size).images, many[:num])
