"""The grid of a NIfTI volume, and how to turn another array onto it."""

import nibabel
import numpy as np
from jaxtyping import Float
from nibabel.orientations import inv_ornt_aff, io_orientation
from nibabel.spatialimages import HeaderDataError

from common.data.files.grids import Grid, alike

Turn = Float[np.ndarray, "3 2"]  # nibabel's: the new place of each axis, and whether it is flipped


def grid_of(image: nibabel.Nifti1Image, shape: tuple[int, int, int]) -> Grid:
    """Returns the grid that the header states: its sform, else its qform, else nibabel's default.

    Raises:
      LinAlgError: the axes lie in one plane, or a number is not finite.
    """
    if not np.isfinite(np.linalg.inv(image.affine)).all() or not np.isfinite(image.affine).all():
        raise np.linalg.LinAlgError("the header's affine is not finite")
    codes = int(image.header["sform_code"]), int(image.header["qform_code"])
    return Grid(image.affine, shape, stated=max(codes) > 0)


def doubt_of(image: nibabel.Nifti1Image, grid: Grid) -> str:
    """Returns a sentence on how a header's two orientations differ, "" if they do not."""
    sform, qform = (int(image.header[f"{kind}_code"]) for kind in ("sform", "qform"))
    if sform <= 0 or qform <= 0:
        return ""
    try:
        other = Grid(image.header.get_qform(), grid.shape)
    except (ValueError, HeaderDataError):  # the quaternion or the spacing is invalid
        return f"the sform says {grid.codes} and the qform is invalid, so the sform is used"
    if alike(grid, other):
        return ""
    return f"the sform says {grid.codes} and the qform {other.codes}, so the sform is used"


def upright(grid: Grid) -> Turn:
    """Returns the quarter turns that bring axes nearest to right, forward and up."""
    turn: Turn = io_orientation(grid.affine)
    return turn


def turn_onto(ours: Grid, theirs: Grid) -> Turn | None:
    """Returns the turn for an array of the second grid that matches `upright` of the first.

    If a header states no grid, equal indices mean equal places.

    Returns:
      None if the grids have different voxels, whatever the order of their axes.
    """
    if not (ours.stated and theirs.stated):
        return upright(ours) if ours.shape == theirs.shape else None
    onto = io_orientation(np.linalg.inv(ours.affine) @ theirs.affine)
    places = onto[:, 0].astype(int)
    affine = theirs.affine @ inv_ornt_aff(onto, theirs.shape)
    first, second, third = np.array(theirs.shape)[np.argsort(places)].tolist()
    if not alike(ours, Grid(affine, (first, second, third))):
        return None
    then = upright(ours)[places]
    return np.stack([then[:, 0], onto[:, 1] * then[:, 1]], axis=1)
