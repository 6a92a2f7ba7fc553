"""--mode=predict: the classes of new images, as a table; with --explain, the evidence for them."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from jaxtyping import Float

from classify.flags import ClassifyOptions
from classify.inference import (
    BATCH,
    Images,
    Inference,
    known_temperature,
    load_inference,
)
from classify.operating_point import findings, known_thresholds
from common.data.files.image import FileImage, Reading
from common.data.files.kinds import stem
from common.data.files.slices import images_in
from common.data.fit import fit_image
from common.data.records import Decoded, Pixels
from common.data.sources.folders import record_id
from common.data.sources.incoming import Incoming, find_images, read_ahead
from common.data.sources.open import reading_of
from common.data.take import channel_of, parse_take
from common.program.errors import UserError
from common.program.files import csv_line, user_path
from common.program.log import log
from common.program.outputs import Outputs
from common.program.words import counted
from common.report.images import Picture, write_picture
from common.runs.workdir import Run
from common.unlike.reference import Reference
from common.unlike.run import COLUMN, Unlike, cell, distance_of, known_reference, unlike_sentence

TABLE = "predictions.csv"

Image = TypeVar("Image")


class _Found(NamedTuple):
    """An image that has been read and fitted.

    Attributes:
      name: of its file, below the folder.
      suffix: its number there.
      pixels: fitted.
      unlike: how far it lies outside the training images.
    """

    name: str
    suffix: str
    pixels: Pixels
    unlike: float


def predict(run: Run, options: ClassifyOptions) -> None:
    """Writes OUTPUT/predictions.csv: file, label, the probability of every class, and "unlike".

    A frame of a DICOM file or a slice of a volume is "FILE#000". Probabilities are calibrated with
    the temperature of the run's evaluation, if there is one, and a class is "found" from the
    evaluation's threshold on. They mean nothing for an image that lies far outside the training
    images, which "unlike" measures (`common.unlike`). With --explain, OUTPUT/x.png shows the
    evidence for the label in INPUT/x.jpg (Grad-CAM). A file that can't be read is named, and the
    others are classified. All outputs appear together at the end.

    Raises:
      UserError: an option or file can't be used, or an output already exists.
    """
    if not options.input or not options.output:
        raise UserError("--mode=predict needs --input=PATH for the images and --output=DIR.")
    found = find_images(options.input, user_path(options.output))
    if run.card.synthetic:
        log.warning("This network was trained on %s.", run.card.caption)
    failures: dict[Path, str] = {}
    with Outputs(
        Path(options.output),
        "predict",
        of=str(user_path(options.input).resolve()),
        overwrite=options.overwrite,
        inputs=[Path(options.input), *found.files],
    ) as outputs:
        if options.explain:
            _claim_explanations(outputs, found, reading_of(run.settings.data))
        outputs.claim({TABLE: ""})
        inference, step = load_inference(run, options.average or None)
        reference = known_reference(run)
        temperature = known_temperature(run, step) or 1.0
        thresholds = known_thresholds(run, step)
        started, explained = time.monotonic(), outputs if options.explain else None
        distances: list[float] = []
        with (
            ThreadPoolExecutor() as pool,
            outputs.draft(TABLE).open("w", encoding="utf-8") as table,
        ):
            columns = [f"probability_{x}" for x in inference.outputs.names]
            columns += [f"found_{x}" for x in thresholds]
            table.write(csv_line(["file", "label", *columns, COLUMN]))
            for batch in _batches(_read_all(pool, found, run, reference, failures), BATCH):
                table.writelines(_rows(batch, inference, temperature, thresholds, explained))
                distances += [image.unlike for image in batch]
    print(
        f"{counted(len(distances), 'image is', 'images are')} classified in"
        f" {outputs.folder / TABLE} (step {step}, temperature {temperature:.3f},"
        f" {len(distances) / (time.monotonic() - started):.1f} images/s){found.told}"
    )
    print(f"  {unlike_sentence(Unlike.of(distances))}")
    if failures:
        first = next(iter(failures.values()))
        raise UserError(
            f"{counted(len(failures), 'file')} could not be classified; the first: {first}"
        )


def open_predictor(run: Run) -> Callable[[Iterable[Decoded]], Float[np.ndarray, "n classes"]]:
    """Returns images -> the probability of every class, calibrated as in the table of `predict`.

    Raises:
      UserError: the run has no checkpoint, or its evaluation is damaged.
    """
    inference, step = load_inference(run)
    temperature = known_temperature(run, step) or 1.0

    def probabilities(images: Iterable[Decoded]) -> Float[np.ndarray, "n classes"]:
        batches = _batches((_fitted(image, run) for image in images), BATCH)
        found = [_shares(np.stack(batch), inference, temperature) for batch in batches]
        return np.concatenate([np.empty((0, len(inference.outputs.names))), *found])

    return probabilities


def _rows(
    batch: list[_Found],
    inference: Inference,
    temperature: float,
    thresholds: Mapping[str, float],
    explained: Outputs | None,
) -> Iterator[str]:
    """Yields the table's line of each image; with `explained` draws the evidence for its label."""
    shares = _shares(np.stack([image.pixels for image in batch]), inference, temperature)
    for image, row in zip(batch, shares, strict=True):
        label = inference.outputs.label_of(row)
        name, numbers = image.name + image.suffix, [f"{share:.6f}" for share in row]
        decided = findings(row, inference.outputs.names, thresholds).values()
        yield csv_line([name, label, *numbers, *decided, cell(image.unlike)])
        if explained:
            heat = inference.attention(image.pixels, int(row.argmax()))
            picture = explained.draft(_explanation(image.name, image.suffix))
            write_picture(picture, heated(image.pixels, heat))


