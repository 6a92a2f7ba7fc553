"""Structural similarity against SciPy's filters, scikit-image and closed forms."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, uniform_filter

from common.program.errors import UserError
from common.scores.ssim import _scales, mean_pairwise, ms_ssim, ssim

WEIGHTS = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333])


def pictures(seed, count, height, width, channels=1):
    """Clouds in [0, 1]."""
    noise = np.random.default_rng(seed).random((count, height, width, channels))
    clouds = gaussian_filter(noise, (0, 3, 3, 0))
    return (clouds - clouds.min()) / np.ptp(clouds)


def noisy(images, strength, seed=1):
    noise = np.random.default_rng(seed).normal(size=images.shape)
    return np.clip(images + strength * noise, 0, 1)


def on_device(*images):
    return [jnp.asarray(x, jnp.float32) for x in images]


def by_filters(x, y, scales):
    """Returns MS-SSIM of two planes in float64."""
    found = 1.0
    for scale, weight in enumerate(WEIGHTS[:scales] / WEIGHTS[:scales].sum()):
        blur = [gaussian_filter(z, 1.5, truncate=3.5) for z in (x, y, x * x, y * y, x * y)]
        mx, my, xx, yy, xy = (z[5:-5, 5:-5] for z in blur)
        luminance = (2 * mx * my + 1e-4) / (mx**2 + my**2 + 1e-4)
        structure = (2 * (xy - mx * my) + 9e-4) / (xx + yy - mx**2 - my**2 + 9e-4)
        part = structure if scale < scales - 1 else luminance * structure
        found *= max(part.mean(), 0) ** weight
        x, y = (uniform_filter(z, 2, origin=-1)[::2, ::2] for z in (x, y))
    return found


@pytest.mark.parametrize(
    ("shape", "brightest"),
    # In the dark the constants that keep quotients finite count.
    [((2, 30, 41, 3), 1), ((1, 11, 11, 1), 1), ((1, 30, 41, 1), 0.02)],
)
def test_ssim_is_that_of_scikit_image(shape, brightest):
    reference = pytest.importorskip("skimage.metrics").structural_similarity
    x = pictures(0, *shape)
    x, y = brightest * x, brightest * noisy(x, 0.1)
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    expected = [
        reference(*pair, data_range=1.0, channel_axis=-1, **options)
        for pair in zip(x, y, strict=True)
    ]
    np.testing.assert_allclose(ssim(*on_device(x, y)), expected, atol=1e-5)


@pytest.mark.parametrize(("height", "width", "scales"), [(177, 176, 5), (87, 60, 3), (21, 30, 1)])
def test_ms_ssim_is_that_of_scipys_filters(height, width, scales):
    x = pictures(0, 1, height, width)
    y = noisy(x, 0.1)
    expected = by_filters(x[0, ..., 0], y[0, ..., 0], scales)
    np.testing.assert_allclose(ms_ssim(*on_device(x, y)), [expected], atol=1e-5)
    if scales == 1:
        np.testing.assert_allclose(ssim(*on_device(x, y)), [expected], atol=1e-5)


def test_there_are_as_many_scales_as_the_window_fits_into():
    sides = {11: 1, 21: 1, 22: 2, 43: 2, 44: 3, 87: 3, 88: 4, 175: 4, 176: 5, 512: 5}
    for side, scales in sides.items():
        assert _scales(jnp.zeros((1, side, 600, 1))) == scales


@pytest.mark.parametrize("similarity", [ssim, ms_ssim])
class TestBoth:
    def test_equal_images_give_1_and_the_order_does_not_matter(self, similarity):
        x, y = on_device(pictures(0, 2, 44, 50, 3), pictures(1, 2, 44, 50, 3))
        np.testing.assert_allclose(similarity(x, x), 1, atol=1e-6)
        np.testing.assert_allclose(similarity(x, y), similarity(y, x), atol=1e-6)
        assert (similarity(x, y) < 0.7).all()

    def test_of_uniform_images_only_the_luminance_counts(self, similarity):
        x, y = (jnp.full((1, 16, 16, 1), value) for value in (0.2, 0.6))
        expected = (2 * 0.2 * 0.6 + 1e-4) / (0.2**2 + 0.6**2 + 1e-4)
        np.testing.assert_allclose(similarity(x, y), expected, rtol=1e-3)

    def test_falls_with_noise_and_images_and_channels_are_averaged_apart(self, similarity):
        x = pictures(0, 2, 44, 50, 2)
        found = [similarity(*on_device(x, noisy(x, s))) for s in (0.0, 0.05, 0.1, 0.3)]
        assert (np.diff(found, axis=0) < 0).all()
        y = noisy(x, 0.1)
        each = [similarity(*on_device(x[..., [c]], y[..., [c]])) for c in range(2)]
        np.testing.assert_allclose(found[2], np.mean(each, axis=0), rtol=1e-5)

    def test_images_smaller_than_the_window_are_refused(self, similarity):
        small = jnp.zeros((1, 20, 10, 1))
        with pytest.raises(UserError, match="at least 11 pixels, but these have 10"):
            similarity(small, small)


def test_an_inverted_image_is_worse_than_an_unrelated_one_and_no_number_is_lost():
    stripes = np.tile(np.arange(64) % 8 / 7.0, (1, 64, 1))[..., None]
    x, y = on_device(stripes, 1 - stripes)
    assert -1 <= ssim(x, y).item() < -0.5
    assert ms_ssim(x, y).item() == 0


class TestMeanPairwise:
    def test_of_equal_images_is_1_and_of_different_ones_less(self):
        different = pictures(0, 12, 22, 22).astype(np.float32)
        alike = noisy(different[:1].repeat(12, 0), 0.02).astype(np.float32)
        assert mean_pairwise(different[:1].repeat(5, 0)) == pytest.approx(1, abs=1e-6)
        assert mean_pairwise(different) < 0.6
        assert 0.8 < mean_pairwise(alike) < 1

    def test_never_pairs_an_image_with_itself(self):
        """Two uniform images: every pair is the one there is."""
        images = np.stack([np.full((22, 22, 1), value, np.float32) for value in (0.2, 0.6)])
        expected = ms_ssim(*(jnp.asarray(images[[i]]) for i in (0, 1))).item()
        assert mean_pairwise(images, pairs=30) == pytest.approx(expected, rel=1e-4)

    def test_estimates_the_mean_of_all_pairs_and_is_a_function_of_the_seed(self):
        images = pictures(0, 10, 22, 22).astype(np.float32)
        first, second = np.triu_indices(10, 1)
        every = ms_ssim(jnp.asarray(images[first]), jnp.asarray(images[second]))
        found = [mean_pairwise(images, 100, seed) for seed in (0, 0, 1)]
        assert found[0] == found[1] != found[2]
        np.testing.assert_allclose(found, every.mean(), atol=4 * every.std() / 10)

    def test_one_image_is_refused(self):
        with pytest.raises(UserError, match="there are 1; generate more"):
            mean_pairwise(np.zeros((1, 22, 22, 1), np.float32))
