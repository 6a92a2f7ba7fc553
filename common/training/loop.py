"""The only training loop: dispatch, log, evaluate, draw, save."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Generic

from common.data.prepared.prepared import Prepared
from common.devices import placement, processes
from common.learning.optimizers import check_rates
from common.program.errors import DivergenceError
from common.program.interrupts import StopRequest
from common.program.log import log
from common.program.memory import give_back_freed_memory, trim_freed_memory
from common.runs.checkpoints import Checkpoints
from common.runs.workdir import Run
from common.training import dispatch
from common.training.clock import DeviceClock, Due, Schedule
from common.training.compiling import compiling
from common.training.feed import open_feed
from common.training.profile import Profile
from common.training.record import record_utilisation
from common.training.replica import Replica, some_examples
from common.training.replicas import one_of, shapes_side_by_side
from common.training.task import State, Task
from common.training.validation import check_best_metric, held_out
from common.training.writers import Writers

_STEPS_TO_TIME = 50  # fewer say little of how many operations a second there are


class Loop(Generic[State]):
    """One session of a run, or of several replicas; its methods stand in the order of their calls.

    Attributes:
      schedule: when to log, evaluate, draw and save.
      advance: the compiled training dispatch.
      replicas: the runs that it trains, in the order of their states.
      step: the current step.
      clock: how long the devices waited, and for what.
      clocked_from: the step from which `clock` counts.
    """

    def __init__(
        self,
        runs: Sequence[Run],
        seeds: Sequence[int],
        prepared: Prepared,
        task: Task[State],
        checkpoints: Sequence[Checkpoints],
        like: State,
        step: int,
        *,
        profile: bool = False,
    ) -> None:
        """Compiles the training step for states like this one, and prepares the rest.

        Args:
          runs: to train, which differ in their seeds alone.
          seeds: of the batches of each, and of what is drawn at random.
          prepared: their data.
          task: what they train.
          checkpoints: where the states of each are saved.
          like: the shapes of a state.
          step: where training goes on.
          profile: whether to trace a few steps.

        Raises:
          UserError: training would learn nothing, or its best metric is not logged.
        """
        settings = runs[0].settings
        steps_per_epoch = prepared.card.num_examples["train"] / task.batches.examples
        self.schedule = Schedule.of(settings.train, steps_per_epoch)
        if step < self.schedule.num_steps:
            for sentence in check_rates(runs[0].config, steps_per_epoch):
                log.warning("%s", sentence)
        self._feed = open_feed(settings.data, prepared, task.batches, seeds)
        with compiling("the training step"):
            self.advance = dispatch.compile_advance(
                task,
                seeds,
                placement.stand_in(shapes_side_by_side(like, len(runs))),
                self._feed.example_block(),
                low_memory=settings.train.low_memory,
            )
        self._metrics = self.advance.empty_metrics()
        # To count a step's operations is to trace it once more, which takes seconds.
        flops = self.advance.flops if self.schedule.num_steps - step >= _STEPS_TO_TIME else None
        alone = placement.stand_in(like)
        evaluation = held_out(settings, prepared, task, alone)
        examples = some_examples(prepared)
        replica = partial(Replica, held_out=evaluation, examples=examples, flops=flops)
        self.replicas = [
            replica(run, prepared, task, saved, alone, step)
            for run, saved in zip(runs, checkpoints, strict=True)
        ]
        self._validation = self.replicas[0].validation
        of_training = [f"train/{name}" for name in self.advance.metric_names]
        check_best_metric(settings.train.best_metric, [*of_training, *self._validation.names])
        self._settings, self._checkpoints = settings.train, checkpoints
        self._profile = Profile(runs[0].workdir / "profile" if profile else None, step)
        self.clock, self._saved_at = DeviceClock(), time.monotonic()
        self.step = self.clocked_from = step

    def begin(self, state: State, writers: Sequence[Writers]) -> None:
        """Writes here from now on; draws the pictures of this step if a kill prevented them.

        Those of earlier steps were written before its checkpoint.
        """
        for (replica, its), own in zip(self._each(state), writers, strict=True):
            replica.numbers.writers = own
            if self.schedule.draws(self.step) and not own.has_pictures(self.step):
                replica.draw(its, self.step)

    def train(self, state: State, stop: StopRequest) -> int:
        """Trains to the end, or until a stop is requested; returns the last step.

        A checkpoint ends an interval of the numbers, too: a run that resumes from it loses nothing.

        Raises:
          DivergenceError: a metric or the state became infinite or not a number, of all replicas.
        """
        first = self.step
        while self.step < self.schedule.num_steps:
            # The first step runs alone, as soon as it is compiled.
            state = self._advance(state, at_most=1 if self.step == first else self._feed.max_steps)
            self._read()  # of the interval before, while this dispatch runs
            for writers in self._writers():
                writers.console.progress(self.step)
            due = self._due(self.step, stop)
            if due.log:
                self._end_interval(state)
            if due.evaluate or due.save or due.draw:
                self._read()
                self.clock.finish()
                if due.evaluate:
                    self._evaluate(state)
                self._pause(state, due)
            if due.stop or not any(self._each()):
                break
            if self.step == first + 1 < self.schedule.num_steps:
                self._warm_up(state)
        self.clock.stop()
        self._profile.close()
        for (replica,) in self._each():
            self._record(replica)
        return self.step

    def finish(self) -> None:
        """Waits for what is being written, and records how fast the steps were.

        Raises:
          DivergenceError: replicas diverged, and training went on without them.
        """
        for writers in self._writers():
            writers.flush()  # drawing the last picture meanwhile would halve the rate
        for replica in self.replicas:
            if replica.writers:
                record_utilisation(replica.run)
        if lost := [replica for replica in self.replicas if replica.diverged]:
            told = " ".join(f"{replica.run.workdir}: {replica.diverged}" for replica in lost)
            whole = f"{len(lost)} of {len(self.replicas)} replicas diverged, the others did not."
            raise DivergenceError(f"{whole} {told}")

    def _advance(self, state: State, at_most: int) -> State:
        """Dispatches the steps up to the next boundary, or some of them."""
        boundary = self._profile.next_boundary(self.step, self.schedule.next_boundary(self.step))
        with self.clock.waiting_for_data():
            block = self._feed.block(self.step, min(at_most, boundary - self.step))
        self.clock.before_dispatch()
        state, self._metrics, done = self.advance.run(state, self._metrics, block)
        self.clock.after_dispatch(done)
        self.step += block.num_steps
        self._profile.after(self.step, self.clock.finish)
        return state

    def _due(self, step: int, stop: StopRequest) -> Due:
        """Returns what is due after a step, on which all processes agree."""
        due, minutes = self.schedule.due(step), self._settings.checkpoint_minutes
        late = bool(minutes) and time.monotonic() - self._saved_at > 60 * minutes
        # Processes must agree, which costs a round trip: only when they log anyway.
        if due.log or processes.alone():
            agreed = processes.highest(stop.number)
            stops = agreed > 0
            stop.number = stop.number or agreed  # a signal that came meanwhile counts next time
            saves = due.save or stops or (due.log and processes.any_process(late))
            due = due._replace(log=due.log or saves, save=saves, stop=stops)
        # The scores of a checkpoint must be of its own state.
        scores = due.save and self._settings.best_metric.startswith(("val/", "quality/"))
        evaluates = due.evaluate or scores
        # Saving ends the interval, and this evaluation may end in it.
        ends = due.log or (evaluates and self._validation.may_stop)
        return due._replace(evaluate=evaluates, log=ends)

    def _each(self, *together: Any) -> Iterator[tuple[Any, ...]]:
        """Yields the replicas in training, each with its parts of what is of all of them."""
        for i, replica in enumerate(self.replicas):
            if not replica.left:
                yield replica, *(one_of(tree, i, len(self.replicas)) for tree in together)

    def _writers(self) -> Iterator[Writers]:
        for (replica,) in self._each():
            if replica.writers:
                yield replica.writers

    @contextmanager
    def _going_on_without(self, replica: Replica[State]) -> Iterator[None]:
        """Leaves a replica behind that diverges, unless nothing would be left to train."""
        try:
            yield
        except DivergenceError as error:
            replica.left = True
            if all(replica.left for replica in self.replicas):
                raise
            replica.mark_diverged(error)

    def _end_interval(self, state: State) -> None:
        waited = self.clock.lap()
        for replica, its, metrics in self._each(state, self._metrics):
            replica.numbers.end_interval(its, self.step, metrics, waited)
        self._metrics = self.advance.empty_metrics()

    def _read(self) -> None:
        for (replica,) in self._each():
            with self._going_on_without(replica):
                replica.numbers.read()

    def _evaluate(self, state: State) -> None:
        started = time.perf_counter()
        for replica, its in self._each(state):
            with self._going_on_without(replica):
                replica.evaluate(its, self.step)
        self.clock.evaluated(time.perf_counter() - started)

    def _pause(self, state: State, due: Due) -> None:
        """Saves and draws, which needs the state before the next dispatch takes it."""
        trim_freed_memory()  # from the previous save and pictures
        if due.save:
            # A kill must leave a step of which all have a checkpoint.
            for checkpoints in self._checkpoints:
                checkpoints.finish()
        for replica, its in self._each(state):
            replica.pause(its, self.step, due)
        if due.save:
            self._saved_at = time.monotonic()
        for (replica,) in self._each():
            if due.save or replica.collapsed:
                self._record(replica)
            if due.evaluate and replica.writers:
                replica.writers.write_page(replica.run)
            replica.left = replica.collapsed

    def _warm_up(self, state: State) -> None:
        """Compiles what comes between steps and draws a first picture; restarts the clock."""
        self._read()
        with compiling("what evaluates and draws"):
            for replica, its in self._each(state):
                replica.warm_up(its, self.step, draws=bool(self.schedule.picture))
        give_back_freed_memory()
        for writers in self._writers():
            writers.console.restart(self.step)
        self.clock.restart()
        self.clocked_from = self.step

    def _record(self, replica: Replica[State]) -> None:
        replica.record(self.step, self.step - self.clocked_from, self.clock)
