"""When things are due, and how long the device had nothing to do."""

import time
from dataclasses import dataclass
from typing import Any

from ml_collections import ConfigDict

from common.training.config import steps


@dataclass(frozen=True)
class Schedule:
    """The cadences of a run in steps; 0 means never."""

    num_steps: int
    log: int
    evaluate: int
    checkpoint: int
    picture: int

    @classmethod
    def from_config(cls, config: ConfigDict, num_examples: int) -> "Schedule":
        """Reads the durations of `config.train`."""
        train, steps_per_epoch = config.train, num_examples / config.data.batch_size
        names = ("num_steps", "log_every", "eval_every", "checkpoint_every", "picture_every")
        return cls(*(steps(train[name], steps_per_epoch) for name in names))

    def due(self, every: int, step: int) -> bool:
        """Says whether something with this cadence is due after `step` steps, or at the end."""
        return bool(every) and (step % every == 0 or step == self.num_steps)

    def next_boundary(self, step: int) -> int:
        """Returns the first step after `step` at which anything is due.

        It does not depend on where a run was interrupted, so dispatches are always cut alike.
        """
        cadences = (self.log, self.evaluate, self.checkpoint, self.picture)
        ahead = [(step // every + 1) * every for every in cadences if every]
        return min([*ahead, self.num_steps])


class DeviceClock:
    """Keeps one dispatch queued behind the running one, and counts the time without any.

    The count is an upper bound: where the device is found waiting, all the time since it was last
    seen busy counts.
    """

    def __init__(self) -> None:
        self.idle_seconds = 0.0
        self._newest: Any = None
        self._seen_busy = 0.0
        self._start = 0.0

    def before_dispatch(self) -> None:
        """Call right before each dispatch."""
        if self._newest is None:
            self._start = time.perf_counter()
        elif self._newest.is_ready():
            self.idle_seconds += time.perf_counter() - self._seen_busy

    def after_dispatch(self, done: Any) -> None:
        """Call right after each dispatch with an array it makes; waits for the one before it."""
        self._seen_busy = time.perf_counter()
        previous, self._newest = self._newest, done
        if previous is not None:
            previous.block_until_ready()
        if not done.is_ready():
            self._seen_busy = time.perf_counter()

    def finish(self) -> None:
        """Waits for everything queued; time from here to the next dispatch is idle."""
        if self._newest is not None:
            self._newest.block_until_ready()
            self._seen_busy = time.perf_counter()

    def count_as_busy(self) -> None:
        """Call after other compiled work (evaluation): the time until now was not idle."""
        self._seen_busy = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Seconds since the first dispatch."""
        return time.perf_counter() - self._start if self._start else 0.0

    @property
    def idle_share(self) -> float:
        """Share of the time since the first dispatch in which no training step ran, at most."""
        return self.idle_seconds / self.seconds if self.seconds else 0.0
