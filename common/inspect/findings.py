"""What the doctor says: sentences in three grades of severity."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from common.program.words import counted


class Level(IntEnum):
    """How bad it is, the worst first."""

    MEND = 0
    LOOK = 1
    NOTE = 2

    @property
    def title(self) -> str:
        """Returns the level for people."""
        return ("mend this", "look at this", "for your information")[self]

    @property
    def meaning(self) -> str:
        """Returns what the level means."""
        return (
            "results would be invalid, or training would stop",
            "it may be right; you have to know",
            "good to know when you read the results",
        )[self]


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    Attributes:
      level: how bad it is.
      sentence: what it is, with numbers and names of files.
      remedy: what mends it, with the setting where there is one; "" where nothing is to be done.
      untested: whether it says that something could not be looked into.
    """

    level: Level
    sentence: str
    remedy: str = ""
    untested: bool = False


def verdict(findings: Sequence[Finding]) -> str:
    """Returns one sentence that sums them up."""
    mend, look = (
        sum(finding.level == level for finding in findings) for level in (Level.MEND, Level.LOOK)
    )
    untested = sum(finding.untested for finding in findings)
    open_ends = f" {counted(untested, 'check')} could not be made." if untested else ""
    if mend:
        what = "One thing here makes" if mend == 1 else f"{mend} things here make"
        return f"{what} results invalid or training stop; mend that before you train.{open_ends}"
    tested = ", as far as could be tested" if untested else ""
    if look:
        what = "one thing deserves" if look == 1 else f"{look} things deserve"
        return f"Nothing here makes results invalid{tested}; {what} a look.{open_ends}"
    return f"Nothing is wrong with these images, as far as can be seen.{open_ends}"
