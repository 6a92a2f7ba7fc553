"""--mode=predict: masks of new images, in their own size and format."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import UInt8, UInt16
from PIL import Image

from common.data.files.image import FileImage
from common.data.files.kinds import NIFTI, stem
from common.data.files.masks import parse_mask_values
from common.data.files.slices import images_in
from common.data.fit import resize_shares
from common.data.prepared.neighbours import are_stacks, stacks_of
from common.data.records import Decoded, Mask, Pixels
from common.data.settings import DataSettings
from common.data.sources.folders import record_id
from common.data.sources.incoming import AHEAD_BYTES, find_images, read_ahead
from common.data.sources.open import reading_of
from common.program.errors import UserError
from common.program.files import csv_line, user_path
from common.program.labels import folder_names
from common.program.log import log
from common.program.outputs import Outputs
from common.program.words import counted
from common.report.images import write_picture
from common.runs.workdir import Run
from common.unlike.reference import Reference
from common.unlike.run import COLUMN, Unlike, cell, known_reference, unlike_sentence
from unet.decision import Decision, known_decision
from unet.flags import UNetOptions
from unet.panels import overlay
from unet.reading import Read, read_image
from unet.segment import Probabilities, Windows, load_windows, segment

Slices: TypeAlias = Sequence[Callable[[], Decoded]]

_LONGEST = 60  # characters of the input's name in its table's name
_LEVELS = 65535  # a probability of 1 in a 16-bit PNG


@dataclass
class _Job:
    """A file to segment and its masks.

    Attributes:
      source: the file.
      name: what tables call it.
      target: how the names of its masks begin, "ward/x".
      images: in the file: one, frames, or slices.
      slices: decode, for each image, the slices that are seen as one, itself in the middle.
      masks: of the slices of a volume, until it is written.
      shares: their probabilities, likewise.
    """

    source: Path
    name: str
    target: str
    images: Sequence[FileImage]
    slices: Sequence[Slices] = ()
    masks: list[Any] = field(default_factory=list)
    shares: list[Any] = field(default_factory=list)

    @property
    def volume(self) -> bool:
        """Returns whether the file is a NIfTI volume."""
        return self.source.name.lower().endswith(NIFTI)

    @property
    def ending(self) -> str:
        """Returns how the names of its masks end."""
        if not self.volume:
            return ".png"
        return ".nii.gz" if self.source.name.lower().endswith(".nii.gz") else ".nii"

    def file(self, image: FileImage | None = None, kind: str = "", ending: str = "") -> str:
        """Returns the file for the mask of the whole, or of one of its images."""
        suffix = image.suffix.replace("#", "_") if image else ""
        return f"{self.target}{suffix}{kind}{ending or self.ending}"


@dataclass(frozen=True)
class _Writer:
    """How results are written."""

    run: Run
    options: UNetOptions
    outputs: Outputs
    decision: Decision = Decision(0.5)
    reference: Reference | None = None

    def claim(self, job: _Job) -> None:
        """Claims the files that a job will write."""
        for image in [None] if job.volume else job.images:
            kinds = self._share_kinds() if self.options.probabilities else []
            for kind in ("", *kinds):
                self.outputs.claim({job.file(image, kind): job.source}, data=True)
        if self.options.overlays:
            for image in job.images:
                self.outputs.claim({self._overlay_of(job, image): job.source})

    def write(self, job: _Job, image: FileImage, read: Read, shares: Probabilities) -> None:
        """Writes the results of one image; a volume's last slice writes the volume."""
        pixels = read.pixels
        mask = self.decision.mask_of_size(shares[read.place], *pixels.shape[:2])
        if self.options.probabilities:
            shares = resize_shares(shares[read.place], *pixels.shape[:2])
        if self.options.overlays:
            self._publish(
                self._overlay_of(job, image),
                lambda file: write_picture(file, overlay(pixels, None, mask)),
            )
        if job.volume:
            job.masks.append(self.mask_values(1)[mask])
            if self.options.probabilities:
                job.shares.append(shares[..., 1:].astype(np.float32))
            if len(job.masks) == len(job.images):
                self._write_volume(job)
            return
        self._publish(job.file(image), Image.fromarray(self.mask_values(255)[mask]).save)
        if self.options.probabilities:
            for index, kind in enumerate(self._share_kinds(), 1):
                levels = np.rint(shares[..., index] * _LEVELS).astype(np.uint16)
                self._publish(job.file(image, kind), Image.fromarray(levels).save)

    def _write_volume(self, job: _Job) -> None:
        kinds = {"": job.masks}
        if self.options.probabilities:
            for index, kind in enumerate(self._share_kinds()):
                kinds[kind] = [shares[..., index] for shares in job.shares]
        for kind, slices in kinds.items():
            write = partial(_write_nifti, job.source, slices, self.run.settings.data.plane)
            self._publish(job.file(None, kind), write)
        job.masks.clear()
        job.shares.clear()

    def _publish(self, name: str, write: Callable[[Path], None]) -> None:
        write(self.outputs.draft(name))
        self.outputs.publish(name)

    def _overlay_of(self, job: _Job, image: FileImage) -> str:
        return job.file(image, "_overlay", ".png")

    def _share_kinds(self) -> list[str]:
        names = self.run.card.mask_classes[1:]
        if len(names) == 1:
            return ["_probability"]
        return [f"_probability_{name}" for name in folder_names(names)]

    def mask_values(self, foreground: int) -> UInt8[np.ndarray, " k"] | UInt16[np.ndarray, " k"]:
        """Returns the value of each class in masks, which `config.data.mask_values` reads back."""
        values = parse_mask_values(self.run.settings.data.mask_values).written(foreground)
        if max(values) > _LEVELS:
            raise UserError(
                f"config.data.mask_values of the run has the value {max(values)}, but a mask file"
                f" holds at most {_LEVELS}."
            )
        return np.array(values, np.uint8 if max(values) < 256 else np.uint16)


