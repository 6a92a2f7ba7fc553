"""Measures the speed and memory of streaming a prepared set.

    python bench/streaming.py [--num=100000] [--seconds=3]

Prepares sets of random images in a temporary cache and prints one table: images/s, medians of
three. "TFDS" reads batches with TFDS's own data source, "ours" the same ones with `Split.read`;
threads and processes are Grain's, around ours; "feed" is all that the loop waits for,
`StreamedFeed.block`, with the batch on the device. "waits" is the share of the time in which a
device that takes 5 ms per step has no data. The memory of this process over several epochs is
printed below, without the system's file cache.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

import grain
import numpy as np
import psutil
import tensorflow_datasets as tfds
from absl import flags

from common.config.defaults import default_config
from common.data.prepared.preparation import EVERYTHING
from common.data.prepared.prepared import Split, prepare_source
from common.data.records import Contents, Decoded, Once, Record, Source, fingerprint
from common.training.clock import DeviceClock
from common.training.epochs import batch_indices
from common.training.feed import Order, StreamedFeed
from common.training.task import Batches

BATCH_SIZES = (32, 64, 128)
STEP_SECONDS = 0.005
REPEATS = 3
THREADS = (1, 2, 4)
PROCESSES = 2


class Reading:
    """A prepared set of random images; each process opens it when it first reads from it."""

    def __init__(self, num: int, size: int, cache: str, batch_size: int) -> None:
        self.num, self.size, self.cache, self.batch_size = num, size, cache, batch_size
        self.config = default_config()
        self.config.data.update(
            image_size=size, cache_dir=f"{cache}/{size}", batch_size=batch_size
        )  # a cache of its own
        self._opened: list[Any] = []

    def __reduce__(self) -> Any:
        return Reading, (self.num, self.size, self.cache, self.batch_size)

    def open(self) -> tuple[Split, Any]:
        """Returns the set as we open it and as TFDS does; the first call prepares it."""
        if not self._opened:
            prepared = prepare_source(noise(self.num, self.size), self.config.data)
            (folder,) = Path(self.config.data.cache_dir).glob("prepared/*")
            builder = tfds.builder_from_directory(str(folder))
            self._opened = [prepared.splits["train"], builder.as_data_source(split=EVERYTHING)]
        return self._opened[0], self._opened[1]

    @property
    def order(self) -> Order:
        """Returns the batches as training would read them."""
        return Order(self.open()[0], Batches(1, self.batch_size), [0], shuffle=True)

    def rows(self, step: int) -> list[int]:
        """Returns the examples of a step."""
        rows: list[int] = batch_indices(step, self.batch_size, 0, self.num, True).tolist()
        return rows

    def read(self, step: int) -> dict[str, np.ndarray]:
        """Reads them."""
        return self.open()[0].read(self.rows(step))

    def read_by_tfds(self, step: int) -> np.ndarray:
        """Reads them with TFDS."""
        examples = self.open()[1].__getitems__(self.rows(step))
        return np.stack([example["image"] for example in examples])


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--num", type=int, default=100_000, help="images of 64x64")
    parser.add_argument("--seconds", type=float, default=3.0, help="seconds per measurement")
    chosen = parser.parse_args()
    flags.FLAGS(["streaming"])  # Grain's processes require parsed flags
    names = [
        *("TFDS", "ours"),
        *(f"{threads} threads" for threads in THREADS),
        *(f"{PROCESSES} processes", "feed", "waits"),
    ]
    print(f"{'images':>18} {'batch':>6}" + "".join(f"{name:>12}" for name in names), flush=True)
    with tempfile.TemporaryDirectory(prefix="triptych-streaming-") as cache:
        for size, num in ((64, chosen.num), (256, chosen.num // 16)):
            for batch_size in BATCH_SIZES:
                reading = Reading(num, size, cache, batch_size)
                rates, waits = measure(reading, chosen.seconds)
                print(
                    f"{num:>10} {size:>3}x{size:<3} {batch_size:>6}"
                    + "".join(f"{rate:12,.0f}" for rate in rates)
                    + f"{waits:12.1%}",
                    flush=True,
                )
            print_memory(reading)


def noise(num: int, size: int) -> Source:
    """Returns a source of random images, which can't be compressed."""

    def draw(row: int) -> Decoded:
        numbers = np.random.default_rng(row)
        return Decoded.from_bytes(numbers.integers(0, 256, (size, size, 1), np.uint8), "noise")

    records = [Record(f"train/{row:06d}", row % 2, partial(draw, row)) for row in range(num)]
    contents = Contents(("A", "B"), {"train": records})
    return Source("noise", fingerprint("noise", num, size), True, Once(lambda: contents))


def measure(reading: Reading, seconds: float) -> tuple[list[float], float]:
    """Returns images/s of each way of reading, and the share of time a device would wait."""
    feed = StreamedFeed(reading.order)
    steps = grain.MapDataset.range(0, 2**62).map(reading.read)

    def threads(number: int) -> Iterator[Any]:
        return iter(steps.to_iter_dataset(grain.ReadOptions(number, 8)))

    def processes() -> Iterator[Any]:
        options = grain.MultiprocessingOptions(PROCESSES, 8)
        return iter(steps.to_iter_dataset(grain.ReadOptions(1, 8)).mp_prefetch(options))

    ways: list[Callable[[], Iterator[Any]]] = [
        lambda: map(reading.read_by_tfds, count()),
        lambda: map(reading.read, count()),
        *(partial(threads, number) for number in THREADS),
        processes,
        lambda: (feed.block(step, 1) for step in count()),
    ]
    # In turn, so that a noisy moment affects all of them.
    rates = [[batches_per_second(way(), seconds) for way in ways] for _ in range(REPEATS)]
    waits = median(share_of_waiting(feed, seconds) for _ in range(REPEATS))
    return [median(way) * reading.batch_size for way in zip(*rates, strict=True)], waits


def batches_per_second(batches: Iterator[Any], seconds: float) -> float:
    """Counts batches for a while, after the first ones."""
    for _ in range(16):
        next(batches)
    number, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        next(batches)
        number += 1
    return number / (time.perf_counter() - start)


def share_of_waiting(feed: StreamedFeed, seconds: float) -> float:
    """Feeds a device that only sleeps; returns the share of the time in which it has no data."""

    def work() -> float:
        time.sleep(STEP_SECONDS)
        return time.perf_counter()

    clock = DeviceClock(watch=lambda dispatch: dispatch)
    with ThreadPoolExecutor(1) as device:
        for step in range(round(seconds / STEP_SECONDS)):
            with clock.waiting_for_data():
                feed.block(step, 1)
            clock.before_dispatch()
            clock.after_dispatch(device.submit(work))
        clock.stop()
    return clock.data_wait_share


def print_memory(reading: Reading) -> None:
    """Prints the resident memory while five epochs are streamed."""
    process, feed = (
        psutil.Process(),
        StreamedFeed(reading.order),
    )
    steps = reading.num // reading.batch_size
    used = []
    for step in range(5 * steps + 1):
        feed.block(step, 1)
        if step % steps == 0:
            used.append(process.memory_info().rss // 2**20)
    print(f"{'MiB after each epoch':>25}" + "".join(f"{mib:12}" for mib in used), flush=True)


if __name__ == "__main__":
    main()
