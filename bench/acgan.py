"""Times the AC-GAN here against the same one in Keras on TensorFlow, in turn, in one process.

    python bench/acgan.py [--steps=20] [--rounds=5] [--image_size=64] [--batch_size=32]

Prints one table; none when the two are not the same function of the same weights. Of Keras' two
ways, without XLA and with it, the faster in a short trial takes part. A ratio compares two
neighbouring rounds, so that a busy moment of the machine meets both. Processor time, of all cores
together, hardly feels it.

With --steps=20 --rounds=4 on two shared cores of an AMD EPYC with AVX-512, huge memory pages for
both (as `launch.py` sets them), 2026-11-22, JAX 0.10.2, Keras 3.15.1 on TensorFlow 2.21.0 with no
XLA:

| AC-GAN 64x64x1, batch 32 | this project | Keras |
| --- | --- | --- |
| ms per step, median (range) of 4 rounds of 20 steps | 234 (219..236) | 472 (454..539) |
| images per second at the median | 136.8 | 67.8 |
| **times as fast** | **2.09 (1.92..2.31)** | 1 |
| processor time, ms per step | 430 (402..434) | 884 (848..977) |
| times less processor time | 2.13 (1.95..2.27) | 1 |
| first step, with building and compiling, s | 13.5 | 4.4 |

Rounds of 5 steps gave 1.64 (1.39..2.17): the first step after the other's round is a slow one.
"""

import argparse
import contextlib
import importlib.util
import os
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from frame import (
    Contender,
    Row,
    Spent,
    circumstances,
    end,
    first_steps,
    interleave,
    positive,
    spread,
    table,
)

from common.huge_pages import restart_with_huge_pages

TOLERANCE = 1e-4
WARM_UP_STEPS = 2
TRIAL_STEPS, TRIAL_ROUNDS = 3, 2
# As the original descriptions count them, for one channel and two classes.
KNOWN_PARAMETERS = {64: (3_533_001, 128_643)}


def main() -> None:
    """Measures and prints the table."""
    flags = _parse()
    restart_with_huge_pages()  # as launch.py does; Keras, in the same process, has them too
    missing = [name for name in ("keras", "tensorflow") if not importlib.util.find_spec(name)]
    if missing:
        end(f"{' and '.join(missing)} cannot be found: pip install --editable '.[bench]'", 2)
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")  # both may use one accelerator
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    from common.errors import UserError

    try:
        print(measure(flags))
    except UserError as error:
        end(str(error), 2)


def measure(flags: argparse.Namespace) -> str:
    """Returns the table.

    Raises:
      UserError: a size that the networks or the devices cannot have.
    """
    from common.data.prepared import prepare
    from common.training import config as configs
    from configs.acgan_covid import get_config

    config, load = get_config(), os.getloadavg()[0]
    config.data.update(image_size=flags.image_size, batch_size=flags.batch_size)
    configs.check(config)
    prepared = prepare(config.data)
    same = _rows_of_sameness(flags.image_size, len(prepared.card.classes))
    ours = _start_ours(config, prepared)
    keras = {jit: _start_keras(config, prepared, jit) for jit in (False, True)}
    runs = [keras[jit].run for jit in keras]
    trial = [min(spent) for spent in interleave(runs, TRIAL_STEPS, TRIAL_ROUNDS)]
    theirs = keras[trial[1] < trial[0]]
    ours.run(WARM_UP_STEPS)
    theirs.run(WARM_UP_STEPS)
    spent = interleave([ours.run, theirs.run], flags.steps, flags.rounds)
    size = flags.image_size
    rows = [
        (f"AC-GAN {size}x{size}x1, batch {flags.batch_size}", "this project", "Keras"),
        ("software", ours.software, theirs.software),
        *_rows_of_times(spent, flags),
        ("first step, with building and compiling, s", *first_steps(ours, theirs)),
        ("trial without and with XLA, ms per step", "", " and ".join(_wall(trial))),
        *same,
        *circumstances(load),
    ]
    return table(rows)


def _start_ours(config: Any, prepared: Any) -> Contender:
    import jax
    from acgan_ours import Ours, software

    jax.config.update("jax_enable_compilation_cache", False)
    start = time.perf_counter()
    ours = Ours(config, prepared)
    ours.run(1)
    return Contender(software(), ours.run, time.perf_counter() - start)


def _start_keras(config: Any, prepared: Any, jit_compile: bool) -> Contender:
    from acgan_keras import KerasGAN, software

    train = prepared.splits["train"].read(range(len(prepared.splits["train"])))
    images, labels = train["image"].astype("float32") / 127.5 - 1, train["label"]
    latent_size, num_classes = config.model.generator.latent_size, len(prepared.card.classes)
    start = time.perf_counter()
    with _silence():
        keras = KerasGAN(
            images, labels, num_classes, latent_size, config.data.batch_size, jit_compile
        )
        keras.run(1)
    first_step = time.perf_counter() - start
    return Contender(f"{software()}, jit_compile={jit_compile}", keras.run, first_step)


def _rows_of_sameness(image_size: int, num_classes: int) -> list[Row]:
    """Compares the two and ends the program where they are not the same."""
    with _silence():
        from acgan_same import compare
    same = compare(image_size, channels=1, num_classes=num_classes)
    if same.difference > TOLERANCE:
        end(f"Not the same function: with the same weights they differ by {same.difference}.", 1)
    if same.parameters != KNOWN_PARAMETERS.get(image_size, same.parameters):
        end(f"Not the original networks: {same.parameters} parameters.", 1)
    counts = "{:,} + {:,}".format(*same.parameters)
    return [
        ("parameters, generator + discriminator", counts, counts),
        ("largest difference, same weights and inputs", f"{same.difference:.0e}", ""),
    ]


def _rows_of_times(spent: Sequence[Sequence[Spent]], flags: argparse.Namespace) -> list[Row]:
    """Returns medians over the rounds, and the ratios of each pair of rounds."""
    walls = [[each.wall for each in rounds] for rounds in spent]
    cpus = [[each.cpu for each in rounds] for rounds in spent]
    per_second = [f"{1e3 * flags.batch_size / statistics.median(wall):.1f}" for wall in walls]
    pairs = list(zip(*spent, strict=True))
    of_wall = spread([keras.wall / ours.wall for ours, keras in pairs], ".2f")
    of_cpu = spread([keras.cpu / ours.cpu for ours, keras in pairs], ".2f")
    rounds = f"median (range) of {flags.rounds} rounds of {flags.steps} steps"
    return [
        (f"ms per step, {rounds}", spread(walls[0], ".0f"), spread(walls[1], ".0f")),
        ("images per second at the median", per_second[0], per_second[1]),
        ("**times as fast**", f"**{of_wall}**", "1"),
        ("processor time, ms per step", spread(cpus[0], ".0f"), spread(cpus[1], ".0f")),
        ("times less processor time", of_cpu, "1"),
    ]


def _wall(rounds: Sequence[Spent]) -> list[str]:
    return [f"{spent.wall:.0f}" for spent in rounds]


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keeps standard error from TensorFlow's C++ remarks, which no setting turns off."""
    sys.stderr.flush()
    kept = os.dup(2)
    with Path(os.devnull).open("w") as nothing:
        os.dup2(nothing.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--steps", type=positive, default=20, help="in a round")
    parser.add_argument("--rounds", type=positive, default=5)
    parser.add_argument("--image_size", type=positive, default=64)
    parser.add_argument("--batch_size", type=positive, default=32)
    return parser.parse_args()


if __name__ == "__main__":
    main()
