"""The only training loop: dispatch, log, evaluate, draw, save."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from common.devices import placement, processes
from common.learning.network import split_frozen
from common.program.interrupts import StopRequest
from common.program.log import log
from common.program.memory import give_back_freed_memory, trim_freed_memory
from common.report.images import Picture
from common.runs.checkpoints import Checkpoints
from common.scores.metrics import known_values
from common.training.clock import DeviceClock, Due, Schedule
from common.training.dispatch import Advance
from common.training.feed import Feed
from common.training.finite import Look, Watch, check_finite
from common.training.profile import Profile
from common.training.task import Measurement, Metrics
from common.training.writers import Writers


class _Interval(NamedTuple):
    """Results of the steps (start, end], still on the devices, and the devices' waiting time."""

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
      compile_rest: takes a state and compiles what comes between steps, except pictures.
      evaluate: state -> metrics of the validation split, {} if there is none.
      pictures: state -> pictures by name.
      feed: the source of the data.
      schedule: when to log, evaluate, draw and save.
      checkpoints: where states are saved.
      checkpoint_minutes: save at least this often; 0 never saves by time.
      best_metric: the metric that the best checkpoint is chosen by, or "".
      record: called in the main process after each save and at the end.
      profile: traces a few steps, if requested.
      watch: checks the state at each log.
      writers: where numbers and pictures go; None in all processes but the main one.
      measurement: what `evaluate` measures beside the validation, or None.
      clock: how long the devices waited, and for what.
      step: the current step.
      clocked_from: the step from which `clock` counts.
      latest: the last value of every metric.
      warnings: the warnings given so far.
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
        """Trains from `step` to the end, or until a stop is requested; returns the last step.

        An interval's metrics stay on the devices until it ends and are read while the next one
        already runs. A checkpoint ends the interval, too: a run that resumes from it loses nothing.

        Raises:
          DivergenceError: a metric or the state became infinite or not a number.
        """
        metrics, interval_start = self.advance.empty_metrics(), step
        first = self.clocked_from = step
        while step < self.schedule.num_steps:
            boundary = self.profile.next_boundary(step, self.schedule.next_boundary(step))
            # The first step runs alone, as soon as it is compiled.
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
        """Draws the pictures of the step to resume from, in case a kill prevented them.

        Those of earlier steps were written before its checkpoint.
        """
        if self.writers and self.schedule.draws(step) and not self.writers.has_pictures(step):
            self.writers.write_images(step, self.pictures(state))

    def _warm_up(self, state: Any, step: int) -> None:
        """Compiles what comes between steps and draws a first picture; restarts the clock."""
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
        # Processes must agree, which costs a round trip: only when they log anyway.
        if due.log or processes.alone():
            agreed = processes.highest(stop.number)
            stops = agreed > 0
            stop.number = stop.number or agreed  # a signal that came meanwhile counts next time
            saves = due.save or stops or (due.log and processes.any_process(bool(late)))
            due = due._replace(log=due.log or saves, save=saves, stop=stops)
        # The scores of a checkpoint must be of its own state.
        scores = due.save and self.best_metric.startswith(("val/", "quality/"))
        evaluates = due.evaluate or scores
        # Saving ends the interval, and this evaluation may end in it.
        return due._replace(evaluate=evaluates, log=due.log or (evaluates and self._may_stop))

    def _evaluate(self, state: Any, step: int) -> bool:
        """Writes the state's scores and warnings; returns whether these end training."""
        started = time.perf_counter()
        values = self.evaluate(state)
        self.clock.evaluated(time.perf_counter() - started)
        self._write(step, step - 1, values, {})
        found = self.measurement.warnings(step, self.latest) if self.measurement else []
        if self.writers:
            for warning in found:
                log.warning("%s", warning)
        self.warnings += found
        # Processes must agree even if an image differs in its last bit between them.
        return self._may_stop and processes.any_process(bool(found))

    def _pause(self, state: Any, step: int, due: Due) -> None:
        """Does what needs the state before the next dispatch takes it."""
        trim_freed_memory()  # from the previous save and pictures
        if due.save:
            if self.writers:
                self.writers.sync()  # a run that resumes here draws no earlier pictures
            learning, _ = split_frozen(state)
            self.checkpoints.save(step, placement.to_host(learning), self.latest)
            self._saved_at = time.monotonic()
            if self.writers:
                self.record(self)
        if due.draw and self.writers:
            self.writers.write_images(step, self.pictures(state))

    def _read(self) -> None:
        """Fetches the last interval's metrics to the host, checks and writes them."""
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
    """Returns the last values; a kind with new values ("val" of "val/f1") keeps only these.

    A score that no longer has a value must not be taken for this state's.
    """
    kinds = {name.partition("/")[0] for name in now}
    kept = {name: x for name, x in before.items() if name.partition("/")[0] not in kinds}
    return {**kept, **now}
