"""How good a set of generated images is, by the features of real and of generated images.

| measure          | asks                                                  | at best    |
|------------------|-------------------------------------------------------|------------|
| Fréchet distance | are mean and covariance those of the real images?     | 0          |
| FRD              | the same of pyradiomics' features: its logarithm      | -inf       |
| kernel distance  | are all moments up to the third?                      | 0 or below |
| precision        | which share of generated images lies among real ones? | 1          |
| recall           | which share of real images lies among generated ones? | 1          |
| density          | how densely do real images lie around generated ones? | 1 or above |
| coverage         | near which share of real images is a generated one?   | 1          |

With a few hundred images not even real ones reach all of these values: measure real images against
each other, too (`disjoint_halves`), and compare only sets of one size.

Everything is computed on the host in float64: these figures are small differences of large sums,
and accelerators multiply float32 matrices in less than float32 unless told otherwise. On a CPU that
is no slower than JAX (products of 4000 by 4000 images, 2048 features, two busy cores: 1.6 s, in JAX
in float64 1.5 s). Each measure of 10,000 by 10,000 images took 13 to 34 s of one core and 1.4 GiB.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Float64, Int

from common.program.errors import UserError
from common.program.words import counted

# The names begin with _ so that two sets may have different sizes.
Features = Float[np.ndarray, "_images _features"]
Exact = Float64[np.ndarray, "_images _features"]

_ROWS = 1024  # of a matrix of pairs, in memory at a time
_TIE = 1e-12  # of the largest squared distance from the centre; rounding stays below it


@dataclass(frozen=True)
class Moments:
    """Mean and covariance of features, which a reference set keeps.

    Attributes:
      mean: of each feature.
      root: R, where R^T R is the covariance; min(images, features) rows.
    """

    mean: Float64[np.ndarray, " features"]
    root: Float64[np.ndarray, "_rows features"]


@dataclass(frozen=True)
class Estimate:
    """A measured number and its standard error, NaN if that is unknown."""

    value: float
    standard_error: float = math.nan


class ManifoldScores(NamedTuple):
    """How two sets of images lie among each other: see `manifold_scores`."""

    precision: float
    recall: float
    density: float
    coverage: float


def moments(features: Features) -> Moments:
    """Returns the mean and the covariance (divided by n - 1) of features.

    Raises:
      UserError: fewer than 2 images, or features that are not finite.
    """
    exact = exact_features(features, 2)
    mean = exact.mean(0)
    # The covariance itself holds squares: the roots of its small eigenvalues would be noise.
    root: Any = np.linalg.qr(exact - mean, mode="r")  # NumPy's types do not know the mode
    return Moments(mean, root / math.sqrt(len(exact) - 1))


def frechet_distance(real: Features | Moments, generated: Features | Moments) -> float:
    """Returns the squared Fréchet distance between normal distributions with the sets' moments.

    `|mu_r - mu_g|^2 + tr(S_r + S_g - 2 (S_r S_g)^(1/2))`, with Inception's features known as FID.
    The fewer images, the larger it is. Heusel et al., "GANs Trained by a Two Time-Scale Update
    Rule Converge to a Local Nash Equilibrium" (2017), equation 6.

    Raises:
      UserError: fewer than 2 images, features that are not finite or are of two kinds.
    """
    first, second = (x if isinstance(x, Moments) else moments(x) for x in (real, generated))
    check_kind(len(first.mean), len(second.mean))
    shift = ((first.mean - second.mean) ** 2).sum()
    spread = (first.root**2).sum() + (second.root**2).sum()
    # The eigenvalues of S_r S_g are the squared singular values of R_r R_g^T. This needs no matrix
    # square root, which need not exist below full rank (n <= d).
    overlap = np.linalg.svd(first.root @ second.root.T, compute_uv=False).sum()
    return max(0.0, float(shift + spread - 2 * overlap))


def radiomic_distance(real: Features, generated: Features) -> float:
    """Returns the Fréchet Radiomic Distance (FRD), version 1, from pyradiomics' features.

    `log |mu_r - mu_g|^2 + tr(S_r + S_g - 2 (S_r S_g)^(1/2))` of features in standard scores of the
    real images, without those that are equal in all of them: what the program frd-score prints.
    Konz et al., "Fréchet Radiomic Distance (FRD): A Versatile Metric for Comparing Medical Imaging
    Datasets" (2026), whose equation 3 has half of it: the logarithm of the root. -inf of equal
    sets.

    Raises:
      UserError: fewer than 2 images, features that are not finite or are of two kinds.
    """
    first, second = _exact_pair(real, generated, 2)
    differing = np.ptp(first, 0) > 0
    first, second = first[:, differing], second[:, differing]
    mean, deviation = first.mean(0), first.std(0)
    squared = frechet_distance((first - mean) / deviation, (second - mean) / deviation)
    return math.log(squared) if squared else -math.inf


def kernel_distance(real: Features, generated: Features) -> Estimate:
    """Returns the squared maximum mean discrepancy under the kernel `k(x, y) = (x.y / d + 1)^3`.

    The unbiased estimate over all pairs, `mean_(i != j) k(x_i, x_j) + mean_(i != j) k(y_i, y_j) -
    2 mean_(i, j) k(x_i, y_j)`, with Inception's features known as KID: Bińkowski et al.,
    "Demystifying MMD GANs" (2018), section 4. They average over random subsets of 1000, which adds
    noise whose size overlapping subsets do not show.

    The standard error is that of the jackknife, leaving out one image of either set at a time:
    Arvesen, "Jackknifing U-statistics" (1969). It is right if the sets differ; if they have the
    same distribution it is too large by sqrt(2) (on average the jackknife is never too small:
    Efron and Stein, "The jackknife estimate of variance", 1981).

    The images are assumed to be drawn at random. If both sets have equally many of each class by
    design, the estimate is too low, even below 0; measure each class by itself.

    Raises:
      UserError: fewer than 3 images, features that are not finite or are of two kinds.
    """
    first, second = _exact_pair(real, generated, 3)
    across = _kernel_sums(first, second)
    value, variance = -2 * across[0].sum() / (len(first) * len(second)), 0.0
    for own, others, to_others in ((first, second, across[0]), (second, first, across[1])):
        n = len(own)
        to_itself = ((own**2).mean(1) + 1) ** 3
        to_own = _kernel_sums(own, own)[0] - to_itself
        value += to_own.sum() / (n * (n - 1))
        # Up to a constant, leaving out an image lowers the estimate by 2 / (n - 1) of this.
        influence = to_own / (n - 2) - to_others / len(others)
        variance += 4 * influence.var(ddof=1) / n
    return Estimate(float(value), math.sqrt(variance))


def manifold_scores(real: Features, generated: Features, k: int = 5) -> ManifoldScores:
    """Returns precision, recall, density and coverage.

    Around each image of a set lies a ball that reaches to its k-th nearest neighbour in the set.
    Precision is the share of generated images in any ball of the real ones, recall the share of
    real images in any ball of the generated ones: Kynkäänniemi et al., "Improved Precision and
    Recall Metric for Assessing Generative Models" (2019). Density is the mean number of real balls
    that a generated image lies in, divided by k; coverage the share of real balls with a generated
    image in them: Naeem et al., "Reliable Fidelity and Diversity Metrics for Generative Models"
    (2020). An outlier has a large ball, which inflates precision and recall; density and coverage
    suffer less. As in the latter's program, an image exactly at the edge of a ball is outside.

    Two real sets of n images have a density of 1 and a coverage of 1 - 2^-k (for k much below n).

    Raises:
      UserError: fewer than k + 1 images, features that are not finite or are of two kinds.
      ValueError: k is less than 1.
    """
    if k < 1:
        raise ValueError(f"k is {k}; it must be at least 1")
    first, second = _exact_pair(real, generated, k + 1)
    centre = first.mean(0)  # far from the origin, distances would drown in rounding
    first, second = first - centre, second - centre
    # Rounding must not move an image at the edge, such as a copy of a real one, inside.
    edge = _TIE * max((x**2).sum(1).max() for x in (first, second))
    real_radii, generated_radii = (_neighbour_squares(x, k) - edge for x in (first, second))
    balls = np.zeros(len(second), int)
    covered, recalled = np.empty((2, len(first)), bool)
    for rows in blocks(len(first)):
        squares = squared_distances(first[rows], second)
        in_real = squares < real_radii[rows, None]
        balls += in_real.sum(0)
        covered[rows] = in_real.any(1)
        recalled[rows] = (squares < generated_radii).any(1)
    return ManifoldScores(
        precision=float((balls > 0).mean()),
        recall=float(recalled.mean()),
        density=float(balls.mean() / k),
        coverage=float(covered.mean()),
    )


def disjoint_halves(
    owners: Sequence[str], seed: int
) -> tuple[Int[np.ndarray, " _first"], Int[np.ndarray, " _second"]]:
    """Returns the rows of two random sets of images of nearly equal size, no owner in both.

    Args:
      owners: the owner of each image; at least two.
      seed: of the random choice.

    Raises:
      ValueError: all images have one owner.
    """
    names, owner, counts = np.unique(owners, return_inverse=True, return_counts=True)
    if len(names) < 2:
        raise ValueError("all images have one owner")
    order = np.random.default_rng(seed).permutation(len(names))
    # The largest owners come first, so that the small ones even out the sizes.
    order = order[np.argsort(-counts[order], kind="stable")]
    sizes, side = [0, 0], np.empty(len(names), int)
    for name in order.tolist():
        side[name] = int(np.argmin(sizes))
        sizes[side[name]] += counts[name]
    return np.flatnonzero(side[owner] == 0), np.flatnonzero(side[owner] == 1)


def exact_features(features: Features, least: int) -> Exact:
    """Returns the features in float64 if there are enough and all are finite."""
    if len(features) < least:
        raise UserError(
            f"A set has {counted(len(features), 'image')}, and this measure needs {least} or"
            " more; add some."
        )
    exact = features.astype(np.float64)
    broken = len(exact) - int(np.isfinite(exact).all(1).sum())
    if broken:
        raise UserError(
            f"{broken} of {counted(len(exact), 'image')} have features that are not finite; check"
            " these images and the weights of the network."
        )
    return exact


def _exact_pair(real: Features, generated: Features, least: int) -> tuple[Exact, Exact]:
    check_kind(real.shape[1], generated.shape[1])
    return exact_features(real, least), exact_features(generated, least)


def check_kind(real: int, others: int, name: str = "generated") -> None:
    """Refuses two sets of images that have different numbers of features."""
    if real != others:
        raise UserError(
            f"Real images have {real} features and {name} ones {others}; make both with the"
            " same network."
        )


def blocks(count: int) -> Iterator[slice]:
    """Yields the rows of a matrix of pairs in blocks that fit in memory."""
    return (slice(start, start + _ROWS) for start in range(0, count, _ROWS))


def _kernel_sums(
    x: Float64[np.ndarray, "n features"], y: Float64[np.ndarray, "m features"]
) -> tuple[Float64[np.ndarray, " n"], Float64[np.ndarray, " m"]]:
    """Returns the sums of the kernel over y for each x, and over x for each y."""
    of_x, of_y = np.empty(len(x)), np.zeros(len(y))
    for rows in blocks(len(x)):
        kernel = (x[rows] @ y.T / x.shape[1] + 1) ** 3
        of_x[rows] = kernel.sum(1)
        of_y += kernel.sum(0)
    return of_x, of_y


def squared_distances(
    x: Float64[np.ndarray, "n features"], y: Float64[np.ndarray, "m features"]
) -> Float64[np.ndarray, "n m"]:
    """Returns the squared distances of all pairs."""
    distances: np.ndarray = (x**2).sum(1)[:, None] + (y**2).sum(1) - 2 * (x @ y.T)
    return distances


def _neighbour_squares(x: Float64[np.ndarray, "n features"], k: int) -> Float64[np.ndarray, " n"]:
    """Returns each row's squared distance from its k-th nearest other row."""
    # Index 0 is the row itself.
    nearest = [
        np.partition(squared_distances(x[rows], x), k, axis=1)[:, k] for rows in blocks(len(x))
    ]
    return np.concatenate(nearest)