def predict(run: Run, options: UNetOptions) -> None:
    """Writes OUTPUT/x.png for INPUT/x.jpg: the mask of each image, in its own size.

    A DICOM file becomes a mask for each frame, a NIfTI volume a volume with its affine. Masks hold
    the values of `config.data.mask_values`; by default 0 and 255, in volumes 0 and 1. An image is
    first scaled as the training images were (unchanged if these had `data.image_size` themselves,
    or with --norescale), and its mask is scaled back. It is never squeezed into the window of the
    network: a larger image is segmented window by window.

    A file that can't be read is named, and the others are segmented. Each mask appears when it is
    complete, and stays if the command is stopped or a file fails; with --overwrite the masks of an
    earlier command then stay beside it. Those that are not made again are removed at the end. The
    last file is OUTPUT/unlike-INPUT.csv: how far each image lies outside the training images
    (`common.unlike`).

    Raises:
      UserError: an option or file can't be used, or an output already exists.
    """
    jobs, told = _jobs(run, options)
    sources = [Path(options.input), *(job.source for job in jobs)]
    with Outputs(
        Path(options.output),
        "predict",
        of=str(user_path(options.input).resolve()),
        overwrite=options.overwrite,
        inputs=sources,
    ) as outputs:
        writer = _Writer(run, options, outputs)
        for job in jobs:
            writer.claim(job)
        table = _table_of(options)
        outputs.claim({table: ""})
        writer.mask_values(1)
        windows, step = load_windows(run, options.average or None)
        writer = replace(
            writer,
            decision=known_decision(run, options, step),
            reference=known_reference(run),
        )
        if run.card.synthetic:
            log.warning("This network was trained on %s.", run.card.caption)
        started = time.monotonic()
        failures, distances = _segment_all(jobs, writer, windows)
        count = len(distances)
        _write_table(outputs, table, distances)
        seconds = time.monotonic() - started
        print(
            f"{counted(count, 'image is', 'images are')} segmented; the masks are in"
            f" {outputs.folder} (step {step},"
            f" {_told(run, writer.decision)}, {count / seconds:.1f} images/s){told}"
        )
        print(f"  {unlike_sentence(Unlike.of(distances.values()))}")
        if failures:
            first = next(iter(failures.values()))
            raise UserError(
                f"{counted(len(failures), 'file')} could not be segmented; the first: {first}"
            )


def open_predictor(run: Run) -> Callable[[Iterable[Decoded]], list[Mask]]:
    """Returns images -> the class of every pixel, each mask in its image's own size.

    Raises:
      UserError: the run has no checkpoint, its evaluation is damaged, or it sees images with the
        slices around them.
    """
    if run.card.neighbours:
        raise UserError(
            f"{run.workdir} sees the slices around an image, too, and images by themselves have no"
            " order; write them into files and use --mode=predict."
        )
    windows, step = load_windows(run)
    decision = known_decision(run, UNetOptions(), step)

    def masks(images: Iterable[Decoded]) -> list[Mask]:
        waiting: deque[Read] = deque()

        def shown() -> Iterator[Pixels]:
            for image in images:
                waiting.append(_as_shown(image, run))
                yield waiting[-1].shown

        found = []
        for shares in segment(shown(), windows):
            read = waiting.popleft()
            mask = decision.mask_of_size(shares[read.place], *read.pixels.shape[:2])
            found.append(mask)
        return found

    return masks


