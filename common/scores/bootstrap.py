"""The bootstrap: how far off a score may be that was measured on so many patients.

Groups (patients) are drawn anew with replacement, as many as there are, and every score is computed
of each draw (Efron, 1979). Images of one patient are not independent: they are drawn together. Draw
i is the same for all that is measured on the same groups, so scores can be compared draw by draw.
"""

import math
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from jaxtyping import Float, Num

RESAMPLES = 2000
_PERCENTILES = (2.5, 97.5)  # between which 95 % of the draws lie
_SEED = 0

Draws = Num[np.ndarray, "draws groups"]  # how often each draw has each group
OfDraws = Float[np.ndarray, " draws"]
Name = TypeVar("Name", bound=Hashable)
Measure = Callable[[Draws], dict[Name, OfDraws]]


@dataclass(frozen=True)
class Score:
    """A score with the ends of its 95 % interval; NaN where there is none."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        """Returns "0.9123 [0.8500, 0.9512]"."""
        return f"{self.value:.4f} [{self.low:.4f}, {self.high:.4f}]"

    @property
    def is_known(self) -> bool:
        """Returns whether it has a value."""
        return not math.isnan(self.value)


def drawn_one_by_one(groups: int, resamples: int, at_once: int, part: int = 0) -> Iterator[Draws]:
    """Yields draws of groups, so many at a time; each picks one group after the other.

    Other groups, which are drawn independently of these, are another part.
    """
    rng = np.random.default_rng([_SEED, part] if part else _SEED)
    for start in range(0, resamples, at_once):
        picked = rng.integers(groups, size=(min(at_once, resamples - start), groups))
        yield np.stack([np.bincount(draw, minlength=groups) for draw in picked])


def drawn_as_counts(groups: int, resamples: int, at_once: int) -> Iterator[Draws]:
    """Yields draws of groups, so many at a time; each is one draw of how often it has each.

    The draws have the distribution of `drawn_one_by_one`, but are others.
    """
    rng = np.random.default_rng(_SEED)
    for start in range(0, resamples, at_once):
        size = min(at_once, resamples - start)
        yield rng.multinomial(groups, np.full(groups, 1 / groups), size=size)


def of_draws(measure: Measure[Name], draws: Iterable[Draws]) -> dict[Name, OfDraws]:
    """Returns what is measured of all draws, by name."""
    parts = [measure(some) for some in draws]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def intervals(measure: Measure[Name], groups: int, draws: Iterable[Draws]) -> dict[Name, Score]:
    """Returns what is measured, with 95 % intervals.

    Their ends are percentiles of the draws that have a value; NaN where none has.

    Args:
      measure: draws of groups -> each score of each draw, NaN where a draw has no such score.
      groups: how many there are; the value is of each of them once.
      draws: the bootstrap's.
    """
    value, drawn = measure(np.ones((1, groups))), of_draws(measure, draws)
    return {name: _score(number, drawn[name]) for name, (number,) in value.items()}


def _score(value: float, drawn: OfDraws) -> Score:
    known = drawn[np.isfinite(drawn)]
    low, high = np.percentile(known, _PERCENTILES) if len(known) else (math.nan, math.nan)
    return Score(float(value), float(low), float(high))
