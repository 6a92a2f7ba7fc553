"""Means over patients, with intervals, and what two methods differ in on the same patients."""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
from jaxtyping import Float

from common.scores import bootstrap
from common.scores.bootstrap import Draws, OfDraws, Score

_AT_ONCE = 100  # draws

Values = Float[np.ndarray, " num"]  # of each image; NaN where an image has no such score
OfRegions: TypeAlias = Mapping[str, Mapping[str, Values]]  # region -> score -> values
OfImages: TypeAlias = Mapping[str, OfRegions]  # method -> the rest
Summary: TypeAlias = dict[str, dict[str, dict[str, Score]]]  # method -> region -> score


def over_patients(scored: OfImages, owners: Sequence[str]) -> Summary:
    """Returns the mean over patients of each score, a patient's being the mean of its images.

    Intervals are the percentiles of a bootstrap over patients (common/scores/bootstrap.py).

    Args:
      scored: every score of every image.
      owners: the patient of each image.
    """
    return {method: _of_regions(regions, owners) for method, regions in scored.items()}


def differences(scored: OfImages, method: str, owners: Sequence[str]) -> Summary:
    """Returns how much higher a method's scores are than those of each other, image by image."""
    ours = scored[method]
    apart = {
        other: {
            region: {name: ours[region][name] - values[name] for name in values}
            for region, values in regions.items()
        }
        for other, regions in scored.items()
        if other != method
    }
    return over_patients(apart, owners)


def _of_regions(regions: OfRegions, owners: Sequence[str]) -> dict[str, dict[str, Score]]:
    """Returns the mean over patients of each score."""
    _, places = np.unique(np.array(owners), return_inverse=True)
    means = {
        (region, name): _patient_means(each, places)
        for region, values in regions.items()
        for name, each in values.items()
    }

    def measure(draws: Draws) -> dict[tuple[str, str], OfDraws]:
        return {name: _mean_of_known(draws, each) for name, each in means.items()}

    groups = int(places.max()) + 1
    draws = bootstrap.drawn_as_counts(groups, bootstrap.RESAMPLES, _AT_ONCE)
    found = bootstrap.intervals(measure, groups, draws)
    return {
        region: {name: found[region, name] for name in values} for region, values in regions.items()
    }


def _patient_means(values: Values, places: np.ndarray) -> Float[np.ndarray, " patients"]:
    """Returns the mean of each patient's known values, NaN without any."""
    known = np.isfinite(values)
    count = np.bincount(places, known)
    total = np.bincount(places, np.where(known, values, 0))
    return np.where(count, total / np.maximum(count, 1), np.nan)


def _mean_of_known(draws: Draws, means: Float[np.ndarray, " patients"]) -> OfDraws:
    known = np.isfinite(means)
    count = draws[:, known].sum(1)
    total = draws[:, known] @ means[known]
    mean: OfDraws = np.where(count, total / np.maximum(count, 1), np.nan)
    return mean
