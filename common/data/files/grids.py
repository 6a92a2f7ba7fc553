"""Where the voxels of a file lie in the patient, and whether two files share a grid."""

from dataclasses import dataclass
from itertools import permutations, product

import numpy as np
from jaxtyping import Float

_SAME = 0.1  # voxels: corners of equal grids differ by less, since headers are rounded
_DIRECTIONS = ("LR", "PA", "IS")  # negative and positive ends of an affine's axes
_SAMPLES = 16  # along an axis, to measure an overlap

Affine = Float[np.ndarray, "4 4"]


@dataclass(frozen=True)
class Grid:
    """The voxels of a volume, or the pixels of a frame as a volume of one slice.

    Attributes:
      affine: from indices to millimetres to the right, forward and up.
      shape: number of voxels along each axis.
      stated: whether the file states it; else the affine is a default.
    """

    affine: Affine
    shape: tuple[int, int, int]
    stated: bool = True

    @property
    def codes(self) -> str:
        """Returns the nearest directions of the axes: "RAS+" is right, anterior, superior."""
        steps = self.affine[:3, :3]
        cosines = steps / np.linalg.norm(steps, axis=0).clip(np.finfo(np.float64).tiny)
        rows = max(permutations(range(3)), key=lambda rows: np.abs(cosines[rows, range(3)]).sum())
        return (
            "".join(_DIRECTIONS[row][int(cosines[row, i] > 0)] for i, row in enumerate(rows)) + "+"
        )


def _distance(first: Grid, second: Grid) -> float:
    """Returns how far the corners of two grids of one shape differ, in voxels of the first."""
    corners = np.array([(*index, 1) for index in product(*((0, n - 1) for n in first.shape))]).T
    moved = np.linalg.inv(first.affine) @ (second.affine - first.affine) @ corners
    return float(np.abs(moved).max())


def alike(first: Grid, second: Grid) -> bool:
    """Returns whether the voxels of two grids are in the same places, as far as both state it."""
    if first.shape != second.shape:
        return False
    return not (first.stated and second.stated) or _distance(first, second) < _SAME


def overlap(first: Grid, second: Grid) -> float:
    """Returns the share of the first grid's box that the second's covers, 0..1."""
    cells = (np.arange(_SAMPLES) + 0.5) / _SAMPLES
    inside = np.stack(np.meshgrid(*(cells * n - 0.5 for n in first.shape)), -1).reshape(-1, 3)
    to_second = np.linalg.inv(second.affine) @ first.affine
    there = inside @ to_second[:3, :3].T + to_second[:3, 3]
    return float(((there >= -0.5) & (there <= np.array(second.shape) - 0.5)).all(axis=1).mean())
