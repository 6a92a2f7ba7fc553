"""The images in one file: a picture is one, a DICOM file has frames, a NIfTI volume has slices."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Integer

from common.data.decode import read_image
from common.data.records import Decoded
from common.data.window import Window

PICTURES = (
    *(".bmp", ".gif", ".jfif", ".jp2", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm"),
    *(".ppm", ".tif", ".tiff", ".webp"),
)
DICOM = (".dcm", ".dicom")
NIFTI = (".nii.gz", ".nii")
EXTENSIONS = (*PICTURES, *DICOM, *NIFTI)
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


@dataclass(frozen=True)
class FileImage:
    """One image of a file.

    Attributes:
      suffix: "" where the file is one image, else "#000", "#001", ...
      read: decodes it; raises UserError.
      read_values: reads it as a mask, the file's own values unchanged (of a palette image the
        indices); raises UserError.
      read_group: the file's own statement of whom it is of, "" where it makes none.
    """

    suffix: str
    read: Callable[[], Decoded]
    read_values: Callable[[], Values]
    read_group: Callable[[], str] = str


def is_image(path: Path) -> bool:
    """Says whether a file is looked at: by its extension or, without one, as DICOM by its marker.

    Scanners write DICOM files without an extension; "DICM" stands behind their first 128 bytes.
    DICOMDIR has it, too, but is the table of contents of a disc.
    """
    name = path.name.lower()
    bare = "." not in name and name != "dicomdir"
    return name.endswith(EXTENSIONS) or (bare and _has_marker(path))


def stem(name: str) -> str:
    """Returns a file's name or path without the extension: "a/x" of "a/x.nii.gz"."""
    lower = name.lower()
    ending = next((ending for ending in EXTENSIONS if lower.endswith(ending)), "")
    return name[: len(name) - len(ending)]


def images_in(path: Path, reading: Reading) -> list[FileImage]:
    """Returns the images in a file, none of them decoded; of volumes it reads the header.

    Raises:
      UserError: `reading` can't be used, or the package that reads such files is not installed.
    """
    name = path.name.lower()
    if name.endswith(NIFTI):
        from common.data.nifti import slices_of

        return slices_of(path, reading)
    if name.endswith(PICTURES):
        from common.data.masks import read_values

        return [
            FileImage("", partial(read_image, path, reading.window), partial(read_values, path))
        ]
    from common.data.dicom import frames_of

    return frames_of(path, reading)


def _has_marker(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            return stream.read(132)[128:] == b"DICM"
    except OSError:
        return False
