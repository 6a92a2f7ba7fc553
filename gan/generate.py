"""--mode=generate: images of chosen classes as PNG files with a table, or walks between images."""

import csv
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from common.data.transforms import from_signed_unit
from common.errors import UserError
from common.log import log
from common.memory import give_back_freed_memory
from common.options import Options
from common.report.deep import rescaling, to_stored, write_deep
from common.report.images import Picture, grid, titled, write_picture, zoom_for
from common.training.evaluation import stored_value
from common.training.network import Variables
from common.training.workdir import Run
from gan.sampling import BATCH, Sampler
from gan.state import init_state, make_gan
from gan.walk import check_walk, write_walk

_ESTIMATION_BATCHES = 16
_GRID_COLUMNS = 10
_GRID_ROWS = 10
_NO_CLASS = "generated"  # the folder of images from a generator that draws no class on demand


def generate(run: Run, options: Options) -> None:
    """Writes OUTPUT/LABEL/000000.png ..., grid.png and labels.csv; with --walk, see gan/walk.py.

    With 16 bits the pixels are values of the source's own range (common/report/deep.py).

    The image LABEL/i.png is a function of (checkpoint, seed, truncation, i, label) alone, however
    many are asked for; i of one class and i of another share their latent. Without a label the
    classes take turns. A generator that draws no class on demand has the one label "generated".

    Of a generator that --mode=evaluate found to repeat training images it warns; with --strict it
    draws only from one that was found not to.

    Raises:
      UserError: an option that cannot be followed, an output folder in use, or a run without a
        checkpoint; with --strict, a generator that repeats training images, or may.
    """
    output = _check(run, options)
    gan = make_gan(run.config, run.card)
    if options.walk:
        check_walk(gan, run.card, options)
    labels = _chosen_labels(gan.conditional, run, options)
    if options.truncation and gan.latent != "normal":
        raise UserError(
            f"--truncation is for normal latents; this run's are {gan.latent}: leave it out."
        )
    sampler = Sampler(gan)
    trained = load_trained(run, sampler, options.truncation)
    if options.strict and options.truncation:
        raise UserError(
            "--strict rests on a verdict about images of latents that are not truncated; leave out"
            " --strict or --truncation."
        )
    _heed_verdict(run, trained.step, options.strict)
    variables = trained.generator
    names = run.card.classes if gan.conditional else (_NO_CLASS,)
    _make_output(output, () if options.walk else names, options.overwrite)
    if options.walk:
        write_walk(output, gan, sampler, variables, run.card, options)
    else:
        _write_images(output, run, options, sampler, variables, names, labels)


def _check(run: Run, options: Options) -> Path:
    """Refuses options that mean nothing; returns the output folder."""
    if not options.output:
        raise UserError("--mode=generate needs --output=DIR, the folder to write to.")
    if options.num_images < 1:
        raise UserError(f"--num_images is {options.num_images}; it must be at least 1.")
    if options.truncation < 0:
        raise UserError(f"--truncation is {options.truncation}; it must be 0 (off) or more.")
    if options.bits == 16:
        _check_depth(run)
    return Path(options.output)


def _chosen_labels(conditional: bool, run: Run, options: Options) -> list[int]:
    """Returns the classes to draw in turn."""
    classes = run.card.classes
    if not options.label:
        return list(range(len(classes))) if conditional else [0]
    if not conditional:
        raise UserError(
            f"--label={options.label}, but the network {run.config.model.name} draws no class on"
            " demand; leave the flag out, or train a conditional one such as acgan."
        )
    if options.walk == "classes":
        return [0]  # gan/walk.py has read the label
    if options.label not in classes:
        raise UserError(f"--label={options.label} is unknown; it is one of {', '.join(classes)}.")
    return [classes.index(options.label)]


def _check_depth(run: Run) -> None:
    """Refuses 16 bits where the source's own range is not known."""
    if run.card.channels != 1:
        raise UserError("--bits=16 is for grey images; the run has 3 channels.")
    if not run.card.window:
        raise UserError(
            "--bits=16 writes in the source's range, but each of its files had its own; train with"
            " one for all, as in --config.data.window=-1000,400"
        )


class Trained(NamedTuple):
    """How far a run was trained, and both networks' variables, the generator's for drawing."""

    step: int
    generator: Variables
    discriminator: Variables


def load_trained(run: Run, sampler: Sampler, truncation: float = 0.0) -> Trained:
    """Restores the best checkpoint, or the newest, and estimates the generator's statistics.

    Raises:
      UserError: there is none, or it does not fit the config.
    """
    like = jax.eval_shape(lambda: init_state(sampler.gan, run.card, jax.random.key(0)))
    step, state = run.best_state(like)
    log.info("drawing from step %d of %s", step, run.workdir)
    if run.card.synthetic:
        log.warning("This generator was trained on %s.", run.card.caption)
    statistics = sampler.kept_batch_stats(
        state.average,
        state.generator.batch_stats,
        _ESTIMATION_BATCHES,
        truncation,
        run.config.data.cache_dir,
    )
    give_back_freed_memory()
    drawing = {"params": state.average, "batch_stats": statistics}
    return Trained(step, drawing, state.discriminator.variables)


