"""Times a step of several seeds in one program (`train.replicas`) beside a step of one alone.

    python bench/replicas.py [--counts=1,4,8] [--configs=dense_gan_mnist,dcgan_chest_xray]

Prints one table: milliseconds of a step, medians of turns in one process, and how many steps of one
seed each takes. Phantoms are the data. Below the number of seeds, replicas are faster than runs one
after the other.
"""

import argparse
import importlib
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import jax
from ours import Training

from common.data.prepared.prepared import prepare

_TURNS = 7
_SECONDS = 1.0  # of a turn, at least


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", default="1,4,8")
    parser.add_argument("--configs", default="dense_gan_mnist,dcgan_chest_xray")
    chosen = parser.parse_args()
    counts = [int(count) for count in chosen.counts.split(",")]
    device = jax.devices()[0]
    print(f"{jax.device_count()} x {device.device_kind}, JAX {jax.__version__}")
    print(f"{'config':24}" + "".join(f"{f'{count} seeds':>24}" for count in counts))
    for name in chosen.configs.split(","):
        measure(name, counts)


def measure(name: str, counts: Sequence[int]) -> None:
    """Prints one line of the table."""
    config = importlib.import_module(f"configs.{name}").get_config().unlock()
    prepared = prepare(config.data)
    trainings = []
    for count in counts:
        config.train.replicas = count
        trainings.append(Training(config, prepared))
    steps = [_steps_of_a_turn(training) for training in trainings]
    seconds: list[list[float]] = [[] for _ in counts]
    for _ in range(_TURNS):
        for training, num_steps, taken in zip(trainings, steps, seconds, strict=True):
            taken.append(_time(training, num_steps) / num_steps)
    medians = [statistics.median(taken) for taken in seconds]
    cells = [f"{1e3 * own:.4g} ms ({own / medians[0]:.2f})" for own in medians]
    print(f"{name:24}" + "".join(f"{cell:>24}" for cell in cells), flush=True)


def _steps_of_a_turn(training: Training) -> int:
    """Returns how many steps take a second; they are a warm-up, too."""
    num_steps = 1
    while (taken := _time(training, num_steps)) < _SECONDS / 2:
        num_steps *= 2
    return max(1, round(num_steps * _SECONDS / taken))


def _time(training: Training, num_steps: int) -> float:
    started = time.perf_counter()
    training.run(num_steps)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
