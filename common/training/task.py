"""What the loop needs to know about an experiment, found by `config.task`."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from clu.metrics import Collection
from jaxtyping import Array, Key, Shaped
from ml_collections import ConfigDict

from common.config.defaults import RunSettings
from common.config.tasks import find_task
from common.data.prepared.prepared import DataCard, Prepared
from common.devices.lowering import Program
from common.learning.network import NetworkState
from common.program.errors import UserError
from common.program.memory import give_back_freed_memory, low_memory_options
from common.report.images import Picture

Batch: TypeAlias = dict[str, Shaped[Array, "batch ..."]]
Metrics: TypeAlias = Collection
Examples: TypeAlias = dict[str, Shaped[np.ndarray, "n ..."]]

State = TypeVar("State")


@dataclass(frozen=True)
class Measurement(Generic[State]):
    """What is measured of a state during training beside the metrics of its steps.

    Attributes:
      names: of the values.
      measure: state, on the host or on one device -> the values by name.
      warnings: (step, the latest value of every metric) -> sentences about what goes wrong now.
      stops: whether such a sentence ends training.
    """

    names: tuple[str, ...]
    measure: Callable[[State], dict[str, float]]
    warnings: Callable[[int, Mapping[str, float]], list[str]]
    stops: bool


class Batches(NamedTuple):
    """The training examples of one step: some batches, one after the other in its arrays.

    Each batch is spread over all devices, whatever their number; a device's share of the step is
    its share of the first batch, then of the second, and so on.

    Attributes:
      number: of batches; more than one for several discriminator updates in a step.
      size: examples in each, over all devices.
    """

    number: int
    size: int

    @classmethod
    def in_parts(cls, batch_size: int, parts: int) -> "Batches":
        """Returns one batch in parts, whose gradients are accumulated.

        Raises:
          UserError: they are not of equal size.
        """
        if batch_size % parts:
            raise UserError(
                f"config.data.batch_size is {batch_size}, which is not divisible by"
                f" config.optimizer.accumulate={parts}; change one of them."
            )
        return cls(parts, batch_size // parts)

    @property
    def examples(self) -> int:
        """Returns the number of examples that a step takes."""
        return self.number * self.size

    def split(self, batch: "Batch") -> list[dict[str, Array]]:
        """Returns the batches that follow each other in a device's share of a step."""
        if self.number == 1:
            return [batch]
        parts = {name: jnp.split(rows, self.number) for name, rows in batch.items()}
        return [{name: rows[i] for name, rows in parts.items()} for i in range(self.number)]


class Pairs(Batches):
    """Two batches: the second has, for each image of the first, another one of the same patient.

    Of a patient with a single image it has that: see common/training/partners.py.
    """

    @classmethod
    def of(cls, size: int) -> "Pairs":
        """Returns so many pairs, over all devices."""
        return cls(2, size)


class Task(ABC, Generic[State]):
    """An experiment: pure functions of the state, one device's share of the batch and a key.

    A batch holds `image` (uint8 NHWC), `label` (int32), `position` (int32, the example's place in
    the global batch, for common/learning/randomness.py) and, in evaluation, `valid` (bool; False on
    padding); if the data has them, also `mask` (uint8 class ids, NHW) and `target` (uint8 NHWC).
    The named axis is `devices.axis.AXIS`. Metrics are reduced over devices.

    A task defines `init`, `train_step`, `eval_step` and `pictures`. It inherits what most do: they
    take one batch a step, start from nothing, prepare nothing and measure nothing more.
    """

    def __init__(self, settings: RunSettings, card: DataCard) -> None:
        """Stores the settings and what is known of the data."""
        self.settings, self.card = settings, card

    @abstractmethod
    def init(self, rng: Key[Array, ""]) -> State:
        """Returns the state at step 0."""

    @abstractmethod
    def train_step(self, state: State, batch: Batch, rng: Key[Array, ""]) -> tuple[State, Metrics]:
        """Returns the state after one update, its `step` one higher, and the update's metrics."""

    @abstractmethod
    def eval_step(self, state: State, batch: Batch) -> Metrics:
        """Returns metrics of held-out examples."""

    @abstractmethod
    def pictures(self, state: State, examples: Examples) -> dict[str, Picture]:
        """Returns pictures of what the state does, by name; called on the host, for one device.

        `examples` are some of the training set as stored, always the same.
        """

    @property
    def batches(self) -> Batches:
        """Returns what one training step takes."""
        return Batches(1, self.settings.data.batch_size)

    def warm_start(self, state: State) -> State:
        """Returns a new state with what training starts from, such as published weights."""
        return state

    def load_frozen(self, state: State) -> State:
        """Returns the state with its weights that do not learn: see `NetworkState.frozen`.

        Called whenever a run starts, goes on or is opened, with the shapes of a state. A run that
        goes on must get the same weights again; their checksums are compared.
        """
        return state

    @property
    def needs_preparation(self) -> bool:
        """Returns whether training needs something computed from the data: see `prepare`."""
        return False

    def prepare(self, prepared: Prepared, state: State) -> Prepared:
        """Returns the data with what training needs computed once; for most tasks nothing."""
        return prepared

    def measurement(self, prepared: Prepared) -> Measurement[State] | None:
        """Returns what to measure every `config.train.eval_every`, beside `eval_step`."""
        return None

    def programs(self, state: State, size: int) -> dict[str, Program]:
        """Returns what the modes compute with a trained state, by mode; for most tasks nothing.

        Args:
          state: its shapes.
          size: of a batch, over all devices.
        """
        return {}

    def describe(self, state: State) -> str:
        """Returns tables of the networks' parameters and running statistics."""
        return "\n".join(f"{name}\n{part.overview()}" for name, part in _networks(state).items())

    def totals(self, state: State) -> str:
        """Returns how many parameters and running statistics there are, a line for each network."""
        return "\n".join(f"{name}: {part.totals()}" for name, part in _networks(state).items())


def _networks(state: State) -> dict[str, NetworkState]:
    return {name: part for name, part in vars(state).items() if isinstance(part, NetworkState)}


def new_state(task: Task[State], seed: int) -> State:
    """Returns the state at step 0.

    It is made once, so XLA is asked to optimise little and, whatever `config.train.low_memory` is,
    to use little memory: 5.4 GiB for the 200x200 dense GAN instead of 8.1.
    """
    options = {"xla_backend_optimization_level": 1, **low_memory_options()}
    init = jax.jit(task.init, compiler_options=options)
    state: State = jax.block_until_ready(init(jax.random.key(seed)))
    give_back_freed_memory()
    return state


def make_task(config: ConfigDict, card: DataCard) -> Task[Any]:
    """Returns the task that `config.task` names."""
    task: Task[Any] = find_task(config.task).make_task(config, card)
    return task
