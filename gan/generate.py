"""--mode=generate: PNG images of chosen classes with a table, or walks between images."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from common.data.prepared.prepared import Prepared, prepare
from common.data.sources.listing import TABLE
from common.data.take import apart, parse_take
from common.data.transforms import from_signed_unit
from common.devices.apply import by_batches
from common.program.errors import RetrainError, UserError
from common.program.files import csv_line, write_atomically
from common.program.labels import folder_names
from common.program.log import log
from common.program.outputs import Outputs
from common.program.words import counted
from common.report.deep import rescaling, to_stored, write_deep
from common.report.images import Picture, grid, titled, write_picture, zoom_for
from common.runs.evaluation import stored_value
from common.runs.workdir import Run, check_data
from gan.config import GANModel, GANSettings
from gan.flags import GANOptions
from gan.networks import network_name
from gan.quality.features import default_extractors, make_extractors
from gan.quality.novelty import distance_test
from gan.quality.points import told
from gan.quality.reference import Images, reference_of
from gan.sampling import BATCH
from gan.selection import Drawing, kept_numbers
from gan.state import GAN, make_gan
from gan.trained import Point, Trained, load_trained
from gan.walk import FILES as WALK_FILES
from gan.walk import check_walk, write_walk

_GRID = "grid.png"
_GRID_COLUMNS, _GRID_ROWS = 10, 10
_NO_CLASS = "generated"  # the folder of an unconditional generator's images


def generate(run: Run, options: GANOptions) -> None:
    """Writes OUTPUT/LABEL/000000.png ..., grid.png and labels.csv; with --walk, see gan/walk.py.

    Of a GAN that draws images with their masks (`config.data.take=+mask`), it writes pairs as
    configs/unet.py reads them, OUTPUT/images/LABEL/000000.png and the same below OUTPUT/masks, and
    no table.

    With 16 bits the pixels are values of the source's own range (common/report/deep.py).

    The image LABEL/i.png is a function of (checkpoint, seed, truncation, i, label) alone, whatever
    the number of images; images i of all classes share their latent. Without a label the classes
    take turns. An unconditional generator has the one label "generated". With --reject and --novel,
    images are left out, and the others are numbered anew: see gan/selection.py.

    It warns of a generator that --mode=evaluate found to repeat training images; with --strict it
    draws only from one that was found not to.

    Raises:
      UserError: an option is invalid, the output folder is in use, or the run has no checkpoint;
        with --strict, the generator repeats training images, or may.
    """
    if not options.output:
        raise UserError("--mode=generate needs --output=DIR, the folder to write to.")
    gan, numbered = _chosen(run, options)
    names = run.card.classes if gan.conditional else (_NO_CLASS,)
    with _outputs(run, options) as outputs:
        if not options.overwrite and not outputs.is_empty():
            raise UserError(
                f"--output={outputs.folder} is not empty; name another or add --overwrite."
            )
        if options.walk:
            outputs.claim(dict.fromkeys(WALK_FILES, ""))
            drawing = _load_checked(run, gan, options).drawing(options.truncation)
            write_walk(outputs.drafts, gan, drawing, run.card, options)
        else:
            named = _claimed(outputs, run, numbered, names)
            _write_images(outputs, run, options, _drawn(run, options, gan, numbered), named)
    if options.walk:
        print(
            f"{counted(options.rows, 'walk')} of {options.frames} images each, in {outputs.folder}:"
            f" {' and '.join(WALK_FILES)}"
        )
    else:
        _print_summary(outputs.folder, run, options)


def generated(run: Run, options: GANOptions) -> UInt8[np.ndarray, "n height width channels"]:
    """Returns the images that `generate` writes with the same options, in the order of its table.

    Raises:
      UserError: an option is invalid or for files alone, or the run has no checkpoint.
    """
    drawn = _drawn(run, options, *_chosen(run, options))
    return np.concatenate([_pictured(values) for values in drawn])


class _Numbered(NamedTuple):
    """Images to draw: the number of each in its class, and its label."""

    numbers: Int[np.ndarray, " n"]
    labels: Int[np.ndarray, " n"]


def _chosen(run: Run, options: GANOptions) -> tuple[GAN, _Numbered]:
    """Returns what draws, and the first images of the chosen classes in turn.

    Raises:
      UserError: an option is invalid, or does not suit the run.
    """
    _check(run, options)
    gan = make_gan(GANSettings.of(run.config), run.card)
    if options.walk:
        check_walk(gan, run.card, options)
    chosen = _chosen_labels(gan.conditional, run, options)
    numbers, turn = np.divmod(np.arange(options.num_images, dtype=np.int32), len(chosen))
    return gan, _Numbered(numbers, np.array(chosen, np.int32)[turn])


def _check(run: Run, options: GANOptions) -> None:
    """Refuses invalid options."""
    unused = ["num_images", "reject", "novel"] if options.walk else ["rows", "frames", "axis"]
    if options.walk and options.walk != "axes":
        unused.append("axis")
    for name in unused:
        if getattr(options, name) != getattr(GANOptions(), name):
            what = f"with --walk={options.walk}" if options.walk else "without --walk"
            raise UserError(f"--mode=generate takes no --{name} {what}; leave it out.")
    if options.bits == 16:
        _check_depth(run)


def _outputs(run: Run, options: GANOptions) -> Outputs:
    return Outputs(
        Path(options.output),
        "walk" if options.walk else "generate",
        overwrite=options.overwrite,
        inputs=[Path(run.settings.data.dir)] if run.settings.data.dir else [],
    )


def _chosen_labels(conditional: bool, run: Run, options: GANOptions) -> list[int]:
    """Returns the classes to draw in turn."""
    classes = run.card.classes
    if not options.label:
        return list(range(len(classes))) if conditional else [0]
    if not conditional:
        network = network_name(GANModel.of(run.config.model), run.card)
        raise UserError(
            f"--label={options.label}, but the network {network} is unconditional; leave out"
            " --label, or train a conditional network such as acgan."
        )
    if options.walk == "classes":
        return [0]  # gan/walk.py has read the label
    if options.label not in classes:
        raise UserError(
            f"--label={options.label} is unknown; it must be one of {', '.join(classes)}."
        )
    return [classes.index(options.label)]


def _check_depth(run: Run) -> None:
    """Refuses 16 bits where the source's own range is not known."""
    if run.card.channels != 1:
        raise UserError("--bits=16 is for grey images; the run has 3 channels.")
    if not run.card.window:
        raise RetrainError(
            "--bits=16 writes in the source's range, but each of its files had its own; train with"
            " one for all, such as --config.data.window=-1000,400"
        )


