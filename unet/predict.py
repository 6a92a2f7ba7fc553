"""--mode=predict: masks of new images, in their own size and format."""

import json
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8, UInt16
from PIL import Image

from common.data.fit import resize_image, resize_shares, scaled_size, to_channels
from common.data.folders import images_below
from common.data.masks import parse_mask_values
from common.data.pairs import holds_pairs
from common.data.records import Pixels
from common.data.slices import NIFTI, FileImage, images_in, is_image, stem
from common.data.sources import reading_of
from common.errors import UserError
from common.log import log
from common.options import Options
from common.report.images import write_picture
from common.training.workdir import Run
from unet.evaluate import BATCH, EVALUATION, FOLDER, to_mask
from unet.panels import overlay
from unet.segment import Probabilities, load_windows, segment
from unet.state import make_segmenter

_AHEAD = 4 * BATCH  # images that are read before they are needed, and written after
_LEVELS = 65535  # of a probability in a 16-bit PNG


@dataclass
class _Job:
    """A file to segment and what is written of it.

    Attributes:
      source: the file.
      target: where its masks go, without the ending.
      images: in the file: one, frames, or slices.
      masks, overlays, shares: of the slices of a volume, until all are there.
    """

    source: Path
    target: Path
    images: Sequence[FileImage]
    masks: list[Any] = field(default_factory=list)
    shares: list[Any] = field(default_factory=list)

    @property
    def volume(self) -> bool:
        """Says whether the file is a NIfTI volume."""
        return self.source.name.lower().endswith(NIFTI)

    @property
    def ending(self) -> str:
        """Returns what the names of its masks end in."""
        if not self.volume:
            return ".png"
        return ".nii.gz" if self.source.name.lower().endswith(".nii.gz") else ".nii"

    def file(self, image: FileImage | None = None, kind: str = "", ending: str = "") -> Path:
        """Returns the file for the mask of the whole, or of one of its images."""
        suffix = image.suffix.replace("#", "_") if image else ""
        return self.target.with_name(f"{self.target.name}{suffix}{kind}{ending or self.ending}")


@dataclass(frozen=True)
class _Writer:
    """How results are written."""

    run: Run
    options: Options
    threshold: float

    def files_of(self, job: _Job) -> Iterator[Path]:
        """Yields every file that will be written of a job."""
        images = [None] if job.volume else job.images
        for image in images:
            yield job.file(image)
            if self.options.probabilities:
                yield from (job.file(image, kind) for kind in self._share_kinds())
        if self.options.overlays:
            yield from (job.file(image, "_overlay", ".png") for image in job.images)

    def write(self, job: _Job, image: FileImage, pixels: Pixels, shares: Probabilities) -> None:
        """Writes what one image gives; a volume's last slice writes the volume."""
        shares = resize_shares(shares, *pixels.shape[:2])
        mask = to_mask(shares, self.threshold)
        if self.options.overlays:
            write_picture(job.file(image, "_overlay", ".png"), overlay(pixels, None, mask))
        if job.volume:
            job.masks.append(self._values(1)[mask])
            if self.options.probabilities:
                job.shares.append(shares[..., 1:].astype(np.float32))
            if len(job.masks) == len(job.images):
                self._write_volume(job)
            return
        Image.fromarray(self._values(255)[mask]).save(job.file(image))
        if self.options.probabilities:
            for index, kind in enumerate(self._share_kinds(), 1):
                levels = np.rint(shares[..., index] * _LEVELS).astype(np.uint16)
                Image.fromarray(levels).save(job.file(image, kind))

    def _write_volume(self, job: _Job) -> None:
        from common.data.nifti import write_volume

        plane = self.run.config.data.plane
        write_volume(job.file(), job.source, job.masks, plane)
        if self.options.probabilities:
            for index, kind in enumerate(self._share_kinds()):
                slices = [shares[..., index] for shares in job.shares]
                write_volume(job.file(None, kind), job.source, slices, plane)

    def _share_kinds(self) -> list[str]:
        names = self.run.card.mask_classes[1:]
        return ["_probability"] if len(names) == 1 else [f"_probability_{name}" for name in names]

    def _values(self, foreground: int) -> UInt8[np.ndarray, " k"] | UInt16[np.ndarray, " k"]:
        """Returns what stands for each class: values that `config.data.mask_values` reads back."""
        values = parse_mask_values(self.run.config.data.mask_values).written(foreground)
        return np.array(values, np.uint8 if max(values) < 256 else np.uint16)


