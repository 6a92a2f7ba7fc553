"""Partners: the mask or target that belongs to each image of a file."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NoReturn

from common.data.files.grids import Grid, alike, overlap
from common.data.files.image import FileImage, Reading
from common.data.files.kinds import NIFTI
from common.data.files.slices import images_in
from common.program.errors import UserError
from common.program.words import counted


def partners_of(
    path: Path, images: Sequence[FileImage], partner: Path, reading: Reading
) -> Sequence[FileImage]:
    """Returns an image of the partner's file for each image of a file, none of them decoded.

    The headers state how they lie in the patient. For two NIfTI volumes the partner is brought to
    the image's grid if exchanging and flipping axes is enough; if a header states no grid, voxels
    of equal indices belong together, and the image's header turns both. DICOM frames are shown as
    they are stored, so those of a pair must have equal grids. A volume is turned by its header and
    a picture or a frame is not, so how these two belong together is unknown.

    Images that do not belong together raise when read; `config.data.on_bad_image` may skip them.

    Args:
      path: the file of the images.
      images: those in it.
      partner: the file of their masks or targets.
      reading: the settings for reading files.
    """
    found = images_in(partner, reading)
    if _is_volume(path) and _is_volume(partner):
        ours, theirs = images[0].read_grid(), found[0].read_grid()
        if turned := ours and theirs and _turned(ours, partner, theirs, reading):
            return turned
    complaint = _complaint(path, images, partner, found)
    if not complaint:
        return found
    first = found[0]
    refused = FileImage(
        "", partial(_refuse, first.read, complaint), partial(_refuse, first.read_values, complaint)
    )
    return [refused] * len(images)


def _is_volume(path: Path) -> bool:
    return path.name.lower().endswith(NIFTI)


def _turned(ours: Grid, partner: Path, theirs: Grid, reading: Reading) -> list[FileImage]:
    """Returns the slices of a volume on the grid of another, none if the grids differ."""
    from common.data.files.nifti import slices_of
    from common.data.files.nifti_grid import turn_onto

    turn = turn_onto(ours, theirs)
    if turn is None:
        return []
    slices = slices_of(partner, reading, turn)
    own = slices[0].doubt and f"in its partner {slices[0].doubt}"
    doubt = _doubt(ours, theirs) or own
    return [replace(image, doubt=doubt) for image in slices]


def _doubt(ours: Grid, theirs: Grid) -> str:
    """Returns what is uncertain about two volumes that are turned alike, "" if nothing is."""
    if ours.stated == theirs.stated:
        return ""
    return (
        f"the image's header says {_orientation(ours)}, its partner's {_orientation(theirs)}, so"
        " voxels of equal indices are taken to match"
    )


def _orientation(grid: Grid) -> str:
    return grid.codes if grid.stated else f"nothing ({grid.codes} by default)"


def _complaint(
    path: Path, images: Sequence[FileImage], partner: Path, found: Sequence[FileImage]
) -> str:
    """Returns why the images of two files do not belong together, "" if they do."""
    if _is_volume(path) != _is_volume(partner):
        volume, flat = (path, partner) if _is_volume(path) else (partner, path)
        return (
            f"{volume} is turned as its header says and {flat} is not, so their alignment is"
            " unknown; save both as NIfTI with one header, or both as pictures."
        )
    if len(found) != len(images):
        return (
            f"{path} holds {counted(len(images), 'image')} but {partner} {len(found)}; make the"
            " numbers equal."
        )
    for image, other in zip(images, found, strict=True):
        ours, theirs = image.read_grid(), other.read_grid()
        if ours and theirs and not alike(ours, theirs):
            return _apart(path, ours, partner, theirs)
    return ""


def _apart(path: Path, ours: Grid, partner: Path, theirs: Grid) -> str:
    sides = [
        f"{file} ({_orientation(grid)}, {'x'.join(map(str, grid.shape))} voxels)"
        for file, grid in ((path, ours), (partner, theirs))
    ]
    return (
        f"{sides[0]} and {sides[1]} have different grids by their headers:"
        f" {100 * overlap(ours, theirs):.0f} % of the first is in the second; resample the second"
        " onto the first or, if only its header is wrong, give it the first one's, as in"
        " docs/own_data.md."
    )


def _refuse(read: Callable[[], object], complaint: str) -> NoReturn:
    """Raises an error when the image is read."""
    read()  # a file that can't be opened counts as one image, and raises its own error
    raise UserError(complaint)
