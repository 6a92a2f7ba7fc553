"""The numbers of a session: metrics of its steps and scores of its states, checked and written."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from common.devices import placement
from common.program.log import log
from common.runs.checkpoints import Checkpoints
from common.scores.metrics import known_values
from common.training.finite import Look, Watch, check_finite
from common.training.task import Metrics
from common.training.writers import Writers


class _Interval(NamedTuple):
    """Results of the steps (start, end], still on the devices, and the devices' waiting time."""

    start: int
    end: int
    metrics: Metrics
    look: Look
    data_wait_share: float


class Numbers:
    """What a session has measured.

    An interval's metrics stay on the devices until they are read, while the next one runs.

    Attributes:
      latest: the last value of every metric.
      warnings: the warnings given so far.
      writers: where numbers go; None in all processes but the main one.
    """

    def __init__(self, like: Any, checkpoints: Checkpoints, step: int) -> None:
        """Begins the first interval.

        Args:
          like: a state, or its shapes.
          checkpoints: which a sentence about divergence advises.
          step: the current one.
        """
        self.latest: dict[str, float] = {}
        self.warnings: list[str] = []
        self.writers: Writers | None = None
        self.watch = Watch(like)
        self._checkpoints, self._start = checkpoints, step
        self._unread: _Interval | None = None

    def end_interval(self, state: Any, step: int, metrics: Metrics, data_wait_share: float) -> None:
        """Ends the interval at a step; does not wait for the metrics of its steps."""
        look = self.watch.look(state)
        self._unread = _Interval(self._start, step, metrics, look, data_wait_share)
        self._start = step

    def read(self) -> None:
        """Fetches the metrics of the interval that has ended, if they are not read yet.

        Raises:
          DivergenceError: a metric or the state became infinite or not a number.
        """
        if self._unread is None:
            return
        start, end, metrics, look, data_wait_share = self._unread
        self._unread = None
        computed = known_values(placement.to_host(metrics))
        norms, bad = self.watch.read(look)
        values = {f"train/{name}": value for name, value in sorted({**computed, **norms}.items())}
        self.write(end, start, values, {"timing/data_wait_share": data_wait_share}, bad)

    def write(
        self,
        step: int,
        start: int,
        values: Mapping[str, float],
        timing: Mapping[str, float],
        bad: str = "",
    ) -> None:
        """Checks and writes metrics of the steps (start, step]; `bad` names what is not finite.

        Raises:
          DivergenceError: a metric, or what `bad` names, is infinite or not a number.
        """
        check_finite(values, start, step, bad=bad, saved=self._checkpoints.latest_step)
        self.latest = latest_of(self.latest, values)
        if self.writers and values:
            self.writers.write_scalars(step, {**values, **timing})

    def warn(self, sentences: list[str]) -> None:
        """Logs sentences about what goes wrong; run.json gets them, too."""
        if self.writers:
            for sentence in sentences:
                log.warning("%s", sentence)
        self.warnings += sentences


def latest_of(before: Mapping[str, float], now: Mapping[str, float]) -> dict[str, float]:
    """Returns the last values; a kind with new values ("val" of "val/f1") keeps only these.

    A score that no longer has a value must not be taken for this state's.
    """
    kinds = {name.partition("/")[0] for name in now}
    kept = {name: x for name, x in before.items() if name.partition("/")[0] not in kinds}
    return {**kept, **now}
