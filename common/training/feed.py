"""The feed: prepared examples -> blocks of batches on the devices.

A small set is held whole on the devices, where a step picks its rows; Grain streams a larger one in
the background. Both give the same batches in the same order, from any step on.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import grain
import jax
import numpy as np
from jaxtyping import Int, Shaped

from common.data.prepared.prepared import Prepared, Split
from common.data.settings import DataSettings
from common.devices import placement, processes
from common.program.errors import UserError
from common.program.log import log
from common.training import dispatch
from common.training.dispatch import Block
from common.training.epochs import batch_indices
from common.training.partners import Partners
from common.training.task import Batch, Batches, Pairs

_BLOCK_BYTES = 64 * 2**20  # a streamed block is no larger than this, or one batch
# From the system's cache one thread is as fast; with a cold disk four wait at the same time.
# Processes would take seconds to start and read more slowly (bench/streaming.py).
_READ_THREADS = 4
_READ_AHEAD = 8  # batches, at least

HostBatch = dict[str, Shaped[np.ndarray, "batch ..."]]


@runtime_checkable
class Feed(Protocol):
    """Where the loop gets its data from."""

    max_steps: int

    def example_block(self) -> Block:
        """Returns a block with the shapes of all blocks, to compile for."""
        ...

    def block(self, step: int, num_steps: int) -> Block:
        """Returns the data of steps [step, step + num_steps), num_steps <= max_steps."""
        ...


class Order:
    """This process's rows of the global batch of any step: a pure function of (seed, step).

    Several seeds are those of replicas, each with an order of its own.
    """

    def __init__(
        self,
        split: Split,
        batches: Batches,
        seeds: Sequence[int],
        *,
        shuffle: bool,
        balance: bool = False,
    ) -> None:
        self.split, self._batches = split, batches
        self._labels = np.array(split.labels) if balance else None
        self._partners = Partners(split.owners) if isinstance(batches, Pairs) else None
        is_part = batches.number > 1 and not self._partners
        self._local_batch = processes.local_batch_size(batches.size, is_part=is_part)
        self._seeds, self._shuffle = seeds, shuffle

    def indices(self, step: int) -> Int[np.ndarray, "devices *replicas batches batch"]:
        """Returns the indices of one step's examples that this process trains on."""
        each = [self._of(seed, step) for seed in self._seeds]
        return np.stack(each, 1) if len(each) > 1 else each[0]

    def _of(self, seed: int, step: int) -> Int[np.ndarray, "devices batches batch"]:
        count, size = self._batches
        drawn = size if self._partners else count * size
        every = batch_indices(step, drawn, seed, len(self.split), self._shuffle, self._labels)
        if self._partners:
            every = np.concatenate([every, self._partners.of(every, seed, step)])
        first = jax.process_index() * self._local_batch
        mine = every.reshape(count, size)[:, first : first + self._local_batch]
        return mine.reshape(count, jax.local_device_count(), -1).swapaxes(0, 1)

    def read(self, step: int) -> HostBatch:
        """Returns these examples: [devices, examples of a device, ...]."""
        indices = self.indices(step)
        examples = self.split.read(indices.ravel().tolist())
        return {
            name: rows.reshape(len(indices), -1, *rows.shape[1:]) for name, rows in examples.items()
        }


class ResidentFeed:
    """All examples on every device; only indices are transferred."""

    def __init__(self, order: Order) -> None:
        self.max_steps, self._order = dispatch.max_steps_per_dispatch(), order
        self._examples = placement.replicate(order.split.read(range(len(order.split))))

    def example_block(self) -> Block:
        """Returns a block with the shapes of all blocks."""
        return self.block(0, 1)

    def block(self, step: int, num_steps: int) -> Block:
        """Returns the data of steps [step, step + num_steps)."""
        some = [self._order.indices(step + i) for i in range(num_steps)]
        indices = np.zeros((self.max_steps, *some[0].shape), np.int32)
        indices[:num_steps] = some
        return Block(self._examples, placement.shard(indices.swapaxes(0, 1)), num_steps)


class StreamedFeed:
    """Batches read in the background by Grain, as many steps ahead as fit in a block."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._first_batch = self._order.read(0)
        one_batch = sum(rows.nbytes for rows in self._first_batch.values())
        self.max_steps = max(1, min(dispatch.max_steps_per_dispatch(), _BLOCK_BYTES // one_batch))
        shape = (self.max_steps, *self._order.indices(0).shape[1:])
        in_order = np.arange(np.prod(shape), dtype=np.int32).reshape(shape)
        self._indices = placement.replicate(in_order)
        self._next_step = -1
        self._batches: Iterator[Any] = iter(())

    def example_block(self) -> Block:
        """Returns a block with the shapes of all blocks; does not start the stream."""
        return self._assemble([self._first_batch])

    def block(self, step: int, num_steps: int) -> Block:
        """Returns the data of steps [step, step + num_steps)."""
        if step != self._next_step:
            self._batches = self._open(step)
        self._next_step = step + num_steps
        return self._assemble([next(self._batches) for _ in range(num_steps)])

    def _assemble(self, batches: Sequence[HostBatch]) -> Block:
        """Places batches on the devices, padded to `max_steps`."""
        examples = {}
        for name, first in batches[0].items():
            devices, per_device, *shape = first.shape
            rows = np.zeros((devices, self.max_steps, per_device, *shape), first.dtype)
            for i, batch in enumerate(batches):
                rows[:, i] = batch[name]
            examples[name] = rows.reshape(devices, self.max_steps * per_device, *shape)
        return Block(placement.shard(examples), self._indices, len(batches))

    def _open(self, step: int) -> Iterator[HostBatch]:
        """Returns an endless stream that starts at a step."""
        return iter(
            grain.MapDataset.range(step, 2**62)
            .map(self._order.read)
            .to_iter_dataset(grain.ReadOptions(_READ_THREADS, max(_READ_AHEAD, self.max_steps)))
        )


def open_feed(
    data: DataSettings, prepared: Prepared, batches: Batches, seeds: Sequence[int]
) -> Feed:
    """Returns the feed of the training split: resident if it fits, else streamed.

    Raises:
      UserError: classes are to be balanced, but there is one.
    """
    split = prepared.splits["train"]
    if data.balance and len(set(split.labels)) < 2:
        raise UserError(
            "config.data.balance is on, but all training images are of one class; set it to False."
        )
    order = Order(split, batches, seeds, shuffle=data.shuffle, balance=data.balance)
    if fits_on_device(order.split, data.resident_limit_mb):
        return ResidentFeed(order)
    log.info("streaming %s, which is larger than config.data.resident_limit_mb", prepared.card.name)
    return StreamedFeed(order)


def fits_on_device(split: Split, limit_mb: int) -> bool:
    """Returns whether a split is small enough to be held on every device."""
    needed = sum(rows.nbytes for rows in split.read([0]).values()) * len(split)
    return bool(needed <= limit_mb * 2**20)


def evaluation_batches(split: Split, batch_size: int) -> Iterator[Batch]:
    """Yields all examples once, on the devices, in order: [devices, batch, ...].

    The last batch is padded, and `valid` is False on padding.
    """
    local = processes.local_batch_size(batch_size)
    for start in range(0, len(split), batch_size):
        mine = start + jax.process_index() * local + np.arange(local)
        batch = split.read(np.minimum(mine, len(split) - 1).tolist())
        batch["valid"] = mine < len(split)
        devices = jax.local_device_count()
        yield placement.shard(
            {name: rows.reshape(devices, -1, *rows.shape[1:]) for name, rows in batch.items()}
        )
