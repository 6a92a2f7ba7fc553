"""When things are due, and how long the device had nothing to do."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from common.training.config import steps


class Due(NamedTuple):
    """What is to be done after a step."""

    log: bool
    evaluate: bool
    save: bool
    draw: bool
    stop: bool


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

    def due(self, step: int) -> Due:
        """Returns what is due after `step` steps; at the end everything that has a cadence is.

        The last state is saved in any case, and saving ends a logging interval.
        """
        last = step == self.num_steps

        def now(every: int) -> bool:
            return bool(every) and (last or step % every == 0)

        save = last or now(self.checkpoint)
        return Due(now(self.log) or save, now(self.evaluate), save, now(self.picture), stop=False)

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

    Attributes:
      idle_seconds: how many since the first dispatch no training step ran.
    """

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self.idle_seconds = 0.0
        self._now = now
        self._newest: Any = None
        self._start = self._end = self._seen_busy = 0.0

    def before_dispatch(self) -> None:
        """Call right before each dispatch."""
        if self._newest is None:
            self._start = self._now()
        elif self._newest.is_ready():
            self.idle_seconds += self._now() - self._seen_busy

    def after_dispatch(self, done: Any) -> None:
        """Call right after each dispatch with an array it makes; waits for the one before it."""
        self._seen_busy = self._now()
        previous, self._newest = self._newest, done
        if previous is not None:
            previous.block_until_ready()
        if not done.is_ready():
            self._seen_busy = self._now()

    def finish(self) -> None:
        """Waits for everything queued; time from here to the next dispatch is idle."""
        if self._newest is not None and not self._newest.is_ready():
            self._newest.block_until_ready()
            self._seen_busy = self._now()

    def evaluated(self, seconds: float) -> None:
        """Call with the seconds that evaluation took: work, too, and not idle."""
        self._seen_busy += seconds

    def stop(self) -> None:
        """Call at the very end; the time since the last step is idle."""
        if self._newest is not None:
            self._newest.block_until_ready()
            self._end = self._now()
            self.idle_seconds += self._end - self._seen_busy

    @property
    def seconds(self) -> float:
        """Seconds from the first dispatch until now, or until `stop`."""
        return (self._end or self._now()) - self._start if self._newest is not None else 0.0

    @property
    def idle_share(self) -> float:
        """Share of the time since the first dispatch in which no training step ran, at most."""
        return self.idle_seconds / self.seconds if self.seconds else 0.0