def _heed_verdict(run: Run, step: int, strict: bool) -> None:
    """Warns of a generator that was found to repeat training images; when strict, refuses it."""
    evaluated = f"python launch.py --mode=evaluate --workdir={run.workdir}"
    kinds = {"memorized": bool, "can_tell": bool, "verdict": str}
    memorized, can_tell, verdict = (
        stored_value(run, f"memorization.{name}", step, kind) for name, kind in kinds.items()
    )
    if strict and memorized is None:
        raise UserError(
            f"Nobody knows whether the generator of step {step} repeats training images; run"
            f" {evaluated}, or leave out --strict."
        )
    if strict and (memorized or not can_tell):
        raise UserError(f"{verdict} Leave out --strict to draw all the same.")
    if memorized:
        log.warning("%s", verdict)


def _make_output(output: Path, names: tuple[str, ...], overwrite: bool) -> None:
    """Makes the output folder; of one in use, only what this mode wrote is replaced, when told."""
    if output.exists() and not output.is_dir():
        raise UserError(f"--output={output} is a file; name a folder.")
    if output.exists() and any(output.iterdir()):
        if not overwrite:
            raise UserError(f"--output={output} is not empty; name another or add --overwrite.")
        for name in names:
            for file in (output / name).glob("[0-9]*.png"):
                file.unlink()
    try:
        output.mkdir(parents=True, exist_ok=True)
        for name in names:
            (output / name).mkdir(exist_ok=True)
    except OSError as error:
        raise UserError(f"--output={output} cannot be written: {error.strerror}.") from error


def _write_images(
    output: Path,
    run: Run,
    options: Options,
    sampler: Sampler,
    variables: Variables,
    names: tuple[str, ...],
    chosen: list[int],
) -> None:
    numbers, turn = np.divmod(np.arange(options.num_images, dtype=np.int32), len(chosen))
    labels = np.array(chosen, np.int32)[turn]
    files = [f"{names[label]}/{i:06d}.png" for i, label in zip(numbers, labels, strict=True)]
    shown: dict[str, list[Picture]] = {names[label]: [] for label in chosen}
    most = _GRID_COLUMNS * (1 if len(names) > 1 else _GRID_ROWS)
    window = run.card.window
    writing: list[Future[None]] = []
    with ThreadPoolExecutor() as pool:  # Pillow releases the GIL while it compresses
        for start in range(0, options.num_images, BATCH):
            part = slice(start, start + BATCH)
            latents = sampler.latents(
                options.seed, jnp.asarray(np.resize(numbers[part], BATCH)), options.truncation
            )[: len(numbers[part])]
            values = sampler.many_values(variables, latents, jnp.asarray(labels[part]))
            images = np.asarray(from_signed_unit(jnp.asarray(values)))
            for written in writing:  # the batch before
                written.result()
            write = partial(write_deep, window=window) if options.bits == 16 else write_picture
            pixels = to_stored(values, window) if options.bits == 16 else images
            writing = [
                pool.submit(write, output / name, image)
                for name, image in zip(files[part], pixels, strict=True)
            ]
            for image, label in zip(images, labels[part], strict=True):
                if len(shown[names[label]]) < most:
                    shown[names[label]].append(image)
        for written in writing:
            written.result()
    with (output / "labels.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["file", "label"])
        table.writerows((name, name.split("/")[0]) for name in files)
    _write_grid(output / "grid.png", shown, run)
    print(f"{options.num_images} images, labels.csv and grid.png are in {output}")
    if options.bits == 16:
        slope, intercept = rescaling(window)
        print(f"In the source's units a pixel is {slope:g} * stored {intercept:+g}.")


def _write_grid(file: Path, shown: dict[str, list[Picture]], run: Run) -> None:
    """Writes a row of images for each of the first classes; of one class, several rows."""
    named = {name: images for name, images in shown.items() if images}
    named = dict(list(named.items())[:_GRID_ROWS])
    blank = np.full_like(next(iter(named.values()))[0], 255)
    width = min(_GRID_COLUMNS, max(map(len, named.values())))
    rows = []
    for images in named.values():
        for start in range(0, len(images), width):
            row = images[start : start + width]
            rows.append(np.stack(row + [blank] * (width - len(row))))
    title = "generated" if list(named) == [_NO_CLASS] else f"generated: {' / '.join(named)}"
    title += f"; trained on {run.card.caption}"
    write_picture(file, titled(grid(np.stack(rows), zoom_for(run.card.image_size)), title))
