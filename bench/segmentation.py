"""Times --mode=predict of the U-Net over a folder of slices against PyTorch's same network.

    python bench/segmentation.py [--slices=1000] [--rounds=3] [--variant=NCHW] [--workers=0]

Both read PNG files of 128x128x3, segment them in batches of 16 on the CPU and write a PNG mask of
each, with the same weights; ours starts and compiles within its time. Prints one table; none when
the masks differ. A ratio compares two neighbouring rounds.

With --rounds=2 on two cores of an AMD EPYC, nearly alone (2026-11-24, JAX 0.10.2, PyTorch 2.13):

| U-Net 128x128x3, 1000 slices to masks | this project | PyTorch |
| --- | --- | --- |
| slices per second, median (range), rounds: 2 | 36.7 (36.7..36.7) | 41.9 (39.9..43.8) |
| **times as fast** | **0.879 (0.837..0.921)** | 1 |
| times less processor time | 1.13 (1.1..1.16) | 1 |
| share of pixels of another class, same weights | 1e-06 |  |
"""

import argparse
import importlib.util
import os
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from acgan_ours import software
from frame import circumstances, end, interleave, positive, say, spread, table
from PIL import Image

from common.data.phantoms import brain_mri
from common.huge_pages import restart_with_huge_pages
from common.options import Options
from common.training.train import train
from common.training.workdir import Run, open_run
from configs.unet_brain_mri import get_config
from unet.predict import predict
from unet.segment import BATCH
from unet.state import init_state, make_segmenter

SIZE = 128
_DRAWN = 100  # different slices; the folder repeats them
_MOST_DIFFERENT = 1e-3  # of the pixels; probabilities may differ in the last bits at the threshold


def main() -> None:
    """Measures and prints the table."""
    flags = _parse()
    restart_with_huge_pages()  # as launch.py does; PyTorch, in the same process, has them too
    if not importlib.util.find_spec("torch"):
        end("torch cannot be found: pip install --editable '.[bench]'", 2)
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_compilation_cache", False)
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    with tempfile.TemporaryDirectory(prefix="triptych-unet-") as scratch:
        print(measure(flags, Path(scratch)))


def measure(flags: argparse.Namespace, scratch: Path) -> str:
    """Returns the table."""
    from segmentation_torch import software as software_of_theirs

    load = os.getloadavg()[0]
    files = draw_slices(scratch / "slices", flags.slices)
    run = briefly_trained(scratch / "run")
    say("a network has been trained for two steps")
    ours = partial(predict_ours, run, scratch / "slices", scratch / "ours")
    theirs = start_theirs(run, files, scratch / "theirs", flags.variant, flags.workers)
    for contender in (ours, theirs):
        contender(1)
    different = share_of_different_pixels(scratch / "ours", scratch / "theirs", files)
    say(f"share of pixels that differ: {different:.1e}")
    if different > _MOST_DIFFERENT:
        end(f"Not the same function: {different:.1%} of the pixels have another class.", 1)
    spent = interleave([ours, theirs], 1, flags.rounds)
    rates = [[1e3 * flags.slices / each.wall for each in rounds] for rounds in spent]
    pairs = list(zip(*spent, strict=True))
    rows: list[tuple[str, ...]] = [
        (f"U-Net {SIZE}x{SIZE}x3, {flags.slices} slices to masks", "this project", "PyTorch"),
        (
            "software",
            software(),
            f"{software_of_theirs()}, {flags.variant}, {flags.workers} workers",
        ),
        (f"slices per second, median (range), rounds: {flags.rounds}", *map(spread, rates)),
        ("**times as fast**", f"**{spread([t.wall / o.wall for o, t in pairs])}**", "1"),
        ("times less processor time", spread([t.cpu / o.cpu for o, t in pairs]), "1"),
        ("share of pixels of another class, same weights", f"{different:.0e}", ""),
        *circumstances(load),
    ]
    return table(rows)


def draw_slices(folder: Path, count: int) -> list[Path]:
    """Draws slices into a folder; returns the files."""
    folder.mkdir()
    images = brain_mri(0, min(count, _DRAWN), SIZE).images
    files = [folder / f"{number:05d}.png" for number in range(count)]
    for number, file in enumerate(files):
        Image.fromarray(images[number % len(images)]).save(file)
    return files


def briefly_trained(workdir: Path) -> Run:
    """Trains the original's U-Net for two steps; returns the run."""
    config = get_config()
    config.data.update(num_phantoms=16, cache_dir=str(workdir.parent / "cache"))
    config.train.update(num_steps="2", eval_every="2", checkpoint_every="2", picture_every="0")
    train(config, workdir)
    return open_run(workdir)


def predict_ours(run: Run, images: Path, output: Path, times: int) -> None:
    """Runs --mode=predict."""
    for _ in range(times):
        predict(run, Options(input=str(images), output=str(output), overwrite=True, threshold=0.5))


def start_theirs(
    run: Run, files: list[Path], output: Path, variant: str, workers: int
) -> Callable[[int], None]:
    """Returns PyTorch's loop over the same files with the same weights."""
    import torch
    from segmentation_torch import TorchUNet, copy_weights, predict_folder

    segmenter = make_segmenter(run.config, run.card)
    like = jax.eval_shape(lambda: init_state(segmenter, run.card, jax.random.key(0)))
    _, state = run.best_state(like)
    model = run.config.model
    network: Any = TorchUNet(run.card.channels, 1, model.width, model.depth, model.epsilon)
    copy_weights(state.average, network)
    network.eval()
    if variant == "channels_last":
        network.to(memory_format=torch.channels_last)
    output.mkdir()

    def repeat(times: int) -> None:
        for _ in range(times):
            started = time.perf_counter()
            predict_folder(network, files, output, BATCH, workers)
            say(f"PyTorch: {len(files) / (time.perf_counter() - started):.1f} images/s")

    return repeat


def share_of_different_pixels(ours: Path, theirs: Path, files: list[Path]) -> float:
    """Compares all masks.

    Raises:
      ValueError: the masks are of one class, and nothing was compared.
    """
    differing, present = [], set()
    for file in files:
        with Image.open(ours / file.name) as one, Image.open(theirs / file.name) as other:
            left, right = np.array(one), np.array(other)
        differing.append((left != right).mean())
        present |= set(np.unique(right).tolist())
    if present != {0, 255}:
        raise ValueError(f"all pixels of all masks are {present}; nothing was compared")
    return float(np.mean(differing))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--slices", type=positive, default=1000)
    parser.add_argument("--rounds", type=positive, default=3)
    parser.add_argument("--variant", default="NCHW", choices=("NCHW", "channels_last"))
    parser.add_argument("--workers", type=int, default=0, help="processes that read for PyTorch")
    return parser.parse_args()


if __name__ == "__main__":
    main()
