"""The interval of a score that was measured on some patients after some trainings.

Patients and trainings (seeds) are both samples, crossed: every training is scored on every patient.
So the variance of a mean over seeds has three parts: that of patients, that of seeds, and that of
both together, because trainings differ in whom they find hard. A bootstrap of patients, with the
same draws for all that is compared, gives the first and the last, the spread of the seeds' scores
the others. To resample patients and seeds at once would count the last part three times (Owen, "The
pigeonhole bootstrap", 2007): such intervals miss much of what is there.

Three seeds say little about the variation between seeds. Percentiles would ignore that. So the
interval is Student's t, with degrees of freedom by the parts of the variance (Satterthwaite, 1946).
The same parts say beforehand how large a gain must be to be found.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.optimize import brentq
from scipy.stats import nct as noncentral
from scipy.stats import norm as normal
from scipy.stats import t as student

from common.scores.classification import Predicted, owners, scores, scores_of_resamples

RESAMPLES = 4000


class Interval(NamedTuple):
    """An estimate and its interval; NaN if that is unknown."""

    value: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Returns whether the whole interval is on one side of 0."""
        return self.low > 0 or self.high < 0

    def within(self, least: float, most: float) -> "Interval":
        """Returns the part of the interval that the score can take."""
        return Interval(self.value, max(self.low, least), min(self.high, most))


@dataclass(frozen=True)
class Measured:
    """A score, or a difference of two, of every seed, on the patients and on draws of them.

    Attributes:
      observed: on the patients as they are.
      drawn: on each draw of patients; draw i is the same for all measurements.
      patients: how many groups there are to draw from.
    """

    observed: Float[np.ndarray, " seeds"]
    drawn: Float[np.ndarray, "draws seeds"]
    patients: int

    def __sub__(self, other: "Measured") -> "Measured":
        """Returns the difference, seed by seed and draw by draw."""
        return Measured(
            self.observed - other.observed,
            self.drawn - other.drawn,
            min(self.patients, other.patients),
        )


def measure_folds(
    predicted: Sequence[Sequence[Predicted]], classes: Sequence[str], resamples: int = RESAMPLES
) -> dict[str, Measured]:
    """Returns every score by name, the mean over folds, each of which has other patients.

    The area under a curve is that within a fold: between folds, numbers of different trainings
    would be compared. Patients are drawn within their folds, which are of the same size; so the
    variance of the mean is that of all patients.

    Args:
      predicted: for each seed, what the training of each fold says of its patients.
      classes: their names.
      resamples: draws of patients.
    """
    folds = [
        measure(of_fold, classes, resamples, fold)
        for fold, of_fold in enumerate(zip(*predicted, strict=True))
    ]
    return {
        name: Measured(
            np.mean([fold[name].observed for fold in folds], axis=0),
            np.mean([fold[name].drawn for fold in folds], axis=0),
            sum(fold[name].patients for fold in folds),
        )
        for name in folds[0]
    }


def measure(
    predicted: Sequence[Predicted],
    classes: Sequence[str],
    resamples: int = RESAMPLES,
    part: int = 0,
) -> dict[str, Measured]:
    """Returns every score by name.

    Args:
      predicted: for each seed the predictions of its training for the same images.
      classes: their names.
      resamples: draws of patients.
      part: which patients these are; those of other parts are drawn independently.
    """
    observed = [scores(one.labels, one.probabilities, classes) for one in predicted]
    drawn = [scores_of_resamples(one, classes, resamples, part) for one in predicted]
    patients = int(owners(predicted[0]).max()) + 1
    return {
        name: Measured(
            np.array([one[name] for one in observed]),
            np.stack([one[name] for one in drawn], axis=1),
            patients,
        )
        for name in observed[0]
    }


@dataclass(frozen=True)
class Spread:
    """Why the mean over seeds would be another one with other patients and other trainings.

    Attributes:
      of_patients: the variance that patients give to the mean of however many trainings.
      of_both: what they add to that of one training, because trainings differ in whom they find
        hard; the mean of k has a k-th of it.
      of_seeds: the variance of one training over seeds, on whatever patients; below 0 by chance.
      patients: how many there are.
      seeds: how many trainings there are.
    """

    of_patients: float
    of_both: float
    of_seeds: float
    patients: int
    seeds: int | float

    @property
    def variance(self) -> float:
        """Returns that of the mean over seeds."""
        return self.of_patients + (self.of_both + self.of_seeds) / self.seeds

    @property
    def freedom(self) -> float:
        """Returns the degrees of freedom of the variance."""
        of_trainings = (self.of_both + self.of_seeds) / self.seeds
        parts = self.of_patients**2 / max(self.patients - 1, 1)
        if self.seeds > 1:
            parts += of_trainings**2 / (self.seeds - 1)
        return max(self.variance**2 / parts, 1.0) if parts else math.inf

    def with_seeds(self, seeds: int | float) -> "Spread":
        """Returns that of as many seeds, `math.inf` included, and the same patients."""
        return replace(self, seeds=seeds, of_seeds=max(self.of_seeds, 0.0))

    def critical(self, level: float) -> float:
        """Returns half the width of an interval of this level."""
        return float(student.ppf((1 + level) / 2, self.freedom) * math.sqrt(self.variance))

    def power(self, gain: float, level: float) -> float:
        """Returns how often studies like this one would find a gain: an interval above 0.

        By the noncentral t distribution.
        """
        if self.variance <= 0:
            return float(gain > 0)
        error = math.sqrt(self.variance)
        critical = self.critical(level) / error
        if math.isinf(self.freedom):
            return float(normal.sf(critical - gain / error))
        return float(noncentral.sf(critical, self.freedom, gain / error))

    def smallest_gain(self, level: float, power: float = 0.8) -> float:
        """Returns the smallest gain that this share of such studies would find."""
        if self.variance <= 0:
            return 0.0
        most = self.critical(level) * 8
        found: float = brentq(lambda gain: self.power(gain, level) - power, 0.0, most)
        return found


def spread(measured: Measured) -> Spread | None:
    """Returns the parts of the variance of a mean over seeds; None if it has no value.

    With one seed only patients are known.
    """
    drawn = measured.drawn[np.isfinite(measured.drawn).all(1)]
    seeds = measured.observed.size
    if len(drawn) < 2 or not math.isfinite(float(measured.observed.mean())):
        return None
    of_mean = float(drawn.mean(1).var(ddof=1))
    if seeds == 1:
        return Spread(of_mean, 0.0, 0.0, measured.patients, 1)
    of_one = float(drawn.var(axis=0, ddof=1).mean())
    of_both = max(of_one - of_mean, 0.0) * seeds / (seeds - 1)
    of_patients = max(of_mean - of_both / seeds, 0.0)
    of_trainings = float(measured.observed.var(ddof=1))
    return Spread(of_patients, of_both, of_trainings - of_both, measured.patients, seeds)


def interval(measured: Measured, level: float = 0.95) -> Interval:
    """Returns the mean over seeds and its interval, which covers patients and seeds.

    With one seed it covers patients only. It is symmetric and may exceed the bounds of the score.

    Args:
      measured: a score or a difference.
      level: the probability that such an interval contains the true value.
    """
    value, found = float(measured.observed.mean()), spread(measured)
    if found is None:
        return Interval(value, math.nan, math.nan)
    half = found.critical(level)
    return Interval(value, value - half, value + half)


def corrected_level(comparisons: int, error: float = 0.05) -> float:
    """Returns the level at which this many intervals are all right with probability 1 - error.

    Source: Bonferroni, 1936.
    """
    return 1 - error / max(comparisons, 1)
