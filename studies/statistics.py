"""The interval of a score that was measured on some patients after some trainings.

Patients and trainings (seeds) are both samples, crossed: every training is scored on every patient.
The paired bootstrap resamples both, with the same draw for all that is compared, and its standard
deviation is the standard error. Three seeds say little about the variation between seeds.
Percentiles would ignore that: of three seeds they reach at most from the smallest to the largest,
and such an interval contains the mean 75 times in 100. So the interval is Student's t, with the
degrees of freedom of the parts of the variance (Satterthwaite, 1946), and k - 1 of k seeds are
drawn, which makes the seeds' part of the variance unbiased (Rao and Wu, 1988).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
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


def measure(
    predicted: Sequence[Predicted], classes: Sequence[str], resamples: int = RESAMPLES
) -> dict[str, Measured]:
    """Returns every score by name.

    Args:
      predicted: for each seed the predictions of its training for the same images.
      classes: their names.
      resamples: draws of patients.
    """
    observed = [scores(one.labels, one.probabilities, classes) for one in predicted]
    drawn = [scores_of_resamples(one, classes, resamples) for one in predicted]
    patients = int(owners(predicted[0]).max()) + 1
    return {
        name: Measured(
            np.array([one[name] for one in observed]),
            np.stack([one[name] for one in drawn], axis=1),
            patients,
        )
        for name in observed[0]
    }


def interval(measured: Measured, level: float = 0.95) -> Interval:
    """Returns the mean over seeds and its interval, which covers patients and seeds.

    With one seed it covers patients only. It is symmetric and may exceed the bounds of the score.

    Args:
      measured: a score or a difference.
      level: the probability that such an interval contains the true value.
    """
    value = float(measured.observed.mean())
    drawn = measured.drawn[np.isfinite(measured.drawn).all(1)]
    seeds = measured.observed.size
    if len(drawn) < 2 or not math.isfinite(value):
        return Interval(value, math.nan, math.nan)
    of_patients = drawn.mean(1).var(ddof=1)
    if seeds == 1:
        variance, freedom = of_patients, measured.patients - 1.0
    else:
        rng = np.random.default_rng(1)
        chosen = rng.integers(seeds, size=(len(drawn), seeds - 1))
        variance = np.take_along_axis(drawn, chosen, axis=1).mean(1).var(ddof=1)
        of_seeds = max(variance - of_patients, 0.0)
        # The rest of the variance is that of patients.
        parts = of_seeds**2 / (seeds - 1) + (variance - of_seeds) ** 2 / max(
            measured.patients - 1, 1
        )
        freedom = variance**2 / parts if parts else math.inf
    half = float(student.ppf((1 + level) / 2, max(freedom, 1)) * math.sqrt(variance))
    return Interval(value, value - half, value + half)


def corrected_level(comparisons: int, error: float = 0.05) -> float:
    """Returns the level at which this many intervals are all right with probability 1 - error.

    Source: Bonferroni, 1936.
    """
    return 1 - error / max(comparisons, 1)
