"""--mode=predict: translations of new images, in their own size, format and place."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import groupby, islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from common.data.files.image import FileImage
from common.data.files.kinds import DICOM, NIFTI, ending, stem
from common.data.files.slices import images_in
from common.data.fit import to_channels
from common.data.records import Decoded, Pixels
from common.data.sources.incoming import find_images, read_ahead
from common.data.sources.open import reading_of
from common.program.errors import UserError
from common.program.files import user_path
from common.program.log import log
from common.program.outputs import Outputs
from common.program.words import counted
from common.runs.workdir import Run
from translate.flags import TranslateOptions
from translate.inference import BATCH, TrainedTranslator
from translate.reading import Read, read_image

_WRITTEN = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff")  # others become PNG
_HOW = "Translated by a neural network, not acquired"


@dataclass
class _Job:
    """A file to translate.

    Attributes:
      source: the file.
      target: how the names of what is written begin, "ward/x".
      images: in the file: one, frames, or slices.
      found: the translations of those of a file that is written as a whole.
    """

    source: Path
    target: str
    images: Sequence[FileImage]
    found: list[Pixels] = field(default_factory=list)

    @property
    def volume(self) -> bool:
        """Returns whether the file is a NIfTI volume."""
        return ending(self.source.name) in NIFTI

    @property
    def dicom(self) -> bool:
        """Returns whether the file is a DICOM file, with any ending or none."""
        return ending(self.source.name) in ("", *DICOM)

    @property
    def names(self) -> list[str]:
        """Returns the files to write: one, or one for each image of a picture file."""
        kind = ending(self.source.name)
        if self.volume or self.dicom:
            return [f"{self.target}{kind or '.dcm'}"]
        kind = kind if kind in _WRITTEN else ".png"
        return [f"{self.target}{image.suffix.replace('#', '_')}{kind}" for image in self.images]


class _Waiting(NamedTuple):
    """An image that has been read, its place in its file, and that file."""

    job: _Job
    place: int
    read: Read


def predict(run: Run, options: TranslateOptions) -> None:
    """Writes OUTPUT/x.jpg for INPUT/x.jpg: the translation of each image, in its own size.

    A DICOM file becomes a DICOM file with its frames, patient, study and geometry, marked as
    derived and a series of its own; a NIfTI volume a volume with its affine; a picture a picture of
    its format (PNG where that can't be written), a file for each image in it. Values are 0 to 255.
    An image is first scaled as the training images were; with --back it is a target to translate to
    an image.

    A file that can't be read is named, and the others are translated. Each result appears when it
    is complete.

    Raises:
      UserError: an option or file can't be used, or an output already exists.
    """
    if not options.input or not options.output:
        raise UserError(
            "--mode=predict needs --input=PATH for the images and --output=DIR for what they are"
            " translated to."
        )
    jobs, told = _jobs(run, options)
    with Outputs(
        Path(options.output),
        "predict",
        of=str(user_path(options.input).resolve()),
        overwrite=options.overwrite,
        inputs=[Path(options.input), *(job.source for job in jobs)],
    ) as outputs:
        for job in jobs:
            outputs.claim(dict.fromkeys(job.names, job.source), data=True)
        translator = TrainedTranslator(run, back=options.back)
        if run.card.synthetic:
            log.warning("This network was trained on %s.", run.card.caption)
        started = time.monotonic()
        failures = _translate_all(jobs, run, translator, outputs, back=options.back)
        count = sum(len(job.images) for job in jobs if job.source not in failures)
        print(
            f"{counted(count, 'image is', 'images are')} translated, in {outputs.folder} (step"
            f" {translator.step}, {count / (time.monotonic() - started):.1f} images/s){told}"
        )
        print("  What is not to be seen in an image can't be seen in its translation.")
        if failures:
            first = next(iter(failures.values()))
            raise UserError(
                f"{counted(len(failures), 'file')} could not be translated; the first: {first}"
            )


def open_predictor(run: Run) -> Callable[[Iterable[Decoded]], list[Pixels]]:
    """Returns images -> their translations, each in its image's own size.

    Raises:
      UserError: the run has no checkpoint.
    """
    translator = TrainedTranslator(run)

    def translations(images: Iterable[Decoded]) -> list[Pixels]:
        found: list[Pixels] = []
        shown = (_as_shown(image, run, translator.multiple) for image in images)
        for _, alike in groupby(shown, lambda read: read.shown.shape):
            while batch := list(islice(alike, BATCH)):
                translated = translator.translate(np.stack([read.shown for read in batch]))
                found += map(Read.restored, batch, translated)
        return found

    return translations


def _as_shown(image: Decoded, run: Run, multiple: int) -> Read:
    return read_image(lambda: image, run, multiple, back=False)


def _jobs(run: Run, options: TranslateOptions) -> tuple[list[_Job], str]:
    """Returns the files below --input, and a note on others there."""
    found = find_images(options.input, user_path(options.output))
    reading = reading_of(run.settings.data)
    jobs = [
        _Job(file, stem(file.relative_to(found.folder).as_posix()), images_in(file, reading))
        for file in found.files
    ]
    return jobs, found.told


def _translate_all(
    jobs: Sequence[_Job], run: Run, translator: TrainedTranslator, outputs: Outputs, *, back: bool
) -> dict[Path, str]:
    """Returns the errors of files; writes the translations of the others."""
    failures: dict[Path, str] = {}
    with ThreadPoolExecutor() as pool:
        reading = _read_all(jobs, run, translator.multiple, failures, pool, back=back)
        for _, alike in groupby(reading, lambda waiting: waiting.read.shown.shape):
            while batch := list(islice(alike, BATCH)):
                found = translator.translate(np.stack([waiting.read.shown for waiting in batch]))
                for waiting, translation in zip(batch, found, strict=True):
                    try:
                        _write(waiting, translation, run, outputs)
                    except UserError as error:  # of a DICOM file that can't be written again
                        _note(failures, waiting.job, error)
    return failures


def _read_all(
    jobs: Sequence[_Job],
    run: Run,
    multiple: int,
    failures: dict[Path, str],
    pool: ThreadPoolExecutor,
    *,
    back: bool,
) -> Iterator[_Waiting]:
    """Yields the images that can be read, in order; threads read ahead."""
    listed = ((job, place) for job in jobs for place in range(len(job.images)))

    def read(item: tuple[_Job, int]) -> Read:
        job, place = item
        return read_image(job.images[place].read, run, multiple, back=back)

    for (job, place), reading in read_ahead(pool, listed, read, Read.num_bytes):
        try:
            found = reading.result()
        except UserError as error:
            _note(failures, job, error)
        else:
            yield _Waiting(job, place, found)


def _note(failures: dict[Path, str], job: _Job, error: UserError) -> None:
    """Notes that a file can't be translated, the first time that one of its images fails."""
    if job.source not in failures:
        log.warning("not translated: %s", error)
        failures[job.source] = str(error)


def _write(waiting: _Waiting, translation: Pixels, run: Run, outputs: Outputs) -> None:
    """Writes a picture; of a volume or a DICOM file the last image writes the whole."""
    job, pixels = waiting.job, waiting.read.restored(translation)
    if not (job.volume or job.dicom):
        name = job.names[waiting.place]
        picture = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
        # A JPEG of Pillow's own quality is blurred; other formats take no notice.
        picture.save(outputs.draft(name), quality=95)
        outputs.publish(name)
        return
    job.found.append(pixels)
    if len(job.found) < len(job.images):
        return
    (name,) = job.names
    write = _write_volume if job.volume else _write_dicom
    write(outputs.draft(name), job, run.settings.data.plane)
    outputs.publish(name)
    job.found.clear()


def _write_volume(file: Path, job: _Job, plane: str) -> None:
    from common.data.files.nifti import write_volume

    write_volume(file, job.source, [to_channels(one, 1)[..., 0] for one in job.found], plane)


def _write_dicom(file: Path, job: _Job, plane: str) -> None:
    from common.data.files.dicom_derived import write_derived

    del plane
    write_derived(file, job.source, job.found, _HOW)
