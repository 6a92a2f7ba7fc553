"""Statistics of images: of any size, whatever is in them, the same in any company."""

import numpy as np
import pytest

from common.unlike.statistics import image_statistics

RNG = np.random.default_rng(0)


def noise(*shape):
    return RNG.integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize(
    "shape", [(1, 1, 1), (2, 3, 1), (28, 28, 1), (31, 47, 3), (128, 128, 3), (5, 300, 1)]
)
def test_every_image_has_statistics(shape):
    images = np.stack([noise(*shape), np.zeros(shape, np.uint8), np.full(shape, 255, np.uint8)])
    found = image_statistics(images)
    assert found.dtype == np.float64 and np.isfinite(found).all()
    assert found.shape[1] % shape[-1] == 0


def test_an_image_has_the_same_statistics_in_any_company():
    images = noise(40, 32, 32, 1)
    alone = np.concatenate([image_statistics(image[None]) for image in images])
    np.testing.assert_allclose(image_statistics(images), alone, atol=1e-5)


def test_grey_values_are_quantiles_mean_and_deviation():
    image = noise(1, 40, 50, 3)
    found = image_statistics(image)[0, :21].reshape(3, 7)
    values = image[0].reshape(-1, 3) / 255
    quantiles = np.quantile(values, (0.05, 0.25, 0.5, 0.75, 0.95), axis=0, method="inverted_cdf")
    expected = np.concatenate([quantiles, [values.mean(0)], [values.std(0)]])
    np.testing.assert_allclose(found, expected.T, atol=1e-9)


def test_steps_are_those_of_neighbours_at_each_scale():
    """Stripes of a pixel vanish where the image is halved; stripes of two do so a scale later."""
    stripes = np.zeros((2, 32, 32, 1), np.uint8)
    stripes[0, :, ::2] = stripes[1, :, ::4] = stripes[1, :, 1::4] = 255
    down, across = image_statistics(stripes)[:, -16::4], image_statistics(stripes)[:, -14::4]
    assert (down < np.log(2e-3)).all()
    assert across[0, 0] > -0.1 and (across[0, 1:] < np.log(2e-3)).all()
    assert across[1, 1] > -0.1 and (across[1, 2:] < np.log(2e-3)).all()


def test_noise_and_its_smoothed_image_have_other_spectra():
    image = noise(1, 64, 64, 1)
    smooth = ((image + np.roll(image.astype(int), 1, 1) + np.roll(image, 1, 2)) // 3).astype(
        np.uint8
    )
    assert abs(image_statistics(image) - image_statistics(smooth)).max() > 0.5
