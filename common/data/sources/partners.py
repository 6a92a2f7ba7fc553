"""What in the file of a mask or a target belongs to each image of an image's file."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

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

    They lie in the patient as the headers say. Of two NIfTI volumes the partner is brought to the
    image's grid, where that takes no more than to exchange and flip axes; where a header says
    nothing, voxels of equal indices belong together, and the image's header turns both. DICOM
    frames are shown as they are stored, so those of a pair have to lie alike. A volume is turned by
    its header and a picture or a frame is not: how such two belong together can't be known.

    What does not belong together says so when it is read, where `config.data.on_bad_image` may
    skip it.

    Args:
      path: the file of the images.
      images: what is in it.
      partner: the file of their masks or targets.
      reading: how files become images.
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
    """Returns the slices of a volume on the grid of another, none if they are not of one grid."""
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
    """Says what is not known of two volumes that are turned alike, "" for nothing."""
    if ours.stated == theirs.stated:
        return ""
    return (
        f"the image's header says {_orientation(ours)}, its partner's {_orientation(theirs)}, so"
        " that voxels of equal indices are taken for the same place"
    )


def _orientation(grid: Grid) -> str:
    return grid.codes if grid.stated else f"nothing ({grid.codes} by default)"


def _complaint(
    path: Path, images: Sequence[FileImage], partner: Path, found: Sequence[FileImage]
) -> str:
    """Says why the images of two files do not belong together, "" where they do."""
    if _is_volume(path) != _is_volume(partner):
        volume, flat = (path, partner) if _is_volume(path) else (partner, path)
        return (
            f"{volume} is turned as its header says and {flat} is not, so that how they lie on each"
            " other is unknown; save both as NIfTI with one header, or both as pictures."
        )
    if len(found) != len(images):
        return (
            f"{path} holds {counted(len(images), 'image')} but {partner} {len(found)}; make them as"
            " many."
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
        f"{sides[0]} and {sides[1]} do not lie alike by their headers:"
        f" {100 * overlap(ours, theirs):.0f} % of the first is in the second; resample the second"
        " onto the first or, where only its header is wrong, give it the first one's, as in"
        " docs/own_data.md."
    )


def _refuse(read: Callable[[], Any], complaint: str) -> NoReturn:
    """Says what is wrong when the image is read."""
    read()  # a file that can't be opened counts as one image, and says itself what is wrong
    raise UserError(complaint)
