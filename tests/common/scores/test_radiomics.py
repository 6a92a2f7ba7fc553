"""Radiomic features: those of NumPy, SciPy and scikit-image, and images of which they are known."""

from itertools import groupby

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from common.scores.radiomics import FEATURES, radiomics

SIZE = (24, 31)
RAMP, CHECKERED, CONSTANT = 3, 4, 5


@pytest.fixture(scope="module")
def images():
    """A smooth, a coarse and a noisy one, a ramp, a checkered and a constant one."""
    rng = np.random.default_rng(0)
    noise = rng.random((3, *SIZE))
    smooth = np.cumsum(noise[0] - 0.5, axis=1)
    smooth = (smooth - smooth.min()) / np.ptp(smooth)
    rows, columns = np.indices(SIZE)
    images = [smooth, np.round(3 * noise[1]) / 3, noise[2] ** 2]
    known = [0.03 * columns, (rows + columns) % 2, np.full(SIZE, 0.3)]
    return np.array([*images, *known], np.float32)


@pytest.fixture(scope="module")
def found(images):
    """Each feature of all images, by name; of two channels whose mean they exactly are."""
    values = radiomics(jnp.asarray(np.stack([0 * images, 2 * images], -1)))
    assert values.shape == (len(images), len(FEATURES)) and values.dtype == jnp.float32
    assert np.isfinite(values).all()
    return dict(zip(FEATURES, np.asarray(values, np.float64).T, strict=True))


def levels_of(images):
    return np.minimum(images * 32, 31).astype(np.uint8)


def test_first_order_statistics_are_those_of_numpy_and_scipy(images, found):
    flat = images.reshape(len(images), -1).astype(np.float64)
    counts = [np.bincount(image, minlength=32) for image in levels_of(flat)]
    expected = {
        "mean": flat.mean(1),
        "deviation": flat.std(1),
        "energy": (flat**2).mean(1),
        "minimum": flat.min(1),
        "maximum": flat.max(1),
        "entropy": [stats.entropy(count, base=2) for count in counts],
        "uniformity": [((count / flat.shape[1]) ** 2).sum() for count in counts],
        **{f"percentile_{n}": np.percentile(flat, n, axis=1) for n in (10, 25, 50, 75, 90)},
    }
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, atol=2e-6, err_msg=name)
    varied = flat[:CONSTANT]
    expected = {"skewness": stats.skew(varied, 1), "kurtosis": 3 + stats.kurtosis(varied, 1)}
    for name, values in expected.items():
        np.testing.assert_allclose(found[name][:CONSTANT], values, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("distance", [1, 2])
def test_texture_is_that_of_scikit_image(images, found, distance):
    feature = pytest.importorskip("skimage.feature", reason="there is no scikit-image")
    # scikit-image measures along the line of sight: (2, 2) pixels on are 2 sqrt(2) away.
    along, across = np.array([0, np.pi / 2]), np.array([np.pi / 4, 3 * np.pi / 4])
    for number, image in enumerate(levels_of(images)):
        p = np.concatenate(
            [
                feature.graycomatrix(image, [steps], angles, 32, symmetric=True, normed=True)
                for steps, angles in ((distance, along), (distance * 2**0.5, across))
            ],
            axis=-1,
        )
        for ours, theirs in (
            *((name, name) for name in ("contrast", "dissimilarity", "homogeneity")),
            *(("energy", "ASM"), ("correlation", "correlation")),
        ):
            value = found[f"glcm_{distance}_{ours}"][number]
            expected = feature.graycoprops(p, theirs).mean()
            np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-6, err_msg=ours)
        entropy = stats.entropy(p.reshape(-1, p.shape[-1]), base=2).mean()
        np.testing.assert_allclose(found[f"glcm_{distance}_entropy"][number], entropy, atol=1e-5)


def test_runs_are_those_that_one_counts(images, found):
    for number, image in enumerate(levels_of(images)):
        diagonals = range(-SIZE[0] + 1, SIZE[1])
        directions = (
            *(list(image), list(image.T)),
            *([turned.diagonal(k) for k in diagonals] for turned in (image, image[:, ::-1])),
        )
        emphasis = []
        for lines in directions:
            runs = np.array([len(list(run)) for line in lines for _, run in groupby(line)], float)
            assert runs.sum() == image.size
            emphasis.append(((runs**-2).mean(), (runs**2).mean(), len(runs) / image.size))
        names = ("short_run_emphasis", "long_run_emphasis", "run_percentage")
        for name, expected in zip(names, np.mean(emphasis, 0), strict=True):
            np.testing.assert_allclose(found[f"glrlm_{name}"][number], expected, rtol=1e-6)


def test_a_constant_image_has_no_texture(found):
    zero = ("deviation", "skewness", "kurtosis", "entropy", "gradient_mean", "gradient_deviation")
    constant = {name: values[CONSTANT] for name, values in found.items()}
    for name in (*zero, *(f"glcm_{d}_{x}" for d in (1, 2) for x in ("contrast", "entropy"))):
        assert abs(constant[name]) < 1e-6, name
    for name in ("uniformity", "glcm_1_energy", "glcm_2_homogeneity", "glcm_1_correlation"):
        assert constant[name] == 1, name


def test_a_checkerboard_differs_along_its_lines_and_not_along_its_diagonals(found):
    checkered = {name: values[CHECKERED] for name, values in found.items()}
    expected = {"contrast": 31**2 / 2, "dissimilarity": 31 / 2, "energy": 1 / 2}
    for name, value in expected.items():
        np.testing.assert_allclose(checkered[f"glcm_1_{name}"], value, rtol=1e-6)
    assert checkered["glcm_2_contrast"] == 0 and checkered["glcm_2_correlation"] == 1
    assert abs(checkered["glcm_1_correlation"]) < 1e-6
    assert checkered["uniformity"] == 0.5 and checkered["entropy"] == 1


def test_the_slope_of_a_ramp_is_known(found):
    np.testing.assert_allclose(found["gradient_mean"][RAMP], 0.03, rtol=1e-5)
    assert found["gradient_deviation"][RAMP] < 1e-6