def _load_checked(run: Run, gan: GAN, options: GANOptions) -> Trained:
    """Restores what draws, unless it repeats training images and options are strict."""
    trained = load_trained(run, gan, judging=bool(options.reject))
    _check_verdict(run, trained.step, options)
    log.info("%s", told(run, trained.step, Point.of(options)))
    return trained


def _check_verdict(run: Run, step: int, options: GANOptions) -> None:
    """Warns of a generator that was found to repeat training images; when strict, refuses it."""
    strict, point = options.strict, Point.of(options)
    evaluated = f"python launch.py --mode=evaluate --workdir={run.workdir}{point.flags}"
    kinds = {"memorized": bool, "can_tell": bool, "verdict": str}
    memorized, can_tell, verdict = (
        stored_value(run, f"memorization.{name}", step, kind) for name, kind in kinds.items()
    )
    stored = {name: stored_value(run, name, step, Any) for name in Point._fields}
    known = {name: value for name, value in stored.items() if value is not None}
    if strict and (memorized is None or Point(**known) != point):
        raise UserError(
            f"It is unknown whether the generator of step {step} repeats training images; run"
            f" {evaluated}, or leave out --strict."
        )
    if strict and (memorized or not can_tell):
        raise UserError(f"{verdict} Leave out --strict to draw anyway.")
    if memorized:
        log.warning("%s", verdict)


def _claimed(
    outputs: Outputs, run: Run, numbered: _Numbered, names: Sequence[str]
) -> list[tuple[str, str]]:
    """Claims the files of images, and returns each with the name of its class."""
    folders = folder_names(names)
    named = [
        (f"{folders[label]}/{i:06d}.png", names[label]) for i, label in zip(*numbered, strict=True)
    ]
    files = [name for file, _ in named for name in _files_of(file, run)]
    outputs.claim(dict.fromkeys(files, ""), data=True)
    outputs.claim(dict.fromkeys([_GRID] if _draws_pairs(run) else [_GRID, TABLE], ""))
    return named


def _draws_pairs(run: Run) -> bool:
    return parse_take(run.settings.data.take).with_mask


def _files_of(file: str, run: Run) -> tuple[str, ...]:
    """Returns the files that are written of an image: itself, or an image and its mask."""
    return (f"images/{file}", f"masks/{file}") if _draws_pairs(run) else (file,)


def _drawn(
    run: Run, options: GANOptions, gan: GAN, numbered: _Numbered
) -> Iterator[Float[np.ndarray, "n height width channels"]]:
    """Yields the images that are kept, in [-1, 1], a batch at a time."""
    trained = _load_checked(run, gan, options)
    drawing = trained.drawing(options.truncation)
    kept = _kept(numbered, run, options, trained, drawing)
    draw = partial(drawing.values, options.seed)
    for start in range(0, options.num_images, BATCH):
        part = slice(start, start + BATCH)
        yield by_batches(draw, BATCH, kept.numbers[part], kept.labels[part])


def _pictured(
    values: Float[np.ndarray, "n height width channels"],
) -> UInt8[np.ndarray, "n height width channels"]:
    """Returns images of [-1, 1] as 0 to 255."""
    return np.asarray(from_signed_unit(jnp.asarray(values)))


