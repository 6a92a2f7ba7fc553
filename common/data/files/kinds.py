"""Which files are read as images: by ending, or as DICOM by marker."""

import os
from functools import lru_cache
from pathlib import Path

from common.program.files import special_kind

PICTURES = (
    *(".bmp", ".gif", ".jfif", ".jp2", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm"),
    *(".ppm", ".tif", ".tiff", ".webp"),
)

DICOM = (".dcm", ".dicom")

NIFTI = (".nii.gz", ".nii")

EXTENSIONS = (*PICTURES, *DICOM, *NIFTI)

_PREAMBLE, _MARKER = 128, b"DICM"  # DICOM's marker follows the preamble (PS3.10, 7.1)

DUAL = (".tif", ".tiff")  # may be both TIFF and DICOM, whose preamble has room for a TIFF header

_KNOWN_MARKERS = 2**17  # files


def is_image(file: Path | os.DirEntry[str]) -> bool:
    """Returns whether a file is read as images: by its ending, else as DICOM by its marker.

    Scanners name DICOM files by numbers and dots, 1.2.840.113619.2.5.1, or end them in .IMA; "DICM"
    follows their first 128 bytes. DICOMDIR has it, too, but is a disc's table of contents.
    """
    return bool(ending(file.name)) or (file.name.lower() != "dicomdir" and has_marker(file))


def ending(name: str) -> str:
    """Returns which of `EXTENSIONS` a file's name or path ends in, "" if none."""
    lower = name.lower()
    if not lower.endswith(EXTENSIONS):
        return ""
    return next(known for known in EXTENSIONS if lower.endswith(known))


def stem(name: str) -> str:
    """Returns a file's name or path without its known ending: "a/x" of "a/x.nii.gz"."""
    return name[: len(name) - len(ending(name))]


def has_marker(file: Path | os.DirEntry[str]) -> bool:
    """Returns whether a file has DICOM's marker, whatever its name."""
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
