"""The images in one file: one for a picture, frames of a DICOM file, slices of a NIfTI volume."""

from functools import partial
from pathlib import Path
from typing import NoReturn

from common.data.files.decode import read_image
from common.data.files.image import FileImage, Reading
from common.data.files.kinds import DUAL, NIFTI, PICTURES, has_marker
from common.program.errors import UserError
from common.program.files import regular_file


def images_in(path: Path, reading: Reading) -> list[FileImage]:
    """Returns the images in a file, not yet decoded; reads only the headers of volumes.

    A DICOM file may have the ending of a picture. A pipe or a folder named like an image counts as
    one image, which raises when read.

    Raises:
      UserError: `reading` is invalid, or the package that reads such files is not installed.
    """
    if complaint := _special(path):
        refuse = partial(_refuse, complaint)
        return [FileImage("", refuse, refuse)]
    name = path.name.lower()
    if name.endswith(NIFTI):
        from common.data.files.nifti import slices_of

        return slices_of(path, reading)
    if name.endswith(PICTURES) and (name.endswith(DUAL) or not has_marker(path)):
        from common.data.files.masks import read_values

        return [
            FileImage("", partial(read_image, path, reading.window), partial(read_values, path))
        ]
    from common.data.files.dicom import frames_of

    return frames_of(path, reading)


def _special(path: Path) -> str:
    """Returns what is wrong with a path that is not a file; "" if it is one."""
    try:
        regular_file(path)
    except UserError as error:
        return str(error)
    except OSError:  # its reader reports it
        pass
    return ""


def _refuse(complaint: str) -> NoReturn:
    raise UserError(complaint)
