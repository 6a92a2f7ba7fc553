"""The only training loop: dispatch, log, evaluate, draw, save."""

import time
from collections import Counter
from typing import Generic

import numpy as np

from common.data.prepared.prepared import Prepared
from common.devices import placement, processes
from common.learning.network import split_frozen
from common.learning.optimizers import check_rates
from common.program.interrupts import StopRequest
from common.program.log import log
from common.program.memory import give_back_freed_memory, trim_freed_memory
from common.report.images import Picture
from common.runs.checkpoints import Checkpoints
from common.runs.workdir import Run
from common.training import dispatch
from common.training.clock import DeviceClock, Due, Schedule
from common.training.compiling import compiling
from common.training.feed import open_feed
from common.training.numbers import Numbers
from common.training.profile import Profile
from common.training.record import Recorder
from common.training.task import Examples, State, Task
from common.training.validation import Validation, check_best_metric
from common.training.writers import Writers

_EXAMPLE_BYTES = 32 * 2**20
_NUM_EXAMPLES = 4096
_STEPS_TO_TIME = 50  # fewer say little of how many operations a second there are


class Loop(Generic[State]):
    """One session of a run; its methods stand in the order in which they are called.

    Attributes:
      schedule: when to log, evaluate, draw and save.
      advance: the compiled training dispatch.
      numbers: what has been measured.
      step: the current step.
      clock: how long the devices waited, and for what.
      clocked_from: the step from which `clock` counts.
    """

    def __init__(
        self,
        run: Run,
        prepared: Prepared,
        task: Task[State],
        checkpoints: Checkpoints,
        like: State,
        step: int,
        *,
        profile: bool = False,
    ) -> None:
        """Compiles the training step for states like this one, and prepares the rest.

        Args:
          run: to train.
          prepared: its data.
          task: what it trains.
          checkpoints: where states are saved.
          like: a state, or its stand-in.
          step: where training goes on.
          profile: whether to trace a few steps.

        Raises:
          UserError: training would learn nothing, or its best metric is not logged.
        """
        settings = run.settings
        steps_per_epoch = prepared.card.num_examples["train"] / task.batches.examples
        self.schedule = Schedule.of(settings.train, steps_per_epoch)
        if step < self.schedule.num_steps:
            for sentence in check_rates(run.config, steps_per_epoch):
                log.warning("%s", sentence)
        self._feed = open_feed(settings.data, prepared, task.batches, settings.seed)
        with compiling("the training step"):
            self.advance = dispatch.compile_advance(
                task,
                settings.seed,
                like,
                self._feed.example_block(),
                low_memory=settings.train.low_memory,
            )
        self._validation = Validation(run, prepared, task, like)
        self._validation.recall(run, step)
        of_training = [f"train/{name}" for name in self.advance.metric_names]
        check_best_metric(settings.train.best_metric, [*of_training, *self._validation.names])
        self._run, self._task, self._examples = run, task, _some_examples(prepared)
        # To count a step's operations is to trace it once more, which takes seconds.
        flops = self.advance.flops if self.schedule.num_steps - step >= _STEPS_TO_TIME else None
        self._recorder = Recorder(run, checkpoints, task.batches.examples, flops)
        self._settings, self._checkpoints = settings.train, checkpoints
        self._profile = Profile(run.workdir / "profile" if profile else None, step)
        self.numbers = Numbers(self.advance, like, checkpoints, step)
        self.clock, self._saved_at = DeviceClock(), time.monotonic()
        self.step = self.clocked_from = step

    @property
    def writers(self) -> Writers | None:
        """Returns where numbers and pictures go; None in all processes but the main one."""
        return self.numbers.writers

    def begin(self, state: State, writers: Writers) -> None:
        """Writes here from now on; draws the pictures of this step if a kill prevented them.

        Those of earlier steps were written before its checkpoint.
        """
        self.numbers.writers = writers
        if self.schedule.draws(self.step) and not writers.has_pictures(self.step):
            writers.write_images(self.step, self._pictures(state))

    def train(self, state: State, stop: StopRequest) -> int:
        """Trains to the end, or until a stop is requested; returns the last step.

        A checkpoint ends an interval of the numbers, too: a run that resumes from it loses nothing.

        Raises:
          DivergenceError: a metric or the state became infinite or not a number.
        """
        first = self.step
        while self.step < self.schedule.num_steps:
            # The first step runs alone, as soon as it is compiled.
            state = self._advance(state, at_most=1 if self.step == first else self._feed.max_steps)
            self.numbers.read()  # of the interval before, while this dispatch runs
            if self.writers:
                self.writers.console.progress(self.step)
            due = self._due(self.step, stop)
            if due.log:
                self.numbers.end_interval(state, self.step, self.clock.lap())
            if due.evaluate or due.save or due.draw:
                self.numbers.read()
                self.clock.finish()
                if due.evaluate and self._evaluate(state):
                    due = due._replace(save=True, stop=True)
                self._pause(state, due)
                if due.evaluate and self.writers:
                    self.writers.write_page(self._run)
            if due.stop:
                break
            if self.step == first + 1 < self.schedule.num_steps:
                self._warm_up(state)
        self.clock.stop()
        self._profile.close()
        self._record()
        return self.step

    def _advance(self, state: State, at_most: int) -> State:
        """Dispatches the steps up to the next boundary, or some of them."""
        boundary = self._profile.next_boundary(self.step, self.schedule.next_boundary(self.step))
        with self.clock.waiting_for_data():
            block = self._feed.block(self.step, min(at_most, boundary - self.step))
        self.clock.before_dispatch()
        state, self.numbers.metrics, done = self.advance.run(state, self.numbers.metrics, block)
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

    def _evaluate(self, state: State) -> bool:
        """Writes the state's scores and warnings; returns whether these end training."""
        started = time.perf_counter()
        values = self._validation.measure(state)
        self.clock.evaluated(time.perf_counter() - started)
        self.numbers.write(self.step, self.step - 1, values, {})
        found = self._validation.warnings(self.step, self.numbers.latest)
        self.numbers.warn(found)
        # Processes must agree even if an image differs in its last bit between them.
        return self._validation.may_stop and processes.any_process(bool(found))

    def _pause(self, state: State, due: Due) -> None:
        """Saves and draws, which needs the state before the next dispatch takes it."""
        trim_freed_memory()  # from the previous save and pictures
        if due.save:
            if self.writers:
                self.writers.sync()  # a run that resumes here draws no earlier pictures
            learning, _ = split_frozen(state)
            self._checkpoints.save(self.step, placement.to_host(learning), self.numbers.latest)
            self._saved_at = time.monotonic()
            self._record()
        if due.draw and self.writers:
            self.writers.write_images(self.step, self._pictures(state))

    def _warm_up(self, state: State) -> None:
        """Compiles what comes between steps and draws a first picture; restarts the clock."""
        self.numbers.read()
        with compiling("what evaluates and draws"):
            self._validation.compile(state)
            if processes.is_main_process():
                self._recorder.flops()
            self.numbers.watch.look(state)
            if self.writers and self.schedule.picture:
                pictures = self._pictures(state)
                if self.step == 1:
                    self.writers.write_images(self.step, pictures)
        give_back_freed_memory()
        if self.writers:
            self.writers.console.restart(self.step)
        self.clock.restart()
        self.clocked_from = self.step

    def _pictures(self, state: State) -> dict[str, Picture]:
        return self._task.pictures(placement.unreplicate(state), self._examples)

    def _record(self) -> None:
        if self.writers:
            self._recorder.write(self.step, self.step - self.clocked_from, self.clock, self.numbers)


def _some_examples(prepared: Prepared) -> Examples:
    """Returns random examples of the training split, for pictures: first one of each patient."""
    split = prepared.splits["train"]
    most = min(_NUM_EXAMPLES, max(64, _EXAMPLE_BYTES // prepared.card.example_bytes))
    spread = np.linspace(0, len(split) - 1, min(len(split), most), dtype=int)
    rows = np.random.default_rng(0).permutation(spread).tolist()
    owners, seen, turns = split.owners, Counter[str](), []
    for row in rows:
        turns.append(seen[owners[row]])
        seen[owners[row]] += 1
    return split.read([rows[i] for i in np.argsort(turns, kind="stable")])