def _shares(
    images: Images, inference: Inference, temperature: float
) -> Float[np.ndarray, "n classes"]:
    """Returns the probability of every class, calibrated."""
    return inference.outputs.probabilities(inference.logits(images), temperature)


def _read_all(
    pool: ThreadPoolExecutor,
    given: Incoming,
    run: Run,
    reference: Reference | None,
    failures: dict[Path, str],
) -> Iterator[_Found]:
    """Yields the images of all files, fitted as in training; notes failures by file."""
    reading = reading_of(run.settings.data)

    def read(item: tuple[Path, FileImage]) -> _Found:
        file, image = item
        pixels = _fitted(image.read(), run)
        distance = distance_of(reference, pixels)
        return _Found(record_id(file, given.folder), image.suffix, pixels, distance)

    listed = ((file, image) for file in given.files for image in images_in(file, reading))
    for (file, _), found in read_ahead(pool, listed, read, lambda one: one.pixels.nbytes):
        try:
            yield found.result()
        except UserError as error:
            if file not in failures:
                log.warning("not classified: %s", error)
            failures.setdefault(file, str(error))


def _fitted(image: Decoded, run: Run) -> Pixels:
    """Returns an image as the network sees it."""
    data, card = run.settings.data, run.card
    found = channel_of(image, parse_take(data.take).image).pixels
    return fit_image(found, card.image_size, card.channels, data.fit)


def _batches(images: Iterator[Image], size: int) -> Iterator[list[Image]]:
    batch: list[Image] = []
    for image in images:
        batch.append(image)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _claim_explanations(outputs: Outputs, found: Incoming, reading: Reading) -> None:
    for file in found.files:
        name = file.relative_to(found.folder).as_posix()
        for image in images_in(file, reading):
            outputs.claim({_explanation(name, image.suffix): file})


def _explanation(name: str, suffix: str) -> str:
    """Returns the picture's file for an image: "a/x_000.png" for frame "#000" of a/x.dcm."""
    return f"{stem(name)}{suffix.replace('#', '_')}.png"


def heated(pixels: Pixels, heat: Float[np.ndarray, "height width"]) -> Picture:
    """Overlays a map of 0 to 1 on an image: from transparent through red to yellow."""
    grey = np.broadcast_to(pixels, (*pixels.shape[:2], 3)).astype(np.float32)
    colour = np.stack([np.full_like(heat, 255), 255 * heat, np.zeros_like(heat)], -1)
    weight = 0.6 * heat[..., None]
    mixed: np.ndarray = np.rint(grey * (1 - weight) + colour * weight)
    return mixed.astype(np.uint8)
