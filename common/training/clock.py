"""When actions are due, and how long the devices were idle."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import jax
from jaxtyping import PyTree

from common.config.defaults import TrainSettings
from common.config.durations import steps


class Due(NamedTuple):
    """What is due after a step."""

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
    def of(cls, train: TrainSettings, steps_per_epoch: float) -> "Schedule":
        """Reads the durations of `config.train`."""
        durations = (
            train.num_steps,
            train.log_every,
            train.eval_every,
            train.checkpoint_every,
            train.picture_every,
        )
        return cls(*(steps(duration, steps_per_epoch) for duration in durations))

    def due(self, step: int) -> Due:
        """Returns what is due after `step` steps; at the end everything with a cadence is due.

        The last state is saved in any case, and saving ends a logging interval.
        """
        last = step == self.num_steps

        def now(every: int) -> bool:
            return bool(every) and (last or step % every == 0)

        save = last or now(self.checkpoint)
        return Due(now(self.log) or save, now(self.evaluate), save, now(self.picture), stop=False)

    def draws(self, step: int) -> bool:
        """Returns whether a step gets pictures; the first one does, if any do."""
        return bool(self.picture and step) and (step == 1 or self.due(step).draw)

    def next_boundary(self, step: int) -> int:
        """Returns the first step after `step` at which anything is due.

        It does not depend on where a run was interrupted, so dispatches are always cut alike.
        """
        cadences = (self.log, self.evaluate, self.checkpoint, self.picture)
        ahead = [(step // every + 1) * every for every in cadences if every]
        return min([*ahead, self.num_steps])


class DeviceClock:
    """Keeps one dispatch queued behind the running one, and measures the time without any.

    Attributes:
      idle_seconds: seconds since the first dispatch without a training step.
      data_seconds: those of them in which the loop waited for data.
    """

    def __init__(
        self,
        now: Callable[[], float] = time.perf_counter,
        watch: Callable[[PyTree], Future[float]] | None = None,
    ) -> None:
        """Creates a clock.

        Args:
          now: returns the time in seconds.
          watch: takes an array of a dispatch and returns a future of the time when it is ready; by
            default a thread waits for it, so that the loop need not.
        """
        self.idle_seconds = self.data_seconds = 0.0
        self._now, self._watch = now, watch or _watch_in_thread()
        self._newest: Future[float] | None = None
        self._start = self._end = self._evaluation = 0.0
        self._lap_start = self._lap_data = 0.0

    def restart(self) -> None:
        """Resets everything; the next dispatch starts the clock again."""
        self.finish()
        self.idle_seconds = self.data_seconds = self._evaluation = self._lap_data = 0.0
        self._newest = None

    def before_dispatch(self) -> None:
        """Call right before each dispatch."""
        if self._newest is None:
            self._start = self._lap_start = self._now()
        self.idle_seconds += self._idle()
        self._evaluation = 0.0

    def after_dispatch(self, done: PyTree) -> None:
        """Call right after each dispatch with an array it makes; waits for the one before it."""
        previous, self._newest = self._newest, self._watch(done)
        if previous is not None:
            previous.result()

    @contextmanager
    def waiting_for_data(self) -> Iterator[None]:
        """Wraps the wait for the next dispatch's data; time with a busy device does not count."""
        start = self._now()
        yield
        self.data_seconds += self._idle(start)

    def finish(self) -> None:
        """Waits for everything queued; time from here to the next dispatch is idle."""
        if self._newest is not None:
            self._newest.result()

    def evaluated(self, seconds: float) -> None:
        """Call with the seconds of an evaluation, which count as work."""
        self._evaluation += seconds

    def lap(self) -> float:
        """Returns the share of the time since the last call that devices waited for data."""
        now = self._now()
        seconds, data_seconds = now - self._lap_start, self.data_seconds - self._lap_data
        self._lap_start, self._lap_data = now, self.data_seconds
        return data_seconds / seconds if seconds else 0.0

    def stop(self) -> None:
        """Call at the very end; the time since the last step is idle."""
        if self._newest is not None:
            self._newest.result()
            self.idle_seconds += self._idle()
            self._end = self._now()

    def _idle(self, since: float = 0.0) -> float:
        """Returns the seconds after `since` in which nothing ran."""
        if self._newest is None or not self._newest.done():
            return 0.0
        ended = self._newest.result() + self._evaluation
        return max(0.0, self._now() - max(since, ended))

    @property
    def seconds(self) -> float:
        """Seconds from the first dispatch until now, or until `stop`."""
        return (self._end or self._now()) - self._start if self._newest is not None else 0.0

    @property
    def idle_share(self) -> float:
        """Share of the time since the first dispatch in which no training step ran."""
        return self.idle_seconds / self.seconds if self.seconds else 0.0

    @property
    def data_wait_share(self) -> float:
        """Share of the time since the first dispatch in which no step ran for lack of data."""
        return self.data_seconds / self.seconds if self.seconds else 0.0


def _watch_in_thread() -> Callable[[PyTree], Future[float]]:
    thread = ThreadPoolExecutor(1, thread_name_prefix="clock")

    def ended(done: jax.Array) -> float:
        done.block_until_ready()
        return time.perf_counter()

    return lambda done: thread.submit(ended, done)