def _as_shown(image: Decoded, run: Run) -> Read:
    return read_image([lambda: image], run, UNetOptions(), None)


def _table_of(options: UNetOptions) -> str:
    """Returns a name with the input's in it: masks of several inputs may lie in one folder."""
    return f"unlike-{user_path(options.input).resolve().name[:_LONGEST]}.csv"


def _write_table(outputs: Outputs, table: str, distances: Mapping[str, float]) -> None:
    lines = [["file", COLUMN], *([name, cell(x)] for name, x in distances.items())]
    outputs.draft(table).write_text("".join(map(csv_line, lines)), encoding="utf-8")
    outputs.publish(table)


def _segment_all(
    jobs: Sequence[_Job], writer: _Writer, windows: Windows
) -> tuple[dict[Path, str], dict[str, float]]:
    """Returns the errors of files and the distances of images, and writes their masks.

    Threads read and write; the queues before and after the network are bounded in bytes.
    """
    failures: dict[Path, str] = {}
    distances: dict[str, float] = {}
    waiting: deque[tuple[_Job, FileImage, Read]] = deque()
    writing: deque[tuple[int, Future[None]]] = deque()
    with ThreadPoolExecutor() as pool:

        def images() -> Iterator[Pixels]:
            listed = (
                (job, *one) for job in jobs for one in zip(job.images, job.slices, strict=True)
            )
            run, options = writer.run, writer.options
            for (job, image, _), reading in read_ahead(
                pool,
                listed,
                lambda one: read_image(one[2], run, options, writer.reference),
                Read.num_bytes,
            ):
                try:
                    read = reading.result()
                except UserError as error:
                    if job.source not in failures:
                        log.warning("not segmented: %s", error)
                    failures.setdefault(job.source, str(error))
                    continue
                waiting.append((job, image, read))
                yield read.shown

        for shares in segment(images(), windows):
            job, image, read = waiting.popleft()
            if job.volume:  # in order
                writer.write(job, image, read, shares)
            else:
                written = pool.submit(writer.write, job, image, read, shares)
                writing.append((shares.nbytes + read.pixels.nbytes, written))
            while sum(size for size, _ in writing) > AHEAD_BYTES:
                writing.popleft()[1].result()
            distances[job.name + image.suffix] = read.unlike
        for _, written in writing:
            written.result()
    return failures, distances


def _jobs(run: Run, options: UNetOptions) -> tuple[list[_Job], str]:
    """Returns the files below --input, and a note on others there."""
    if not options.input or not options.output:
        raise UserError(
            "--mode=predict needs --input=PATH for the images and --output=DIR for the masks."
        )
    found = find_images(options.input, user_path(options.output))
    reading = reading_of(run.settings.data)
    jobs = [
        _Job(
            file,
            record_id(file, found.folder),
            stem(file.relative_to(found.folder).as_posix()),
            images_in(file, reading),
        )
        for file in found.files
    ]
    return _with_slices(jobs, run.settings.data), found.told


def _with_slices(jobs: Sequence[_Job], data: DataSettings) -> list[_Job]:
    """Returns jobs that know the slices around each of their images."""
    if not data.neighbours:
        return [replace(job, slices=[(image.read,) for image in job.images]) for job in jobs]
    ids = [job.name + image.suffix for job in jobs for image in job.images]
    reads = [image.read for job in jobs for image in job.images]
    places = stacks_of(ids, [""] * len(ids), data)
    if not are_stacks(places):
        log.warning(
            "No image has a slice before or after it in --input, so each is seen beside itself."
        )
    slices = iter([[reads[place] for place in around] for around in places])
    return [replace(job, slices=[next(slices) for _ in job.images]) for job in jobs]


def _write_nifti(source: Path, slices: Sequence[np.ndarray], plane: str, file: Path) -> None:
    from common.data.files.nifti import write_volume

    write_volume(file, source, slices, plane)


def _told(run: Run, decision: Decision) -> str:
    return str(decision) if len(run.card.mask_classes) == 2 else "the likeliest class"
