"""The result of an arm of a study: a row of its table, and a sentence."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from studies.config import ALL, METRICS, Arm
from studies.statistics import Interval, Spread

FIRST = "roc_auc_macro"  # the score that conclusions are drawn from


@dataclass(frozen=True)
class Row:
    """The result of an arm at a size.

    Attributes:
      size: real training images of each class, as a text.
      real: real training images of all classes together.
      arm: how it was trained.
      scores: by name, with 95 % intervals.
      differences: from the arm's base, with intervals corrected for the number of comparisons; {}
        for the base.
      spread: of the difference of the first score; None for the base, or if it has no value.
    """

    size: str
    real: int
    arm: Arm
    scores: Mapping[str, Interval]
    differences: Mapping[str, Interval]
    spread: Spread | None = None

    def visible(self, level: float, seeds: int | float) -> float:
        """Returns the smallest gain in the first score that 80 % of such studies would find.

        Args:
          level: of the intervals.
          seeds: of the study, `math.inf` included.
        """
        return self.spread.with_seeds(seeds).smallest_gain(level) if self.spread else math.nan

    def is_clear(self, relevant_gain: float) -> bool:
        """Returns whether it helps, harms, or helps by less than a gain that matters.

        That of a base, which is compared with nothing, is clear.
        """
        found = self.differences.get(FIRST)
        return found is None or found.excludes_zero or found.high < relevant_gain

    def cells(self) -> dict[str, object]:
        """Returns the row of a table."""
        cells: dict[str, object] = {
            "images_per_class": self.size,
            "real_images": self.real if self.arm.real else 0,
            "synthetic_images": round(self.arm.ratio * self.real),
            "arm": self.arm.name,
            "compared_with": self.arm.base,
        }
        for name in METRICS:
            cells |= _columns(name, self.scores[name])
            if self.differences:
                cells |= _columns(f"{name}_difference", self.differences[name])
            else:
                cells |= dict.fromkeys(_columns(f"{name}_difference", Interval(0.0, 0.0, 0.0)), "")
        return cells

    def sentence(self) -> str:
        """Returns the difference in a sentence."""
        found, images = self.differences[FIRST], f"{self.size} real images of each class"
        if self.size == ALL:
            images = f"all {self.real} real images"
        if not found.excludes_zero:
            verdict = "no difference could be shown"
        else:
            verdict = "it helped" if found.value > 0 else "it harmed"
        return (
            f"With {images}, {self.arm.meaning} changed the {METRICS[FIRST]} of '{self.arm.base}'"
            f" by {signed(found)}: {verdict}."
        )


def _columns(name: str, found: Interval) -> dict[str, float]:
    return {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}


def signed(found: Interval) -> str:
    """Returns "+0.012 [-0.003, +0.027]"."""
    return f"{found.value:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"
