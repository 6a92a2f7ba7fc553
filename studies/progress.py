"""The progress of a study, and the time that remains."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

from common.program.log import log


class Progress:
    """Logs before each piece of work the time elapsed and the time that remains."""

    def __init__(self, kinds: Sequence[str], now: Callable[[], float] = time.monotonic) -> None:
        """Prepares for pieces of these kinds; a kind is expected to take its mean time."""
        self._waiting, self._now, self._start = list(kinds), now, now()
        self._seconds: dict[str, list[float]] = {}

    @contextmanager
    def timed(self, kind: str, what: str) -> Iterator[None]:
        """Surrounds a piece of work."""
        elapsed = _clock(self._now() - self._start)
        log.info("%s; %s elapsed, %s remaining", what, elapsed, self.remaining)
        start = self._now()
        try:
            yield
            self._seconds.setdefault(kind, []).append(self._now() - start)
        finally:
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
        return f"about {_clock(sum(mean[kind] for kind in self._waiting))}"


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
