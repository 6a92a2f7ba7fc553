"""The programs of a task: what its devices run in training, in evaluation and in its modes."""

import jax
import numpy as np

from common.data.prepared.prepared import DataCard
from common.devices import lowering
from common.devices.hardware import Hardware
from common.devices.lowering import Program
from common.learning.network import Variables, join_frozen, split_frozen
from common.training.task import Batch, Metrics, State, Task


def programs_of(task: Task[State], card: DataCard) -> dict[str, Program]:
    """Returns a task's programs by name: train_step, eval_step, and what its modes compute.

    Args:
      task: made for the data.
      card: of the data.
    """
    state = task.load_frozen(jax.eval_shape(task.init, jax.random.key(0)))
    learning, frozen = split_frozen(state)
    key = jax.eval_shape(lambda: jax.random.key_data(jax.random.key(0)))

    def train_step(
        learning: State, batch: Batch, key: jax.Array, frozen: dict[str, Variables]
    ) -> tuple[State, Metrics]:
        state = join_frozen(learning, frozen)
        state, metrics = task.train_step(state, batch, jax.random.wrap_key_data(key))
        return split_frozen(state)[0], metrics

    size = task.batches.examples
    held_out = {**batch_shapes(card, size), "valid": jax.ShapeDtypeStruct((size,), np.bool_)}
    return {
        "train_step": Program(
            train_step, (learning, batch_shapes(card, size), key, frozen), (1,), (0,)
        ),
        "eval_step": Program(task.eval_step, (state, held_out), (1,)),
        **task.programs(state, task.batches.size),
    }


def batch_shapes(card: DataCard, size: int) -> dict[str, jax.ShapeDtypeStruct]:
    """Returns the shapes of so many training examples."""
    side = card.image_size
    shapes = {
        "image": jax.ShapeDtypeStruct((size, side, side, card.channels), np.uint8),
        "label": jax.ShapeDtypeStruct((size,), np.int32),
        "position": jax.ShapeDtypeStruct((size,), np.int32),
    }
    if card.has_targets:
        shapes["target"] = shapes["image"]
    if card.mask_classes:
        shapes["mask"] = jax.ShapeDtypeStruct((size, side, side), np.uint8)
    return shapes


def lower(task: Task[State], card: DataCard, name: str, hardware: Hardware) -> jax.stages.Lowered:
    """Lowers one of a task's programs for some hardware; see `programs_of`."""
    return lowering.lower(programs_of(task, card)[name], hardware)