def predict(run: Run, options: Options) -> None:
    """Writes OUTPUT/x.png for INPUT/x.jpg: the mask of each image, of its own size.

    Of a DICOM file a mask for each frame, of a NIfTI volume a volume with its affine. Masks hold
    the values of `config.data.mask_values`; by default 0 and 255, in volumes 0 and 1. An image is
    first brought to the scale at which the training images were seen (no change where these were
    `data.image_size` themselves, or with --norescale), and its mask back; it is never squeezed into
    the window of the network: what is larger is segmented window by window.

    A file that can't be read is named, the others are segmented.

    Raises:
      UserError: an option or file can't be used, or a mask exists already.
    """
    windows, step = load_windows(run, make_segmenter(run.config, run.card), BATCH)
    writer = _Writer(run, options, _threshold(run, options, step))
    jobs = _jobs(run, options)
    _check_targets(jobs, writer, options.overwrite)
    if run.card.synthetic:
        log.warning("This network was trained on %s.", run.card.caption)
    for folder in {job.target.parent for job in jobs}:
        folder.mkdir(parents=True, exist_ok=True)
    started, failures, count = time.monotonic(), [], 0
    waiting: deque[tuple[_Job, FileImage, Pixels]] = deque()
    with ThreadPoolExecutor() as pool:

        def images() -> Iterator[Pixels]:
            for job, image, read in _ahead(pool, jobs, run, options.rescale):
                try:
                    pixels, scaled = read.result()
                except UserError as error:
                    log.warning("not segmented: %s", error)
                    failures.append(str(error))
                    continue
                waiting.append((job, image, pixels))
                yield scaled

        writing: deque[Future[None]] = deque()
        for shares in segment(images(), windows):
            job, image, pixels = waiting.popleft()
            if job.volume:  # in order
                writer.write(job, image, pixels, shares)
            else:
                writing.append(pool.submit(writer.write, job, image, pixels, shares))
            while len(writing) > _AHEAD:
                writing.popleft().result()
            count += 1
        for written in writing:
            written.result()
    seconds = time.monotonic() - started
    print(
        f"{count} masks are in {options.output} (step {step}, {_told(run, writer.threshold)},"
        f" {count / seconds:.1f} images/s)"
    )
    if failures:
        raise UserError(f"{len(failures)} images could not be segmented; the first: {failures[0]}")


def _jobs(run: Run, options: Options) -> list[_Job]:
    """Returns the files below --input."""
    if not options.input or not options.output:
        raise UserError(
            "--mode=predict needs --input=PATH, images, and --output=DIR, for the masks."
        )
    root, output = Path(options.input).expanduser(), Path(options.output).expanduser()
    if output.exists() and not output.is_dir():
        raise UserError(f"--output={output} is a file; name a folder.")
    if not root.exists():
        raise UserError(f"--input={root} is not there; name a file or a folder of images.")
    if root.is_dir():
        if holds_pairs(root):
            raise UserError(
                f"--input={root} holds masks beside its images; name the folder of the images"
                f" alone, such as {root / 'images'}."
            )
        files, folder = images_below(root), root
    else:
        files, folder = [root] if is_image(root) else [], root.parent
    if not files:
        raise UserError(f"--input={root} holds no image that can be read; see docs/own_data.md.")
    reading = reading_of(run.config.data)
    return [
        _Job(file, output / stem(file.relative_to(folder).as_posix()), images_in(file, reading))
        for file in files
    ]


def _check_targets(jobs: Sequence[_Job], writer: _Writer, overwrite: bool) -> None:
    """Refuses to write over images, over another's mask, or over what is there."""
    sources = {job.source.resolve() for job in jobs}
    owners: dict[Path, Path] = {}
    for job in jobs:
        for file in writer.files_of(job):
            if file.resolve() in sources:
                raise UserError(
                    f"The mask of {job.source} would replace {file}; name another --output."
                )
            if file in owners:
                raise UserError(
                    f"{owners[file]} and {job.source} would have one mask, {file}; rename one of"
                    " them."
                )
            owners[file] = job.source
            if file.exists() and not overwrite:
                raise UserError(f"{file} exists; add --overwrite or name another --output.")


def _ahead(
    pool: ThreadPoolExecutor, jobs: Sequence[_Job], run: Run, rescale: bool
) -> Iterator[tuple[_Job, FileImage, Future[tuple[Pixels, Pixels]]]]:
    """Reads images on threads, some of them before they are asked for."""
    listed = ((job, image) for job in jobs for image in job.images)
    running: deque[Any] = deque()
    for job, image in listed:
        running.append((job, image, pool.submit(_read, image.read, run, rescale)))
        if len(running) > _AHEAD:
            yield running.popleft()
    yield from running


def _read(read: Callable[[], Any], run: Run, rescale: bool) -> tuple[Pixels, Pixels]:
    """Returns an image as it is, with the network's channels, and at the network's scale."""
    card = run.card
    pixels = to_channels(read().pixels, card.channels)
    if not rescale:
        return pixels, pixels
    height, width, _ = pixels.shape
    size = scaled_size(height, width, card.image_size, run.config.data.fit, card.native_size)
    return pixels, resize_image(pixels, *size)


def _threshold(run: Run, options: Options, step: int) -> float:
    """Returns the threshold that was asked for, else the evaluation's of this step, else 1/2."""
    if not 0 <= options.threshold < 1:
        raise UserError(f"--threshold is {options.threshold}; it must lie between 0 and 1.")
    if options.threshold:
        return options.threshold
    file = run.workdir / FOLDER / EVALUATION
    if file.exists():
        report = json.loads(file.read_text())
        if report["checkpoint_step"] == step:
            return float(report["threshold"])
    if len(run.card.mask_classes) == 2:
        log.warning("The threshold is 0.5; --mode=evaluate chooses one on the validation images.")
    return 0.5


def _told(run: Run, threshold: float) -> str:
    return f"threshold {threshold}" if len(run.card.mask_classes) == 2 else "the likeliest class"
