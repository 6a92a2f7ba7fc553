"""The feed: prepared examples -> blocks of batches on the devices.

A small set lives on the devices whole and a step picks its rows there; a larger one is streamed by
Grain in the background. Both give the same batches in the same order, from any step on.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import grain
import jax
import numpy as np
from jaxtyping import Int, Shaped
from ml_collections import ConfigDict

from common.data.order import batch_indices
from common.data.prepared import DataCard, Prepared, Split
from common.log import log
from common.training import parallel
from common.training.parallel import Block
from common.training.task import Batch

_BLOCK_BYTES = 64 * 2**20  # a streamed block is no larger than this, or one batch
# One thread reads as fast from the system's cache; four wait for a cold disk at the same time.
# Processes would take seconds to start and read more slowly (bench/streaming.py).
_READ_THREADS = 4
_READ_AHEAD = 8  # batches, at least

HostBatch = dict[str, Shaped[np.ndarray, "batch ..."]]


@runtime_checkable
class Feed(Protocol):
    """Where the loop gets its data from."""

    max_steps: int

    def example_block(self) -> Block:
        """Returns a block of the shapes that all have, to compile for."""
        ...

    def block(self, step: int, num_steps: int) -> Block:
        """Returns the data of steps [step, step + num_steps), num_steps <= max_steps."""
        ...


class _Stream:
    """This process's rows of the global batch of any step: a pure function of (seed, step)."""

    def __init__(self, config: ConfigDict, split: Split) -> None:
        self.split = split
        self.local_batch = parallel.local_batch_size(config.data.batch_size)
        self._batch_size, self._shuffle = config.data.batch_size, config.data.shuffle
        self._seed = config.seed

    def indices(self, step: int) -> Int[np.ndarray, " local_batch"]:
        """Returns the examples of one step that this process trains on."""
        first = jax.process_index() * self.local_batch
        every = batch_indices(step, self._batch_size, self._seed, len(self.split), self._shuffle)
        return every[first : first + self.local_batch]

    def read(self, step: int) -> HostBatch:
        """Reads those examples."""
        return self.split.read(self.indices(step).tolist())


class ResidentFeed:
    """All examples on every device; only indices travel."""

    def __init__(self, config: ConfigDict, split: Split) -> None:
        self.max_steps = parallel.max_steps_per_dispatch()
        self._stream = _Stream(config, split)
        self._examples = parallel.replicate(split.read(range(len(split))))

    def example_block(self) -> Block:
        """Returns a block of the shapes that all have."""
        return self.block(0, 1)

    def block(self, step: int, num_steps: int) -> Block:
        """Returns the data of steps [step, step + num_steps)."""
        indices = np.zeros((self.max_steps, self._stream.local_batch), np.int32)
        for i in range(num_steps):
            indices[i] = self._stream.indices(step + i)
        devices = jax.local_device_count()
        spread = indices.reshape(self.max_steps, devices, -1).swapaxes(0, 1)
        return Block(self._examples, parallel.shard(spread), num_steps)


class StreamedFeed:
    """Batches read in the background by Grain, as many steps ahead as fit in a block."""

    def __init__(self, config: ConfigDict, split: Split) -> None:
        self._stream = _Stream(config, split)
        self._first_batch = self._stream.read(0)
        one_batch = sum(rows.nbytes for rows in self._first_batch.values())
        self.max_steps = max(1, min(parallel.max_steps_per_dispatch(), _BLOCK_BYTES // one_batch))
        rows = np.arange(self.max_steps * self._stream.local_batch // jax.local_device_count())
        in_order = rows.astype(np.int32).reshape(self.max_steps, -1)
        self._indices = parallel.replicate(in_order)
        self._next_step = -1
        self._batches: Iterator[Any] = iter(())

    def example_block(self) -> Block:
        """Returns a block of the shapes that all have; the stream does not start for it."""
        return self._assemble([self._first_batch])

    def block(self, step: int, num_steps: int) -> Block:
        """Returns the data of steps [step, step + num_steps)."""
        if step != self._next_step:
            self._batches = self._open(step)
        self._next_step = step + num_steps
        return self._assemble([next(self._batches) for _ in range(num_steps)])

    def _assemble(self, batches: Sequence[HostBatch]) -> Block:
        """Puts batches on the devices, filled up to `max_steps`."""
        devices, steps = jax.local_device_count(), self.max_steps
        per_device = self._stream.local_batch // devices
        examples = {}
        for name, first in batches[0].items():
            rows = np.zeros((devices, steps, per_device, *first.shape[1:]), first.dtype)
            for i, batch in enumerate(batches):
                rows[:, i] = batch[name].reshape(devices, per_device, *first.shape[1:])
            examples[name] = rows.reshape(devices, steps * per_device, *first.shape[1:])
        return Block(parallel.shard(examples), self._indices, len(batches))

    def _open(self, step: int) -> Iterator[HostBatch]:
        """Starts reading at a step; the stream has no end."""
        return iter(
            grain.MapDataset.range(step, 2**62)
            .map(self._stream.read)
            .to_iter_dataset(grain.ReadOptions(_READ_THREADS, max(_READ_AHEAD, self.max_steps)))
        )


def open_feed(config: ConfigDict, prepared: Prepared) -> Feed:
    """Returns the feed of the training split: resident when it fits, else streamed."""
    split, card = prepared.splits["train"], prepared.card
    if fits_on_device(config, card, "train"):
        return ResidentFeed(config, split)
    log.info("streaming %s: it is larger than config.data.resident_limit_mb", card.name)
    return StreamedFeed(config, split)


def fits_on_device(config: ConfigDict, card: DataCard, split: str) -> bool:
    """Says whether a split is small enough to live on every device."""
    needed = card.example_bytes * card.num_examples[split]
    return bool(needed <= config.data.resident_limit_mb * 2**20)


def evaluation_batches(split: Split, batch_size: int) -> Iterator[Batch]:
    """Yields all examples once, on the devices, in order: [devices, batch, ...].

    The last batch is filled up, and `valid` is False on what fills it.
    """
    local = parallel.local_batch_size(batch_size)
    for start in range(0, len(split), batch_size):
        mine = start + jax.process_index() * local + np.arange(local)
        batch = split.read(np.minimum(mine, len(split) - 1).tolist())
        batch["valid"] = mine < len(split)
        devices = jax.local_device_count()
        yield parallel.shard(
            {name: rows.reshape(devices, -1, *rows.shape[1:]) for name, rows in batch.items()}
        )