def _kept(
    numbered: _Numbered, run: Run, options: GANOptions, trained: Trained, drawing: Drawing
) -> _Numbered:
    """Returns the numbers of images that are kept in place of the first ones."""
    if not (options.reject or options.novel):
        return numbered
    prepared = prepare(run.config.data)
    check_data(Run(run.workdir, run.config, prepared.card))
    tests = trained.rejection(drawing, options.reject, options.seed, prepared)
    if options.novel:
        far = _distance_test(run, prepared, trained.gan.conditional)
        tests.append(lambda label, numbers, images: far(images))
    kept = numbered.numbers.copy()
    for label in np.unique(numbered.labels).tolist():
        of_class = numbered.labels == label
        kept[of_class] = kept_numbers(drawing, options.seed, label, int(of_class.sum()), tests)
    log.info("%s were left out", counted(_left_out(numbered.labels, kept), "image"))
    return numbered._replace(numbers=kept)


def _left_out(labels: Int[np.ndarray, " n"], kept: Int[np.ndarray, " n"]) -> int:
    """Returns how many images lie before the last ones that are kept, but are not kept."""
    return sum(int(kept[labels == label].max()) + 1 for label in np.unique(labels)) - len(kept)


def _distance_test(
    run: Run, prepared: Prepared, conditional: bool
) -> Callable[[Images], Bool[np.ndarray, " images"]]:
    card = run.card
    extractors = make_extractors(
        default_extractors(card.image_size), card.image_size, card.channels
    )
    size = len(prepared.splits["train"])
    cache = run.settings.data.cache_dir
    reference = reference_of(prepared, "train", conditional, extractors, cache, size)
    return distance_test(prepared, reference, run.config.augment.flip_horizontal)


def _write_images(
    outputs: Outputs,
    run: Run,
    options: GANOptions,
    drawn: Iterable[Float[np.ndarray, "n height width channels"]],
    named: Sequence[tuple[str, str]],
) -> None:
    """Writes images, the table of their files and labels, and a grid of them."""
    shown: dict[str, list[Picture]] = {label: [] for _, label in named}
    most = _most_shown(len(shown))
    window = run.card.window
    write = partial(write_deep, window=window) if options.bits == 16 else write_picture
    writing: list[Future[None]] = []
    waiting = iter(named)
    with ThreadPoolExecutor() as pool:  # Pillow releases the GIL while it compresses
        for values in drawn:
            images = _pictured(values)
            for written in writing:  # the batch before
                written.result()
            writing.clear()
            pixels = to_stored(values, window) if options.bits == 16 else images
            for image, stored, (file, label) in zip(images, pixels, waiting, strict=False):
                parts = apart(stored) if _draws_pairs(run) else (stored,)
                for name, part in zip(_files_of(file, run), parts, strict=True):
                    writing.append(pool.submit(write, outputs.draft(name), part))
                if len(shown[label]) < most:
                    shown[label].append(image)
        for written in writing:
            written.result()
    if not _draws_pairs(run):
        rows = [("file", "label"), *named]
        write_atomically(outputs.draft(TABLE), "".join(map(csv_line, rows)))
    write_picture(outputs.draft(_GRID), _grid_of(shown, options.num_images, run))


def _print_summary(output: Path, run: Run, options: GANOptions) -> None:
    beside = "their masks" if _draws_pairs(run) else TABLE
    print(f"{counted(options.num_images, 'image')}, {beside} and {_GRID} are in {output}")
    if options.bits == 16:
        slope, intercept = rescaling(run.card.window)
        print(f"In the source's units a pixel is {slope:g} * stored {intercept:+g}.")


def _most_shown(classes: int) -> int:
    """Returns how many images of each class the grid shows: whole rows, or few of many classes."""
    if classes > _GRID_ROWS:
        return max(1, _GRID_COLUMNS * _GRID_ROWS // classes)
    return _GRID_COLUMNS * math.ceil(_GRID_ROWS / classes)


def _grid_of(shown: Mapping[str, list[Picture]], num_images: int, run: Run) -> Picture:
    """Returns rows of images of each class; many classes share rows."""
    groups = list(shown.values())
    if len(groups) > _GRID_ROWS:
        groups = [[image for images in groups for image in images][: _GRID_COLUMNS * _GRID_ROWS]]
    width = min(_GRID_COLUMNS, max(map(len, groups)))
    blank = np.full_like(groups[0][0], 255)
    rows = []
    for images in groups:
        for start in range(0, len(images), width):
            row = images[start : start + width]
            rows.append(np.stack(row + [blank] * (width - len(row))))
    title = "generated" if list(shown) == [_NO_CLASS] else f"generated: {' / '.join(shown)}"
    if (num_shown := sum(map(len, groups))) < num_images:
        title += f" ({num_shown} of {num_images})"
    title += f"; trained on {run.card.caption}"
    return titled(grid(np.stack(rows), zoom_for(run.card.image_size)), title)
