"""One of the runs that a program trains, usually the only one: what it has of its own."""

from collections import Counter
from collections.abc import Callable
from typing import Generic

import numpy as np

from common.data.prepared.prepared import Prepared
from common.devices import placement, processes
from common.learning.network import split_frozen
from common.program.errors import DivergenceError
from common.program.log import log
from common.report.images import Picture
from common.runs.checkpoints import Checkpoints
from common.runs.workdir import Run, update_record
from common.training.clock import DeviceClock, Due
from common.training.numbers import Numbers
from common.training.record import Recorder
from common.training.replicas import DIVERGED
from common.training.task import Examples, State, Task
from common.training.validation import HeldOut, Validation
from common.training.writers import Writers

_EXAMPLE_BYTES = 32 * 2**20
_NUM_EXAMPLES = 4096


class Replica(Generic[State]):
    """Measures, draws, saves and records a run, given its states on the devices.

    Attributes:
      run: the run.
      numbers: what has been measured.
      validation: what is measured of its states.
      collapsed: whether a warning ends its training.
      left: whether training goes on without it.
      diverged: what made it diverge while others went on; else "".
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
        held_out: HeldOut[State] | None,
        examples: Examples,
        flops: Callable[[], float] | None,
    ) -> None:
        """Prepares everything for its states.

        Args:
          run: the run.
          prepared: its data.
          task: what it trains.
          checkpoints: where its states are saved.
          like: a state, or its stand-in.
          step: where its training goes on.
          held_out: evaluates its validation examples, if there are any.
          examples: of which pictures are drawn.
          flops: see `Recorder`.
        """
        self.run, self.collapsed, self.left, self.diverged = run, False, False, ""
        self.validation = Validation(run, prepared, task, held_out)
        self.validation.recall(run, step)
        self.numbers = Numbers(like, checkpoints, step)
        self._task, self._checkpoints = task, checkpoints
        self._examples = examples
        self._recorder = Recorder(run, checkpoints, task.batches.examples, flops)

    @property
    def writers(self) -> Writers | None:
        """Returns where numbers and pictures go; None in all processes but the main one."""
        return self.numbers.writers

    def evaluate(self, state: State, step: int) -> None:
        """Writes the state's scores and warnings, which may end its training.

        Raises:
          DivergenceError: a score is infinite or not a number.
        """
        values = self.validation.measure(state)
        self.numbers.write(step, step - 1, values, {})
        found = self.validation.warnings(step, self.numbers.latest)
        self.numbers.warn(found)
        # Processes must agree even if an image differs in its last bit between them.
        self.collapsed = self.validation.may_stop and processes.any_process(bool(found))

    def pause(self, state: State, step: int, due: Due) -> None:
        """Saves and draws what is due; the last state of a collapsed one is saved, too."""
        if due.save or self.collapsed:
            if self.writers:
                self.writers.sync()  # a run that resumes here draws no earlier pictures
            learning, _ = split_frozen(state)
            self._checkpoints.save(step, placement.to_host(learning), self.numbers.latest)
        if due.draw:
            self.draw(state, step)

    def draw(self, state: State, step: int) -> None:
        """Draws the pictures of a state."""
        if self.writers:
            self.writers.write_images(step, self._pictures(state))

    def warm_up(self, state: State, step: int, *, draws: bool) -> None:
        """Compiles what comes between steps; draws the pictures of the first one."""
        self.validation.compile(state)
        if processes.is_main_process():
            self._recorder.flops()
        self.numbers.watch.look(state)
        if draws and self.writers:
            pictures = self._pictures(state)
            if step == 1:
                self.writers.write_images(step, pictures)

    def mark_diverged(self, error: DivergenceError) -> None:
        """Records that the others are trained without this one."""
        self.diverged = error.what
        log.warning("%s Training goes on without %s.", error.what, self.run.workdir)
        if self.writers:
            update_record(self.run.workdir, {DIVERGED: error.what})

    def record(self, step: int, num_steps: int, clock: DeviceClock) -> None:
        """Updates run.json; see `Recorder.write`."""
        if self.writers:
            self._recorder.write(step, num_steps, clock, self.numbers)

    def _pictures(self, state: State) -> dict[str, Picture]:
        return self._task.pictures(placement.unreplicate(state), self._examples)


def some_examples(prepared: Prepared) -> Examples:
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
