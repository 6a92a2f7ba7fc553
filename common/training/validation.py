"""What is measured of a state during training: held-out examples, and what its task measures."""

from collections.abc import Iterable
from functools import partial
from typing import Generic

from common.config import durations
from common.config.defaults import RunSettings, TrainSettings
from common.data.prepared.prepared import Prepared, Split
from common.devices import placement, processes
from common.program.errors import UserError
from common.runs.rows import METRICS, read_rows
from common.runs.workdir import Run
from common.scores.metrics import known_values
from common.training import dispatch
from common.training.feed import evaluation_batches, fits_on_device
from common.training.task import Measurement, State, Task

_VALIDATION = "val"


class HeldOut(Generic[State]):
    """Evaluates the examples of the validation split: see `Task.eval_step`.

    Attributes:
      names: of the metrics.
      compile: compiles in advance.
    """

    def __init__(self, settings: RunSettings, split: Split, task: Task[State], like: State) -> None:
        """Prepares everything for states like this one, which may be a stand-in."""
        batch_size, low_memory = settings.data.batch_size, settings.train.low_memory
        self._batches = partial(evaluation_batches, split, batch_size)
        first = next(self._batches())
        self._evaluation = dispatch.prepare_evaluation(task, like, first, low_memory=low_memory)
        resident = fits_on_device(split, settings.data.resident_limit_mb)
        self._resident = list(self._batches()) if resident else None
        self.names = [f"{_VALIDATION}/{name}" for name in self._evaluation.metric_names]
        self.compile = self._evaluation.compile

    def measure(self, state: State) -> dict[str, float]:
        """Returns the metrics by name."""
        total = None
        for batch in self._resident or self._batches():
            metrics = self._evaluation.run(state, batch)
            total = metrics if total is None else total.merge(metrics)
        assert total is not None  # a split has at least one example
        return {f"{_VALIDATION}/{name}": x for name, x in known_values(total).items()}


def held_out(
    settings: RunSettings, prepared: Prepared, task: Task[State], like: State
) -> HeldOut[State] | None:
    """Returns the evaluation of the validation split; None if there is none, or it never comes."""
    split = prepared.splits.get(_VALIDATION)
    if split is None or durations.never(settings.train.eval_every):
        return None
    return HeldOut(settings, split, task, like)


class Validation(Generic[State]):
    """Measures a run's states every `config.train.eval_every`: see `Task.measurement`, too.

    Attributes:
      names: of the values.
    """

    def __init__(
        self, run: Run, prepared: Prepared, task: Task[State], held_out: HeldOut[State] | None
    ) -> None:
        """Prepares what the task measures; runs of the same task share what evaluates."""
        self.names: list[str] = [*held_out.names] if held_out else []
        self._held_out = held_out
        self._measurement: Measurement[State] | None = None
        if durations.never(run.settings.train.eval_every):
            return
        measure = partial(task.measurement, prepared)
        self._measurement = processes.main_process_first(measure) or measure()
        if self._measurement:
            self.names += self._measurement.names

    def recall(self, run: Run, step: int) -> None:
        """Shows the measurement what earlier sessions logged, so that no warning is repeated."""
        if self._measurement is None:
            return
        latest: dict[str, float] = {}
        for row in read_rows(run.workdir / METRICS):
            if row["step"] <= step:
                latest |= {name: float(value) for name, value in row.items()}
                if self._measurement.names[0] in row:
                    self._measurement.warnings(int(row["step"]), latest)

    def compile(self, state: State) -> None:
        """Compiles everything."""
        if self._held_out:
            self._held_out.compile()
        if self._measurement:
            self._measurement.measure(placement.unreplicate(state))

    def measure(self, state: State) -> dict[str, float]:
        """Returns the values by name; every process measures, with equal results."""
        values = self._held_out.measure(state) if self._held_out else {}
        if self._measurement:
            values |= self._measurement.measure(placement.unreplicate(state))
        return values

    def warnings(self, step: int, latest: dict[str, float]) -> list[str]:
        """Returns sentences about what goes wrong, given the latest value of every metric."""
        return self._measurement.warnings(step, latest) if self._measurement else []

    @property
    def may_stop(self) -> bool:
        """Returns whether a warning ends training."""
        return self._measurement is not None and self._measurement.stops


def check_validation(settings: TrainSettings, prepared: Prepared) -> None:
    """Refuses to keep a best checkpoint without a validation; needs nothing compiled."""
    best = settings.best_metric
    if not best.startswith("val/"):
        return
    if _VALIDATION not in prepared.splits:
        raise UserError(
            f"config.train.best_metric is {best!r}, but {prepared.card.name} has no validation"
            " images; set --config.data.splits=70,15,15 to hold some out, or"
            " --config.train.best_metric=''."
        )
    if durations.never(settings.eval_every):
        raise UserError(
            f"config.train.best_metric is {best!r}, but config.train.eval_every is 0; set it, or"
            " --config.train.best_metric=''."
        )


def check_best_metric(best: str, names: Iterable[str]) -> None:
    """Refuses to choose the best checkpoint by a metric that is not logged."""
    if best and best not in names:
        raise UserError(
            f"config.train.best_metric is {best!r}, which this run does not log; it logs"
            f" {', '.join(sorted(names))}."
        )
