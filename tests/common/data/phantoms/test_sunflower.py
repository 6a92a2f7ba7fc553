"""Specification of the sunflowers that stand in for photographs."""

import numpy as np
import pytest

from common.data.phantoms import sunflower

SIZE = 64
AXIS = (np.arange(SIZE) + 0.5) * 2 / SIZE - 1


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    """Red, green and blue, 0 to 1."""
    return sunflower(0, 300, SIZE).images / 255


def yellow(pictures: np.ndarray) -> np.ndarray:
    """Which pixels are: bright in red and green, without blue."""
    red, green, blue = np.moveaxis(pictures, -1, 0)
    return (red > 0.5) & (green > 0.5 * red) & (blue < 0.25 * red)


def brown(pictures: np.ndarray) -> np.ndarray:
    """Which pixels are: dark, red before green before blue."""
    red, green, blue = np.moveaxis(pictures, -1, 0)
    return (red < 0.6) & (red > 1.3 * green) & (green > 1.3 * blue)


def middles(pictures: np.ndarray) -> np.ndarray:
    """The centre (x, y) of what is yellow in each picture."""
    found = yellow(pictures)
    weights = found / found.sum(axis=(1, 2), keepdims=True)
    return np.stack([weights.sum(axis=1) @ AXIS, weights.sum(axis=2) @ AXIS], axis=1)


def share(found: np.ndarray, pictures: np.ndarray, near: float, far: float) -> np.ndarray:
    """How much of a ring around the middle is found, by its radii in half images."""
    x, y = np.moveaxis(middles(pictures)[:, :, None, None], 1, 0)
    distance = np.hypot(AXIS - x, AXIS[:, None] - y)
    ring = (distance >= near) & (distance < far)
    return (found & ring).sum(axis=(1, 2)) / ring.sum(axis=(1, 2))


def test_a_ring_around_the_middle_is_yellow(pictures: np.ndarray) -> None:
    shares = share(yellow(pictures), pictures, 0.34, 0.4)
    assert np.median(shares) > 0.9
    assert shares.min() > 0.5


def test_in_it_is_a_brown_disc(pictures: np.ndarray) -> None:
    assert share(brown(pictures), pictures, 0, 0.1).min() > 0.9
    assert share(yellow(pictures), pictures, 0, 0.1).max() < 0.1


def test_around_it_are_green_leaves_and_blue_sky_the_sky_above(pictures: np.ndarray) -> None:
    left = pictures[:, :, :3].mean(axis=2)
    assert (left[..., 1:].max(axis=-1) > left[..., 0]).mean() > 0.99
    is_sky = left[..., 2] > left[..., 1]
    assert is_sky[:, : SIZE // 4].mean() > 0.7
    assert is_sky[:, -SIZE // 4 :].mean() < 0.3
    assert yellow(pictures[:, :, :3]).mean() < 0.02


def test_flowers_differ_in_size_place_and_hue(pictures: np.ndarray) -> None:
    sizes = yellow(pictures).mean(axis=(1, 2))
    assert sizes.min() > 0.03
    assert np.percentile(sizes, 95) > 1.5 * np.percentile(sizes, 5)
    assert (middles(pictures).std(axis=0) > 0.05).all()
    red, green, _ = np.moveaxis(pictures * yellow(pictures)[..., None], -1, 0).sum(axis=(2, 3))
    assert np.std(green / red) > 0.01
