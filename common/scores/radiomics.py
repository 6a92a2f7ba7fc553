"""Radiomics: statistics of a grey image, without a network or a segmentation.

Deep features were learnt from photographs; these are formulas common in radiology software, as
defined by pyradiomics (van Griethuysen et al., 2017) and the IBSI (Zwanenburg et al., 2020). They
describe the whole image x with values in [0, 1], for levels divided into 32 equal grey levels. p
are frequencies and E means, never totals (as pyradiomics' energy is), so that images of different
sizes compare.

    mean, deviation, energy      E x, sqrt(E (x - mean)^2), E x^2
    skewness, kurtosis           E (x - mean)^n / deviation^n, n = 3 and 4 (3 for a normal
                                 distribution); 0 for a constant image
    minimum, percentile_10 ...   and the other quantiles, interpolated
    entropy, uniformity          of levels: -sum p log2 p, sum p^2

Grey levels i and j of neighbours (Haralick, Shanmugam and Dinstein, 1973): p(i, j) counts pairs of
pixels, in either order, a step of d = 1 or 2 pixels apart along the rows, the columns and both
diagonals, where a step goes d rows and d columns on. Each feature is the mean over the four.

    glcm_d_contrast              sum p (i - j)^2
    glcm_d_dissimilarity         sum p |i - j|
    glcm_d_homogeneity           sum p / (1 + (i - j)^2)
    glcm_d_energy                sum p^2, the "angular second moment"
    glcm_d_correlation           of i and j; 1 for a constant image
    glcm_d_entropy               -sum p log2 p

Runs of pixels of one level (Galloway, 1975), r long, along the same four directions, averaged:

    glrlm_short_run_emphasis     E 1 / r^2
    glrlm_long_run_emphasis      E r^2
    glrlm_run_percentage         runs per pixel

The slope, by central differences, in grey values per pixel:

    gradient_mean, _deviation    of its length

Their scales differ by orders of magnitude. Before comparing them by a Euclidean distance,
standardise them with mean and deviation of the real reference set, not of the judged images.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.special import entr
from jaxtyping import Array, Float, Int

_LEVELS = 32
_PERCENTILES = (10, 25, 50, 75, 90)
_DISTANCES = (1, 2)
_DIRECTIONS = ((0, 1), (1, 1), (1, 0), (1, -1))  # down, right
_AT_A_TIME = 32  # images, so that a large set need not fit into memory a dozen times

_TEXTURE = ("contrast", "dissimilarity", "homogeneity", "energy", "correlation", "entropy")
FEATURES = (
    *("mean", "deviation", "energy", "skewness", "kurtosis", "minimum"),
    *(f"percentile_{percentile}" for percentile in _PERCENTILES),
    *("maximum", "entropy", "uniformity"),
    *(f"glcm_{distance}_{name}" for distance in _DISTANCES for name in _TEXTURE),
    *("glrlm_short_run_emphasis", "glrlm_long_run_emphasis", "glrlm_run_percentage"),
    *("gradient_mean", "gradient_deviation"),
)

Named = dict[str, Array]


@jax.jit
def radiomics(
    images: Float[Array, "batch height width channels"],
) -> Float[Array, "batch features"]:
    """Returns the features that `FEATURES` names, in its order, in float32.

    Args:
      images: in [0, 1], with sides of 3 pixels or more; channels are averaged.
    """
    features: Array = lax.map(_of_image, images.astype(jnp.float32).mean(-1), batch_size=_AT_A_TIME)
    return features


def _of_image(image: Float[Array, "height width"]) -> Float[Array, " features"]:
    levels = jnp.clip(jnp.floor(image * _LEVELS), 0, _LEVELS - 1).astype(jnp.int32)
    found = _first_order(image, levels) | _runs(levels) | _gradient(image)
    for distance in _DISTANCES:
        found |= {f"glcm_{distance}_{name}": x for name, x in _texture(levels, distance).items()}
    return jnp.stack([found[name] for name in FEATURES], dtype=jnp.float32)


def _first_order(image: Float[Array, "height width"], levels: Int[Array, "height width"]) -> Named:
    # Relative to one of its pixels, a constant image has exactly mean and deviation 0.
    mean = image[0, 0] + (image - image[0, 0]).mean()
    deviation = jnp.sqrt(((image - mean) ** 2).mean())
    z = (image - mean) / jnp.where(deviation > 0, deviation, 1)
    p = jnp.bincount(levels.ravel(), length=_LEVELS) / levels.size
    quantiles = jnp.percentile(image, jnp.array(_PERCENTILES))
    return {
        **{"mean": mean, "deviation": deviation, "energy": (image**2).mean()},
        **{"skewness": (z**3).mean(), "kurtosis": (z**4).mean()},
        **{"minimum": image.min(), "maximum": image.max()},
        **{f"percentile_{n}": x for n, x in zip(_PERCENTILES, quantiles, strict=True)},
        **{"entropy": _bits(p), "uniformity": (p**2).sum()},
    }


def _texture(levels: Int[Array, "height width"], distance: int) -> Named:
    """Returns the features of the co-occurrence matrices of one distance."""
    steps = [(distance * down, distance * right) for down, right in _DIRECTIONS]
    p = jnp.stack([_pairs(levels, *step) for step in steps])
    i, j = jnp.arange(_LEVELS)[:, None], jnp.arange(_LEVELS)

    def sums(values: Array) -> Array:
        return (p * values).sum((1, 2), keepdims=True)

    # p is symmetric: i and j have one mean and one variance.
    mean = sums(i)
    variance, covariance = sums((i - mean) ** 2), sums((i - mean) * (j - mean))
    flat = variance == 0
    found = {
        "contrast": sums((i - j) ** 2),
        "dissimilarity": sums(abs(i - j)),
        "homogeneity": sums(1 / (1 + (i - j) ** 2)),
        "energy": sums(p),
        "correlation": jnp.where(flat, 1, covariance / jnp.where(flat, 1, variance)),
        "entropy": jax.vmap(_bits)(p),
    }
    return {name: values.mean() for name, values in found.items()}


def _pairs(
    levels: Int[Array, "height width"], down: int, right: int
) -> Float[Array, "levels levels"]:
    """Returns how often two levels are at the ends of a step, in either order."""
    height, width = levels.shape
    left, right = max(-right, 0), max(right, 0)
    here = levels[: height - down, left : width - right]
    there = levels[down:, right : width - left]
    # A scatter-add: on a CPU it takes a tenth of the time of a product of one-hot matrices.
    counts = jnp.bincount((here * _LEVELS + there).ravel(), length=_LEVELS**2)
    counts = counts.reshape(_LEVELS, _LEVELS)
    return (counts + counts.T) / (2 * here.size)


def _runs(levels: Int[Array, "height width"]) -> Named:
    """Returns the features of runs, mean over the directions."""
    mirrored = levels[:, ::-1]
    found = jnp.array([_runs_down(x) for x in (levels, levels.T, _skew(levels), _skew(mirrored))])
    short, long, number = found.mean(0)
    return {
        "glrlm_short_run_emphasis": short,
        "glrlm_long_run_emphasis": long,
        "glrlm_run_percentage": number / levels.size,
    }


def _runs_down(levels: Int[Array, "height width"]) -> tuple[Array, Array, Array]:
    """Returns E 1 / r^2, E r^2 and the number of runs down the columns, those of -1 left out."""
    rows = jnp.arange(len(levels))[:, None]
    changes, edge = levels[1:] != levels[:-1], jnp.ones((1, levels.shape[1]), bool)
    starts = jnp.concatenate([edge, changes])
    ends = jnp.concatenate([changes, edge]) & (levels >= 0)
    squares = (rows - lax.cummax(jnp.where(starts, rows, 0)) + 1.0) ** 2
    number = ends.sum()
    return (ends / squares).sum() / number, (ends * squares).sum() / number, number


def _skew(levels: Int[Array, "height width"]) -> Int[Array, "height diagonals"]:
    """Returns levels with each row shifted one pixel more: diagonals become columns."""
    height, width = levels.shape
    padded = jnp.pad(levels, ((0, 0), (0, height)), constant_values=-1)
    return padded.ravel()[:-height].reshape(height, width + height - 1)


def _gradient(image: Float[Array, "height width"]) -> Named:
    slope = jnp.hypot(*jnp.gradient(image))
    return {"gradient_mean": slope.mean(), "gradient_deviation": slope.std()}


def _bits(p: Float[Array, "..."]) -> Float[Array, ""]:
    """Returns the entropy of frequencies."""
    return entr(p).sum() / jnp.log(2)
