"""Times VGG16, forward and fine-tuning of all layers, against PyTorch's same network.

    python bench/classification.py [--size=224] [--batch=16] [--steps=1] [--rounds=3]

Grey images, a dense layer over the maps' mean, cross-entropy, Adam, float32, the CPU. PyTorch runs
in several ways, of which the fastest counts in each row. Prints one table; none when the logits
differ. A ratio compares two neighbouring rounds.

With --rounds=2 on two cores of an Intel Xeon (Sapphire Rapids), alone (2026-11-26, JAX 0.10.2,
PyTorch 2.13):

| VGG16 224x224, batch 16 | this project | PyTorch |
| --- | --- | --- |
| forward, images per second | 6.89 (6.73..7.04) | 11.3 (11.3..11.3), torch.compile |
| **times as fast** | **0.61 (0.597..0.622)** | 1 |
| fine-tuning, images per second | 1.92 (1.91..1.92) | 3.37 (3.28..3.47), channels_last |
| **times as fast** | **0.568 (0.55..0.587)** | 1 |
"""

import argparse
import importlib.util
import os
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from acgan_ours import Ours, software
from frame import Spent, circumstances, end, interleave, positive, say, spread, table
from ml_collections import ConfigDict

from classify.inference import Inference
from classify.state import make_classifier
from classify.task import make_task
from common.data.prepared import prepare
from common.huge_pages import restart_with_huge_pages
from configs.vgg16_covid import get_config

_MOST_DIFFERENT = 1e-4  # of the largest logit


def main() -> None:
    """Measures and prints the table."""
    flags = _parse()
    restart_with_huge_pages()  # as launch.py does; PyTorch, in the same process, has them too
    if not importlib.util.find_spec("torch"):
        end("torch cannot be found: pip install --editable '.[bench]'", 2)
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_compilation_cache", False)
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    with tempfile.TemporaryDirectory(prefix="triptych-vgg16-") as scratch:
        print(measure(flags, Path(scratch)))


def settings(size: int, batch: int, cache: Path) -> ConfigDict:
    """Returns the experiment: all layers of VGG16 learn, and one over their maps' mean."""
    config = get_config()
    config.data.update(image_size=size, batch_size=batch, num_phantoms=2 * batch)
    config.data.cache_dir = str(cache)
    config.model.network.update(hidden=(), pooled=True)
    config.optimizer.update(accumulate=1, learning_rate=1e-5)
    return config


def measure(flags: argparse.Namespace, scratch: Path) -> str:
    """Returns the table."""
    from classification_torch import VARIANTS, TorchFineTuning
    from classification_torch import software as software_of_theirs

    load = os.getloadavg()[0]
    config = settings(flags.size, flags.batch, scratch)
    prepared = prepare(config.data)
    examples = prepared.splits["train"].read(range(flags.batch))
    state = make_task(config, prepared.card).init(jax.random.key(config.seed))
    inference = Inference(make_classifier(config, prepared.card), state.average, flags.batch)
    say("compiling")
    ours = Ours(config, prepared)
    theirs: dict[str, Any] = {
        variant: TorchFineTuning(
            state.network.params, examples["image"], examples["label"], variant
        )
        for variant in VARIANTS
    }
    expected = inference.logits(examples["image"])
    for variant, contender in theirs.items():
        difference = float(np.abs(contender.logits() - expected).max() / np.abs(expected).max())
        say(f"{variant}: logits differ by {difference:.1e}")
        if difference > _MOST_DIFFERENT:
            end(f"Not the same function: logits differ by {difference:.1e}.", 1)

    def forward(times: int) -> None:
        for _ in range(times):
            inference.logits(examples["image"])

    rows: list[tuple[str, ...]] = [
        (f"VGG16 {flags.size}x{flags.size}, batch {flags.batch}", "this project", "PyTorch"),
        ("software", software(), software_of_theirs()),
    ]
    rows += compare("forward", forward, {v: t.forward for v, t in theirs.items()}, flags)
    rows += compare("fine-tuning", ours.run, {v: t.update for v, t in theirs.items()}, flags)
    return table([*rows, *circumstances(load)])


def compare(
    what: str,
    ours: Callable[[int], None],
    theirs: dict[str, Callable[[int], None]],
    flags: argparse.Namespace,
) -> list[tuple[str, ...]]:
    """Lets all take turns; returns the rows of ours beside the fastest of theirs."""
    for run in (ours, *theirs.values()):
        run(1)  # compiles, and fills the caches
    say(f"{what}: all have made a step")
    spent = interleave([ours, *theirs.values()], flags.steps, flags.rounds)
    mine, others = spent[0], dict(zip(theirs, spent[1:], strict=True))
    for name, rounds in others.items():
        say(f"{what}, {name}: {spread([each.wall for each in rounds])} ms")

    def median(name: str) -> float:
        return statistics.median(each.wall for each in others[name])

    best = min(others, key=median)

    def rate(rounds: list[Spent]) -> str:
        return spread([1e3 * flags.batch / each.wall for each in rounds])

    pairs = list(zip(mine, others[best], strict=True))
    return [
        (f"{what}, images per second", rate(mine), f"{rate(others[best])}, {best}"),
        ("**times as fast**", f"**{spread([t.wall / o.wall for o, t in pairs])}**", "1"),
        ("times less processor time", spread([t.cpu / o.cpu for o, t in pairs]), "1"),
    ]


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--size", type=positive, default=224)
    parser.add_argument("--batch", type=positive, default=16)
    parser.add_argument("--steps", type=positive, default=1, help="of each round")
    parser.add_argument("--rounds", type=positive, default=3)
    return parser.parse_args()


if __name__ == "__main__":
    main()
