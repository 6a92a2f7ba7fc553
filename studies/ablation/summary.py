"""What the cells of an ablation say: means, paired differences, and what could not be seen.

Two arms are compared on the repetitions (seed, fold) that both have, by the paired t-test, and the
p-values of all differences of a study are corrected together (Holm, 1979): whatever is varied, a
study that marks anything by chance is one in twenty.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from jaxtyping import Float
from scipy.stats import t as student

from common.config.declaration import Compared
from studies.ablation.sweep import Place

Numbers: TypeAlias = Float[np.ndarray, " _n"]

LEVEL = 0.95
ERROR = 0.05  # the probability that a study of nothing marks anything
POWER = 0.8  # with which a difference of the detectable size is found


@dataclass(frozen=True)
class Measure:
    """A number that every evaluation has.

    Attributes:
      name: of the number for people.
      best: "highest" or "lowest".
      reference: of real data, to read the number beside; NaN if there is none.
    """

    name: str
    best: str
    reference: float = math.nan


@dataclass(frozen=True)
class Difference:
    """An arm minus the base, on the repetitions that both have.

    Attributes:
      value: the mean; `low` and `high` are its 95 % interval by Student's t.
      n: repetitions.
      p: of the paired t-test, two-sided; NaN with fewer than two repetitions.
      p_corrected: by Holm's method over all differences of the study.
      detectable: the size of a difference that would have been found with probability `POWER`.
    """

    value: float
    low: float
    high: float
    n: int
    p: float
    p_corrected: float
    detectable: float

    @property
    def significant(self) -> bool:
        """Returns whether chance is ruled out."""
        return self.p_corrected < ERROR


@dataclass(frozen=True)
class Row:
    """A measure of an arm.

    Attributes:
      arm: its name.
      n: repetitions.
      mean: over them; `low` and `high` are its 95 % interval by Student's t.
      deviation: the standard deviation, with n - 1 degrees of freedom.
      difference: from the base; None for the base itself, or without a pair.
      best: whether it is marked as the best: no mean is better, and chance is ruled out.
    """

    arm: str
    measure: Measure
    n: int
    mean: float
    deviation: float
    low: float
    high: float
    difference: Difference | None = None
    best: bool = False


def measured(
    found: Mapping[Place, Mapping[str, float]], compared: Sequence[Compared]
) -> dict[Measure, dict[Place, float]]:
    """Returns the numbers to compare, of each cell that has them.

    A pattern that fits several numbers, such as those of each class, gives as many measures, told
    apart by what its stars stand for.
    """
    measures: dict[Measure, dict[Place, float]] = {}
    finite = {
        place: {name: value for name, value in numbers.items() if math.isfinite(value)}
        for place, numbers in found.items()
    }
    names = dict.fromkeys(name for numbers in finite.values() for name in numbers)
    for wanted in compared:
        for name, called in wanted.called(names).items():
            of_cells = {place: numbers for place, numbers in finite.items() if name in numbers}
            beside = wanted.beside(name, wanted.reference)
            real = [numbers[beside] for numbers in of_cells.values() if beside in numbers]
            reference = float(np.mean(real)) if real else math.nan
            measure = Measure(called, wanted.best, reference)
            measures[measure] = {place: numbers[name] for place, numbers in of_cells.items()}
    return measures


def summarise(values: Mapping[Measure, Mapping[Place, float]], arms: Sequence[str]) -> list[Row]:
    """Returns a row for each measure and arm that has it, measure by measure.

    Args:
      values: of the finished cells.
      arms: their names, the base first.
    """
    cells = [
        (measure, arm, *_numbers(of_cells, arm, arms[0]))
        for measure, of_cells in values.items()
        for arm in arms
        if any(place.arm == arm for place in of_cells)
    ]
    differences = _differences([pairs for *_, pairs in cells])
    rows = [
        _row(measure, arm, numbers, difference)
        for (measure, arm, numbers, _), difference in zip(cells, differences, strict=True)
    ]
    return [replace(row, best=_is_best(row, rows)) for row in rows]


def mean_and_interval(values: Numbers) -> tuple[float, float, float]:
    """Returns the mean and the ends of its 95 % interval by Student's t; NaN with one value."""
    mean, n = float(values.mean()), len(values)
    if n < 2:
        return mean, math.nan, math.nan
    half = float(student.ppf((1 + LEVEL) / 2, n - 1) * values.std(ddof=1) / math.sqrt(n))
    return mean, mean - half, mean + half


