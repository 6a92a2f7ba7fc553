"""The images in one file: a picture is one, a DICOM file has frames, a NIfTI volume has slices."""

from functools import partial
from pathlib import Path
from typing import NoReturn

from common.data.files.decode import read_image
from common.data.files.image import FileImage, Reading
from common.data.files.kinds import DUAL, NIFTI, PICTURES, has_marker
from common.program.errors import UserError
from common.program.files import regular_file


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
