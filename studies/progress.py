"""The progress of a study, and the time that remains."""

import time
from collections.abc import Callable, Sequence
from datetime import timedelta

from common.program.log import log


class Progress:
    """Logs before each piece of work the time elapsed and the time that remains."""

    def __init__(
        self,
        kinds: Sequence[str],
        at_once: int = 1,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepares for pieces of these kinds; a kind is expected to take its mean time.

        Args:
          kinds: of the pieces.
          at_once: how many are worked on side by side.
          now: a clock, in seconds.
        """
        self._waiting, self._now, self._start = list(kinds), now, now()
        self._at_once = at_once
        self._seconds: dict[str, list[float]] = {}

    def begin(self, what: str) -> float:
        """Logs that a piece of work begins, and returns when."""
        elapsed = _clock(self._now() - self._start)
        log.info("%s; %s elapsed, %s remaining", what, elapsed, self.remaining)
        return self._now()

    def end(self, kind: str, start: float) -> None:
        """Notes that a piece of work that began at `start` has come to its end."""
        self._seconds.setdefault(kind, []).append(self._now() - start)
        self._waiting.remove(kind)

    def skip(self, kind: str) -> None:
        """Expects one piece of this kind less."""
        self._waiting.remove(kind)

    @property
    def remaining(self) -> str:
        """Returns the expected time, if pieces of every kind were timed."""
        if set(self._waiting) - set(self._seconds):
            return "unknown time"
        mean = {kind: sum(some) / len(some) for kind, some in self._seconds.items()}
        share = min(self._at_once, max(1, len(self._waiting)))
        return f"about {_clock(sum(mean[kind] for kind in self._waiting) / share)}"


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