def detectable(differences: Numbers, comparisons: int) -> float:
    """Returns the smallest true difference that is found with probability `POWER`.

    `(t(1 - a / 2) + t(POWER)) s / sqrt(n)` with n - 1 degrees of freedom, `s` the deviation of the
    differences and `a` the error of one of all comparisons, the strictest that Holm's method asks
    for. NaN with fewer than two repetitions, or if they don't differ.
    """
    n = len(differences)
    if n < 2 or not differences.std():
        return math.nan
    critical = student.ppf(1 - ERROR / max(comparisons, 1) / 2, n - 1) + student.ppf(POWER, n - 1)
    return float(critical * differences.std(ddof=1) / math.sqrt(n))


def holm(p_values: Sequence[float]) -> list[float]:
    """Returns p-values corrected for their number; NaN stays and does not count.

    Source: Holm, "A simple sequentially rejective multiple test procedure", 1979.
    """
    known = sorted((p, place) for place, p in enumerate(p_values) if math.isfinite(p))
    corrected, largest = [math.nan] * len(p_values), 0.0
    for rank, (p, place) in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - rank) * p))
        corrected[place] = largest
    return corrected


def _numbers(values: Mapping[Place, float], arm: str, base: str) -> tuple[Numbers, Numbers]:
    """Returns the values of an arm, and their differences from those of the base."""
    own = {place.repetition: value for place, value in values.items() if place.arm == arm}
    others = {place.repetition: value for place, value in values.items() if place.arm == base}
    pairs = [value - others[key] for key, value in own.items() if key in others and arm != base]
    return np.array(list(own.values())), np.array(pairs)


def _row(measure: Measure, arm: str, numbers: Numbers, difference: Difference | None) -> Row:
    mean, low, high = mean_and_interval(numbers)
    deviation = float(numbers.std(ddof=1)) if len(numbers) > 1 else math.nan
    return Row(arm, measure, len(numbers), mean, deviation, low, high, difference)


def _differences(pairs: Sequence[Numbers]) -> list[Difference | None]:
    """Returns the difference that each row's pairs show; None without pairs."""
    p_values = [_p_value(some) for some in pairs]
    comparisons = sum(map(math.isfinite, p_values))
    return [
        Difference(*mean_and_interval(some), len(some), p, corrected, detectable(some, comparisons))
        if len(some)
        else None
        for some, p, corrected in zip(pairs, p_values, holm(p_values), strict=True)
    ]


def _p_value(pairs: Numbers) -> float:
    """Returns that of the paired t-test, two-sided; NaN where there is no spread to test by."""
    n = len(pairs)
    error = pairs.std(ddof=1) / math.sqrt(n) if n > 1 else 0.0
    if not error:
        return math.nan
    return float(2 * student.sf(abs(pairs.mean()) / error, n - 1))


def _is_best(row: Row, rows: Sequence[Row]) -> bool:
    """Returns whether a row is the best of its measure, beyond chance.

    An arm must differ from the base; the base must differ from every arm.
    """
    same = [other for other in rows if other.measure == row.measure and other is not row]
    sign = 1 if row.measure.best == "highest" else -1
    if not same or any(sign * other.mean > sign * row.mean for other in same):
        return False
    if row.difference:
        return row.difference.significant
    return all(other.difference and other.difference.significant for other in same)
