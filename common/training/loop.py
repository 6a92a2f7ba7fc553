"""The one training loop: dispatch, log, evaluate, draw, save."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from common.devices import placement, processes
from common.program.interrupts import StopRequest
from common.program.log import log
from common.program.memory import give_back_freed_memory, trim_freed_memory
from common.runs.checkpoints import Checkpoints
from common.scores.metrics import known_values
from common.training.clock import DeviceClock, Due, Schedule
from common.training.dispatch import Advance
from common.training.feed import Feed
from common.training.finite import Look, Watch, check_finite
from common.training.profile import Profile
from common.training.task import Measurement, Metrics, Picture
from common.training.writers import Writers


class _Interval(NamedTuple):
    """What is known of the steps (start, end], still on the devices, and how long these waited."""

    start: int
    end: int
    metrics: Metrics
    look: Look
    data_wait_share: float


@dataclass
class Loop:
    """One run's loop over a state on the devices.

    Attributes:
      advance: the compiled training dispatch.
      compile_rest: of a state, compiles what comes between steps, but for pictures.
      evaluate: state -> metrics of the validation split, {} where there is none.
      pictures: state -> pictures by name.
      feed: where the data comes from.
      schedule: when to log, evaluate, draw and save.
      checkpoints: where states are saved.
      checkpoint_minutes: save at least this often; 0 for never by time.
      best_metric: names the metric by which the best checkpoint is chosen, or "".
      record: called in the main process after each save and at the end.
      profile: traces a few steps, when told.
      watch: looks at the state at each log.
      writers: where numbers and pictures go; None in all processes but the main one.
      measurement: what `evaluate` measures beside the validation, or None.
      clock: how long the devices waited, and for what.
      step: how far training is.
      clocked_from: the step from which `clock` counts.
      latest: the last value of every metric.
      warnings: what was said of what goes wrong.
    """

    advance: Advance
    compile_rest: Callable[[Any], None]
    evaluate: Callable[[Any], dict[str, float]]
    pictures: Callable[[Any], dict[str, Picture]]
    feed: Feed
    schedule: Schedule
    checkpoints: Checkpoints
    checkpoint_minutes: float
    best_metric: str
    record: Callable[["Loop"], None]
    profile: Profile
    watch: Watch
    writers: Writers | None = None
    measurement: Measurement[Any] | None = None
    clock: DeviceClock = field(default_factory=DeviceClock)
    step: int = 0
    clocked_from: int = 0
    latest: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    _unread: _Interval | None = None
    _saved_at: float = field(default_factory=time.monotonic)

    def run(self, state: Any, step: int, stop: StopRequest) -> int:
        """Trains from `step` to the end, or until a stop is requested; returns where it stopped.

        An interval's metrics stay on the devices until it ends and are read while the next one
        already runs. A checkpoint ends the interval too: a run that goes on from it loses nothing.

        Raises:
          DivergenceError: a metric or the state became infinite or not a number.
        """
        metrics, interval_start = self.advance.empty_metrics(), step
        first = self.clocked_from = step
        while step < self.schedule.num_steps:
            boundary = self.profile.next_boundary(step, self.schedule.next_boundary(step))
            # The first step comes alone, as soon as it is compiled.
            count = 1 if step == first else min(self.feed.max_steps, boundary - step)
            with self.clock.waiting_for_data():
                block = self.feed.block(step, count)
            self.clock.before_dispatch()
            state, metrics, done = self.advance.run(state, metrics, block)
            self.clock.after_dispatch(done)
            self.step = step = step + count
            self.profile.after(step, self.clock.finish)
            self._read()
            if self.writers:
                self.writers.console.progress(step)
            due = self._due(step, stop)
            if due.log:
                look = self.watch.look(state)
                self._unread = _Interval(interval_start, step, metrics, look, self.clock.lap())
                metrics, interval_start = self.advance.empty_metrics(), step
            if due.evaluate or due.save or due.draw:
                self._read()
                self.clock.finish()
                if due.evaluate and self._evaluate(state, step):
                    due = due._replace(save=True, stop=True)
                self._pause(state, step, due)
            if due.stop:
                break
            if step == first + 1 < self.schedule.num_steps:
                self._warm_up(state, step)
        self.clock.stop()
        self.profile.close()
        if self.writers:
            self.record(self)
        return step

    def redraw(self, state: Any, step: int) -> None:
        """Draws the pictures of the step to go on from, should a kill have come before them.

        Those of earlier steps were there before its checkpoint was.
        """
        if self.writers and self.schedule.draws(step) and not self.writers.has_pictures(step):
            self.writers.write_images(step, self.pictures(state))

    def _warm_up(self, state: Any, step: int) -> None:
        """Compiles what comes between steps and draws a first picture; the clock starts anew."""
        self._read()
        self.compile_rest(state)
        if self.writers and self.schedule.picture:
            pictures = self.pictures(state)
            if step == 1:
                self.writers.write_images(step, pictures)
        give_back_freed_memory()
        if self.writers:
            self.writers.console.restart(step)
        self.clock.restart()
        self.clocked_from = step

    @property
    def _may_stop(self) -> bool:
        return self.measurement is not None and self.measurement.stops

    def _due(self, step: int, stop: StopRequest) -> Due:
        due = self.schedule.due(step)
        late = self.checkpoint_minutes and (
            time.monotonic() - self._saved_at > 60 * self.checkpoint_minutes
        )
        # Many processes must agree, which costs them a round trip: only when they log anyway.
        if due.log or processes.alone():
            agreed = processes.highest(stop.number)
            stops = agreed > 0
            stop.number = stop.number or agreed  # a signal that came meanwhile counts the next time
            saves = due.save or stops or (due.log and processes.any_process(bool(late)))
            due = due._replace(log=due.log or saves, save=saves, stop=stops)
        # What a checkpoint scores must be of its own state.
        scores = due.save and self.best_metric.startswith(("val/", "quality/"))
        evaluates = due.evaluate or scores
        # Saving ends the interval, and this evaluation may end in it.
        return due._replace(evaluate=evaluates, log=due.log or (evaluates and self._may_stop))

    def _evaluate(self, state: Any, step: int) -> bool:
        """Writes what the state scores and says what is wrong with it; whether that ends all."""
        started = time.perf_counter()
        values = self.evaluate(state)
        self.clock.evaluated(time.perf_counter() - started)
        self._write(step, step - 1, values, {})
        found = self.measurement.warnings(step, self.latest) if self.measurement else []
        if self.writers:
            for warning in found:
                log.warning("%s", warning)
        self.warnings += found
        # Where an image differs in its last bit between processes, they must still agree.
        return self._may_stop and processes.any_process(bool(found))

    def _pause(self, state: Any, step: int, due: Due) -> None:
        """Does what needs the state, before the next dispatch takes it."""
        trim_freed_memory()  # of the save and the pictures before
        if due.save:
            if self.writers:
                self.writers.sync()  # a run that goes on from here draws no earlier pictures
            self.checkpoints.save(step, placement.to_host(state), self.latest)
            self._saved_at = time.monotonic()
            if self.writers:
                self.record(self)
        if due.draw and self.writers:
            self.writers.write_images(step, self.pictures(state))

    def _read(self) -> None:
        """Brings the last interval's metrics to the host, checks and writes them."""
        if self._unread is None:
            return
        start, end, metrics, look, data_wait_share = self._unread
        self._unread = None
        computed = known_values(placement.to_host(metrics))
        norms, bad = self.watch.read(look)
        values = {f"train/{name}": value for name, value in sorted({**computed, **norms}.items())}
        self._write(end, start, values, {"timing/data_wait_share": data_wait_share}, bad)

    def _write(
        self,
        step: int,
        start: int,
        values: Mapping[str, float],
        timing: Mapping[str, float],
        bad: str = "",
    ) -> None:
        """Checks and writes metrics of the steps (start, step]; `bad` names what is not finite."""
        check_finite(values, start, step, bad=bad, saved=self.checkpoints.latest_step)
        self.latest = latest_of(self.latest, values)
        if self.writers and values:
            self.writers.write_scalars(step, {**values, **timing})


def latest_of(before: Mapping[str, float], now: Mapping[str, float]) -> dict[str, float]:
    """Returns the last values: of a kind that there is now ("val" of "val/f1") only these.

    A score that has no value any more must not be taken for this state's.
    """
    kinds = {name.partition("/")[0] for name in now}
    kept = {name: x for name, x in before.items() if name.partition("/")[0] not in kinds}
    return {**kept, **now}
