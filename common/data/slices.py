"""The images in one file: a picture is one, a DICOM file has frames, a NIfTI volume has slices."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import NoReturn

import numpy as np
from jaxtyping import Integer

from common.data.decode import read_image
from common.data.grids import Grid
from common.data.records import Decoded
from common.data.window import Window
from common.errors import UserError
from common.files import regular_file, special_kind

PICTURES = (
    *(".bmp", ".gif", ".jfif", ".jp2", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm"),
    *(".ppm", ".tif", ".tiff", ".webp"),
)
DICOM = (".dcm", ".dicom")
NIFTI = (".nii.gz", ".nii")
EXTENSIONS = (*PICTURES, *DICOM, *NIFTI)
_PREAMBLE, _MARKER = 128, b"DICM"  # bytes before it, and what tells a DICOM file (PS3.10, 7.1)
_DUAL = (".tif", ".tiff")  # such a file may be both, whole: a DICOM file has room for its header
_KNOWN_MARKERS = 2**17  # files
PLANES = ("axial", "coronal", "sagittal")

Values = Integer[np.ndarray, "_height _width"]


@dataclass(frozen=True)
class Reading:
    """The settings that say how a file becomes images.

    Attributes:
      window: what is shown as 0 to 255; None leaves it to the file.
      plane: in which volumes are cut: "axial", "coronal" or "sagittal".
      group_tag: the DICOM attribute that names the group.
    """

    window: Window | None = None
    plane: str = "axial"
    group_tag: str = "PatientID"


def _no_grid() -> None:
    """Says that a file does not know where it lies."""


@dataclass(frozen=True)
class FileImage:
    """One image of a file.

    Attributes:
      suffix: "" where the file is one image, else "#000", "#001", ...
      read: decodes it; raises UserError.
      read_values: reads it as a mask, the file's own values unchanged (of a palette image the
        indices); raises UserError.
      read_group: the file's own statement of whom it is of, "" where it makes none.
      read_grid: where the volume or the frame lies in the patient; None where the file can't say.
      doubt: what the file leaves open of how it lies, for people; "" for nothing.
    """

    suffix: str
    read: Callable[[], Decoded]
    read_values: Callable[[], Values]
    read_group: Callable[[], str] = str
    read_grid: Callable[[], Grid | None] = _no_grid
    doubt: str = ""


def is_image(file: Path | os.DirEntry[str]) -> bool:
    """Says whether a file is read: by its ending, else as DICOM by its marker.

    Scanners name DICOM files by numbers and dots, 1.2.840.113619.2.5.1, or end them in .IMA; "DICM"
    stands behind their first 128 bytes. DICOMDIR has it, too, but is the table of contents of a
    disc.
    """
    return bool(ending(file.name)) or (file.name.lower() != "dicomdir" and _has_marker(file))


def ending(name: str) -> str:
    """Returns which of `EXTENSIONS` a file's name or path ends in, "" where it is none of them."""
    lower = name.lower()
    if not lower.endswith(EXTENSIONS):
        return ""
    return next(known for known in EXTENSIONS if lower.endswith(known))


def stem(name: str) -> str:
    """Returns a file's name or path without its known ending: "a/x" of "a/x.nii.gz"."""
    return name[: len(name) - len(ending(name))]


def images_in(path: Path, reading: Reading) -> list[FileImage]:
    """Returns the images in a file, none of them decoded; of volumes it reads the header.

    A DICOM file may have the ending of a picture. A pipe or a folder with the name of an image is
    one image, and reading it says what is wrong.

    Raises:
      UserError: `reading` can't be used, or the package that reads such files is not installed.
    """
    if complaint := _special(path):
        refuse = partial(_refuse, complaint)
        return [FileImage("", refuse, refuse)]
    name = path.name.lower()
    if name.endswith(NIFTI):
        from common.data.nifti import slices_of

        return slices_of(path, reading)
    if name.endswith(PICTURES) and (name.endswith(_DUAL) or not _has_marker(path)):
        from common.data.masks import read_values

        return [
            FileImage("", partial(read_image, path, reading.window), partial(read_values, path))
        ]
    from common.data.dicom import frames_of

    return frames_of(path, reading)


def _has_marker(file: Path | os.DirEntry[str]) -> bool:
    try:
        found = file.stat()
        return not special_kind(found.st_mode) and _holds_marker(
            os.fspath(file), found.st_size, found.st_mtime_ns
        )
    except OSError:
        return False


@lru_cache(_KNOWN_MARKERS)  # folders are listed several times
def _holds_marker(path: str, size: int, changed: int) -> bool:
    if size <= _PREAMBLE:
        return False
    with Path(path).open("rb", buffering=0) as stream:
        stream.seek(_PREAMBLE)
        return stream.read(len(_MARKER)) == _MARKER


def _special(path: Path) -> str:
    """Says what is wrong with a path behind which there is no file; "" where there is one."""
    try:
        regular_file(path)
    except UserError as error:
        return str(error)
    except OSError:  # its reader says so
        pass
    return ""


def _refuse(complaint: str) -> NoReturn:
    raise UserError(complaint)
