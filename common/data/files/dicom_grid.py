"""Where the frames of a DICOM file lie in the patient (PS3.3, C.7.6.2 and C.7.6.16.2)."""

import numpy as np
from jaxtyping import Float
from pydicom import Dataset

from common.data.files.grids import Grid

# The attributes that state it, and their place in an enhanced multi-frame file.
_ATTRIBUTES = {
    "ImageOrientationPatient": "PlaneOrientationSequence",
    "ImagePositionPatient": "PlanePositionSequence",
    "PixelSpacing": "PixelMeasuresSequence",
    "SliceThickness": "PixelMeasuresSequence",
}
_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
GRID_TAGS = ("Rows", "Columns", *_ATTRIBUTES, *_GROUPS)

_TO_RIGHT_AND_FORWARD = np.diag([-1.0, -1.0, 1.0])  # DICOM counts to the left and backward


def grid_of(header: Dataset, frame: int) -> Grid | None:
    """Returns the grid of a frame: its columns, its rows, and one slice.

    Returns:
      None if orientation, position or spacing is missing or not numeric.
    """
    orientation, position, spacing, thickness = (
        _numbers(header, keyword, frame) for keyword in _ATTRIBUTES
    )
    if (len(orientation), len(position), len(spacing)) != (6, 3, 2) or spacing.min() <= 0:
        return None
    across, down = orientation[:3], orientation[3:]
    normal = np.cross(across, down)
    if not 0.9 < np.linalg.norm(normal) < 1.1:  # not two directions at right angles
        return None
    depth = thickness[0] if len(thickness) and thickness[0] > 0 else spacing.min()
    affine = np.eye(4)
    affine[:3, :3] = np.stack([across * spacing[1], down * spacing[0], normal * depth], axis=1)
    affine[:3, 3] = position
    affine[:3] = _TO_RIGHT_AND_FORWARD @ affine[:3]
    return Grid(affine, (int(header.Columns), int(header.Rows), 1))


def _numbers(header: Dataset, keyword: str, frame: int) -> Float[np.ndarray, " _num"]:
    """Returns the numbers of an attribute: the frame's own, else the shared ones, else the file's.

    The array is empty if they are missing, not finite or not numeric.
    """
    shared, own = (header.get(name) or [] for name in _GROUPS)
    groups = [*own[frame : frame + 1], *shared[:1]]
    items = [item for group in groups for item in group.get(_ATTRIBUTES[keyword]) or []]
    for owner in (*items, header):
        try:
            numbers = np.atleast_1d(np.asarray(owner.get(keyword) or [], np.float64))
        except (TypeError, ValueError):
            continue
        if numbers.size and np.isfinite(numbers).all():
            return numbers
    return np.zeros(0)
