"""A compiled program, and what its chip's published figures say about its time."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from common.devices.chips import Chip
from common.devices.exchanged import Exchange, total_sent

NUMBERS_OF_CHIPS = (1, 8, 64, 512)
_FEW = 0.1  # a share of a step's time in which chips may only exchange


@dataclass(frozen=True)
class Compiled:
    """A program as XLA compiled it for all chips together; numbers are those of one chip.

    Attributes:
      program: "train_step", "eval_step", "generate", ...
      hardware: "v5e:2x4".
      chips: how many.
      batch: examples that a chip takes in a step.
      seconds: that compiling took on this machine.
      arguments: bytes of what the program is given.
      temporaries: bytes that it needs beside, and of results that do not take an argument's place.
      code: bytes of the program.
      operations: of a call; `operations_by` says who counted them.
      traffic: bytes that a call reads and writes; NaN if the compiler does not say.
      operations_by: "XLA" for the compiled program, "XLA, before it compiles" for its plain form.
      exchanges: in a call.
    """

    program: str
    hardware: str
    chips: int
    batch: int
    seconds: float
    arguments: int
    temporaries: int
    code: int
    operations: float
    traffic: float
    operations_by: str
    exchanges: tuple[Exchange, ...]

    @property
    def memory(self) -> int:
        """Returns the bytes that it needs of a chip."""
        return self.arguments + self.temporaries + self.code


@dataclass(frozen=True)
class Bound:
    """The least time of a call, in seconds; nothing real is as fast.

    Attributes:
      computing: its operations at the highest published rate.
      memory: its bytes at the bandwidth of the memory; NaN if they are unknown.
      links: what a chip sends at the published rate, on so many chips.
    """

    computing: float
    memory: float
    links: float

    @property
    def of_chip(self) -> float:
        """Returns the longer of what one chip does by itself, which it does at the same time."""
        return max(self.computing, 0.0 if math.isnan(self.memory) else self.memory)

    @property
    def seconds(self) -> float:
        """Returns the time if nothing is computed during an exchange."""
        return self.of_chip + self.links

    @property
    def efficiency(self) -> float:
        """Returns the share of the time that is not spent on exchanges."""
        return self.of_chip / self.seconds if self.seconds else 1.0


def bound_of(compiled: Compiled, chip: Chip, dtype: str, chips: int) -> Bound:
    """Returns the least time on so many chips, each with the batch that was compiled."""
    return Bound(
        compiled.operations / chip.rate(dtype),
        compiled.traffic / chip.bandwidth,
        total_sent(compiled.exchanges, chips) / chip.links,
    )


def batch_for_few_exchanges(
    pair: Sequence[Compiled], chip: Chip, dtype: str, chips: int
) -> int | None:
    """Returns the batch of a chip from which on exchanges take less than a tenth of the time.

    What a chip does grows with its batch, along a straight line through two; what it sends does
    not. None if it does not grow.
    """
    small, large = sorted(pair, key=lambda one: one.batch)
    less, more = (bound_of(one, chip, dtype, chips) for one in (small, large))
    wanted = less.links * (1 - _FEW) / _FEW
    if less.of_chip >= wanted:
        return small.batch
    each = (more.of_chip - less.of_chip) / (large.batch - small.batch)
    if each <= 0:
        return None
    return small.batch + math.ceil((wanted - less.of_chip) / each)


def largest_batch(pair: Sequence[Compiled], chip: Chip) -> int | None:
    """Returns the largest batch of a chip that fits into its memory, as a power of two.

    The memory of two batches gives a straight line. 0 if the smaller one does not fit; None if the
    memory does not grow.
    """
    small, large = sorted(pair, key=lambda one: one.batch)
    if small.memory > chip.memory:
        return 0
    each = (large.memory - small.memory) / (large.batch - small.batch)
    if each <= 0:
        return None
    return int(2 ** math.floor(math.log2(small.batch + (chip.memory - small.memory) / each)))
