"""Findings of an inspection: sentences at three levels of severity."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from common.program.words import counted


class Level(IntEnum):
    """The severity, the worst first."""

    MEND = 0
    LOOK = 1
    NOTE = 2

    @property
    def title(self) -> str:
        """Returns the level for people."""
        return ("fix this", "check this", "for your information")[self]

    @property
    def meaning(self) -> str:
        """Returns what the level means."""
        return (
            "results would be invalid, or training would stop",
            "it may be right; you have to decide",
            "good to know when reading results",
        )[self]


@dataclass(frozen=True)
class Finding:
    """One finding.

    Attributes:
      level: its severity.
      sentence: what was found, with numbers and names of files.
      remedy: what to do, with the setting if there is one; "" if nothing is to be done.
      untested: whether it reports a check that could not be made.
    """

    level: Level
    sentence: str
    remedy: str = ""
    untested: bool = False


def verdict(findings: Sequence[Finding]) -> str:
    """Returns one sentence that sums up findings."""
    mend, look = (
        sum(finding.level == level for finding in findings) for level in (Level.MEND, Level.LOOK)
    )
    untested = sum(finding.untested for finding in findings)
    open_ends = f" {counted(untested, 'check')} could not be made." if untested else ""
    if mend:
        what = "One thing here makes" if mend == 1 else f"{mend} things here make"
        return f"{what} results invalid or training stop; fix that before you train.{open_ends}"
    tested = ", as far as could be tested" if untested else ""
    if look:
        what = "one thing needs" if look == 1 else f"{look} things need"
        return f"Nothing here makes results invalid{tested}; {what} a check.{open_ends}"
    return f"Nothing wrong was found in these images.{open_ends}"
