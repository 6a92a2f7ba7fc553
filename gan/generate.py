"""--mode=generate: images of chosen classes as PNG files, with a table of what they are."""

import csv
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int32

from common.data.transforms import from_signed_unit
from common.errors import UserError
from common.log import log
from common.report.deep import rescaling, to_stored, write_deep
from common.report.images import Picture, grid, titled, write_picture, zoom_for
from common.training.task import Options
from common.training.workdir import Run
from gan.sampling import Sampler
from gan.state import Variables, init_state, make_gan

_BATCH = 64
_ESTIMATION_BATCHES = 16
_GRID_COLUMNS = 10
_GRID_ROWS = 10

Numbers = Int32[np.ndarray, " n"]


def generate(run: Run, options: Options) -> None:
    """Writes OUTPUT/LABEL/000000.png ..., grid.png and labels.csv.

    With 16 bits the pixels are values of the source's own range (common/report/deep.py).

    The image LABEL/i.png is a function of (checkpoint, seed, i, label) alone, however many are
    asked for; i of one class and i of another share their latent. Without a label the classes take
    turns.

    Raises:
      UserError: an unknown label, an output folder in use, or a run without a checkpoint.
    """
    classes = run.card.classes
    if options.output is None:
        raise UserError("--mode=generate needs --output=DIR, the folder to write to.")
    if options.num_images < 1:
        raise UserError(f"--num_images is {options.num_images}; it must be at least 1.")
    if options.label and options.label not in classes:
        raise UserError(f"--label={options.label} is unknown; it is one of {', '.join(classes)}.")
    if options.bits == 16:
        _check_depth(run)
    chosen = [classes.index(options.label)] if options.label else list(range(len(classes)))
    sampler, variables = _load(run)
    _make_output(options.output, run, options.overwrite)
    numbers, turn = np.divmod(np.arange(options.num_images, dtype=np.int32), len(chosen))
    labels = np.array(chosen, np.int32)[turn]
    files = [f"{classes[label]}/{i:06d}.png" for i, label in zip(numbers, labels, strict=True)]
    shown: dict[int, list[Picture]] = {label: [] for label in chosen}
    with ThreadPoolExecutor() as pool:  # Pillow releases the GIL while it compresses
        for start in range(0, options.num_images, _BATCH):
            part = slice(start, start + _BATCH)
            values = _draw(sampler, variables, options.seed, numbers[part], labels[part])
            images = np.asarray(from_signed_unit(jnp.asarray(values)))
            paths = [options.output / name for name in files[part]]
            if options.bits == 16:
                stored = to_stored(values, run.card.window)
                list(pool.map(partial(write_deep, window=run.card.window), paths, stored))
            else:
                list(pool.map(write_picture, paths, images))
            for image, label in zip(images, labels[part], strict=True):
                if len(shown[label]) < _GRID_COLUMNS:
                    shown[label].append(image)
    with (options.output / "labels.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["file", "label"])
        table.writerows((name, name.split("/")[0]) for name in files)
    _write_grid(options.output / "grid.png", shown, run)
    print(f"{options.num_images} images, labels.csv and grid.png are in {options.output}")
    if options.bits == 16:
        slope, intercept = rescaling(run.card.window)
        print(f"In the source's units a pixel is {slope:g} * stored {intercept:+g}.")


def _check_depth(run: Run) -> None:
    """Refuses 16 bits where the source's own range is not known."""
    if run.card.channels != 1:
        raise UserError("--bits=16 is for grey images; the run has 3 channels.")
    if not run.card.window:
        raise UserError(
            "--bits=16 writes in the source's range, but each of its files had its own; train with"
            " one for all, as in --config.data.window=-1000,400"
        )


def _load(run: Run) -> tuple[Sampler, Variables]:
    """Restores the best checkpoint, or the newest, and estimates its running statistics."""
    gan = make_gan(run.config, run.card)
    sampler = Sampler(gan)
    like = jax.eval_shape(lambda: init_state(gan, run.card, jax.random.key(0)))
    with run.checkpoints() as checkpoints:
        step = checkpoints.best_step()
        if step is None:
            raise UserError(f"{run.workdir} has no checkpoint yet; train it first.")
        state = checkpoints.restore(step, like)
    log.info("drawing from step %d of %s", step, run.workdir)
    if run.card.synthetic:
        log.warning("This generator was trained on %s.", run.card.caption)
    statistics = sampler.batch_stats(
        state.average, state.generator.batch_stats, _ESTIMATION_BATCHES
    )
    return sampler, {"params": state.average, "batch_stats": statistics}


def _make_output(output: Path, run: Run, overwrite: bool) -> None:
    """Makes the output folder; of one in use, only what this mode wrote is replaced, when told."""
    if output.exists() and not output.is_dir():
        raise UserError(f"--output={output} is a file; name a folder.")
    if output.exists() and any(output.iterdir()):
        if not overwrite:
            raise UserError(f"--output={output} is not empty; name another or add --overwrite.")
        for label in run.card.classes:
            for file in (output / label).glob("[0-9]*.png"):
                file.unlink()
    try:
        output.mkdir(parents=True, exist_ok=True)
        for label in run.card.classes:
            (output / label).mkdir(exist_ok=True)
    except OSError as error:
        raise UserError(f"--output={output} cannot be written: {error.strerror}.") from error


def _draw(
    sampler: Sampler, variables: Variables, seed: int, numbers: Numbers, labels: Numbers
) -> Float[np.ndarray, "batch height width channels"]:
    """Draws a batch in [-1, 1]; the last one is filled up, so that one program draws them all."""
    count = len(numbers)
    latents = sampler.latents(seed, jnp.asarray(np.resize(numbers, _BATCH)))
    values = sampler.values(variables, latents, jnp.asarray(np.resize(labels, _BATCH)))
    return np.asarray(values)[:count]


def _write_grid(file: Path, shown: dict[int, list[Picture]], run: Run) -> None:
    """Writes a row of images for each of the first classes."""
    rows = {label: images for label, images in shown.items() if images}
    rows = dict(list(rows.items())[:_GRID_ROWS])
    blank = np.full_like(next(iter(rows.values()))[0], 255)
    width = max(map(len, rows.values()))
    images = [np.stack(row + [blank] * (width - len(row))) for row in rows.values()]
    names = " / ".join(run.card.classes[label] for label in rows)
    picture = grid(np.stack(images), zoom_for(run.card.image_size))
    write_picture(file, titled(picture, f"generated: {names}; trained on {run.card.caption}"))
