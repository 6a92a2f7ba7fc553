"""How far images are from reference images, and the limit that few of these exceed.

The distance is Mahalanobis': of an image's statistics from their mean over the reference images, in
units of the covariance, so that rare deviations count more. The covariance of a few hundred images
is shrunk (Ledoit and Wolf, 2004, "A well-conditioned estimator for large-dimensional covariance
matrices"), and no statistic counts as more precise than `_PRECISION`.

The limit is that of conformal prediction (Vovk, Gammerman and Shafer, 2005, "Algorithmic Learning
in a Random World"): the distance that at most 4 % of images like the held-out ones are expected to
exceed, whatever the distribution of distances. The reference images are held out, a tenth of the
patients at a time from a reference of the others; so are validation images, if there are any. These
may come from elsewhere, as new images do: the larger of the two limits counts.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from common.unlike.statistics import Statistics

# Expected share outside the limit of images like the held-out ones: a run's own test images are few
# and vary, and more than 5 % of them outside should not happen by chance.
_SHARE = 0.04
_FOLDS = 10
_PRECISION = 0.02  # of grey values in [0, 1] and of logarithms

Distances = Float[np.ndarray, " num"]


@dataclass(frozen=True)
class Reference:
    """The distribution of the statistics of reference images.

    Attributes:
      mean: over the images.
      factor: the length of (statistics - mean) times this is the distance.
      limit: a distance.
    """

    mean: Float[np.ndarray, " statistics"]
    factor: Float[np.ndarray, "statistics statistics"]
    limit: float

    def distances(self, statistics: Statistics) -> Distances:
        """Returns the distances of images from the reference, in units of the limit."""
        lengths = np.linalg.norm((statistics - self.mean) @ self.factor, axis=1)
        distances: Distances = lengths / self.limit
        return distances


def make_reference(
    statistics: Statistics,
    owners: Sequence[str],
    validation: Float[np.ndarray, "_others statistics"] | None = None,
) -> Reference:
    """Returns the reference of some images.

    Args:
      statistics: of the images.
      owners: whom each is of: all images of one owner are held out together.
      validation: statistics of further images that should be within the limit.
    """
    whole = _fit(statistics)
    limits = [conformal_limit(_crossed(statistics, owners))]
    if validation is not None:
        limits.append(conformal_limit(whole.distances(validation)))
    return Reference(whole.mean, whole.factor, max(1.0, *limits))


def conformal_limit(distances: Distances) -> float:
    """Returns the limit that a further distance exceeds with a probability of at most 4 %.

    It needs 24 distances; with n fewer it is the largest, exceeded with probability 1 / (n + 1).
    """
    place = math.ceil((1 - _SHARE) * (len(distances) + 1))
    return float(np.sort(distances)[min(place, len(distances)) - 1])


def _crossed(statistics: Statistics, owners: Sequence[str]) -> Distances:
    """Returns each image's distance from a reference without the images of its owner."""
    names, owner = np.unique(owners, return_inverse=True)
    fold = np.random.default_rng(0).permutation(len(names))[owner] % _FOLDS
    found = np.zeros(len(statistics))
    for number in np.unique(fold):
        out = fold == number
        others = statistics if out.all() else statistics[~out]
        found[out] = _fit(others).distances(statistics[out])
    return found


def _fit(statistics: Statistics) -> Reference:
    """Returns a reference whose limit is 1."""
    from sklearn.covariance import ledoit_wolf

    mean = statistics.mean(0)
    scale = np.hypot(statistics.std(0), _PRECISION)
    covariance = np.diag((_PRECISION / scale) ** 2)
    if len(statistics) > 1:
        covariance += ledoit_wolf((statistics - mean) / scale, assume_centered=True)[0]
    factor = np.linalg.inv(np.linalg.cholesky(covariance)).T / scale[:, None]
    return Reference(mean, factor, 1.0)
