"""How alike two thumbnails are once one is aligned with the other.

The same picture in two files rarely covers the same pixels: figures are cut out of papers a little
differently each time, and scans are skewed. So one thumbnail is moved, turned and stretched until
it fits the other best (Lucas and Kanade 1981, "An iterative image registration technique", with
brightness and contrast free), and only detail is compared: the outline of a chest is much the same
in everybody.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from common.data.copies.look import THUMBNAIL
from common.program.parallel import in_parallel

_FINE, _COARSE = 1.0, 4.0  # the band of detail: standard deviations of two blurs, in pixels
# Radius of the disc in which pictures are compared, as a share of half the picture: corners of a
# turned picture and its edge, such as a frame, do not belong to it.
_REACH = 0.8
_DENSE = 2 * THUMBNAIL  # pixels along an axis at which detail is kept; linear in between
_STEP_LIMIT = 0.07  # the most that one step may move, as a share of half the picture
_BATCH = 64
_TINY = 1e-6

Thumbnails = UInt8[np.ndarray, "_num 64 64"]
Pixels = Float[np.ndarray, "num pixels"]
Maps = Float[np.ndarray, "_num dense dense 3"]
Movement = Float[np.ndarray, "num 2 3"]
Likeness = Float[np.ndarray, " _pairs"]
Matrix = Float[np.ndarray, "_out 64"]


@dataclass(frozen=True)
class Disc:
    """Pixels of a thumbnail around its centre.

    Attributes:
      pixels: mask of the pixels in the disc.
      places: x and y of each, -1..1 over the picture, and 1.
    """

    pixels: Bool[np.ndarray, " all"]
    places: Float[np.ndarray, "3 places"]


def _axis(num: int) -> Float[np.ndarray, " num"]:
    """Returns the centres of pixels along an axis, -1..1 over the picture."""
    return (np.arange(num) + 0.5) / num * 2 - 1


def _disc(every: int) -> Disc:
    across, down = (axis.ravel() for axis in np.meshgrid(_axis(THUMBNAIL), _axis(THUMBNAIL)))
    row, column = np.divmod(np.arange(THUMBNAIL**2), THUMBNAIL)
    chosen = (np.hypot(across, down) <= _REACH) & (row % every == 0) & (column % every == 0)
    places = np.stack([across[chosen], down[chosen], np.ones(chosen.sum())])
    return Disc(chosen, places.astype(np.float32))


def _blurs(num: int) -> tuple[Matrix, Matrix]:
    """Returns matrices that blur along an axis, finely and coarsely, and sample `num` places."""
    distance = (_axis(num)[:, None] - _axis(THUMBNAIL)) * THUMBNAIL / 2
    fine, coarse = (np.exp(-0.5 * (distance / width) ** 2) for width in (_FINE, _COARSE))
    fine, coarse = (each / each.sum(1, keepdims=True) for each in (fine, coarse))
    return fine.astype(np.float32), coarse.astype(np.float32)


_SPARSE, _FULL = _disc(every=2), _disc(every=1)
# The likeness that a pair must reach after each step to go on, and where it is measured; copies
# with 5 % cut off reach 0.4, 0.9, 0.98.
_STEPS = (*((hope, _SPARSE) for hope in (0.3, 0.7, 0.85)), *((hope, _FULL) for hope in (0.93,) * 5))
_AS_IT_IS, _DENSELY = _blurs(THUMBNAIL), _blurs(_DENSE)


def likeness(
    thumbnails: Thumbnails,
    left: Int[np.ndarray, " _pairs"],
    right: Int[np.ndarray, " _pairs"],
    position: Float[np.ndarray, "_pairs 2 3"],
) -> Likeness:
    """Returns the correlation of detail, -1..1, of each pair after the best small alignment.

    A pair that still fits badly after some steps is given up: its likeness is too low.

    Args:
      thumbnails: the pictures.
      left: those that are moved; fastest if equal ones follow each other.
      right: those that they should fit.
      position: where the search starts: from coordinates in `right`, -1..1 over the picture, to
        those in `left`; a matrix and a shift.
    """
    batches = [slice(start, start + _BATCH) for start in range(0, len(left), _BATCH)]
    found = in_parallel(
        lambda batch: _likeness(thumbnails, left[batch], right[batch], position[batch]),
        batches,
        "aligning",
    )
    return np.concatenate([np.zeros(0, np.float32), *found])


def _likeness(
    thumbnails: Thumbnails,
    left: Int[np.ndarray, " _pairs"],
    right: Int[np.ndarray, " _pairs"],
    position: Float[np.ndarray, "_pairs 2 3"],
) -> Likeness:
    """Returns what `likeness` does, for few enough pairs to be in memory at once."""
    alike = np.zeros(len(left), np.float32)
    movement, rows = position.astype(np.float32), np.arange(len(left))
    pictures, which = np.unique(left, return_inverse=True)
    maps = _with_slopes(_detail(thumbnails[pictures], _DENSELY))
    targets = _detail(thumbnails[right], _AS_IT_IS).reshape(len(rows), -1)
    for hope, disc in _STEPS:
        read = _read(maps, which, movement[rows], disc)
        values, target = _centred(read[..., 0]), _unit(targets[:, disc.pixels])
        norm = np.maximum(np.linalg.norm(values, axis=1), _TINY)
        alike[rows] = np.einsum("np,np->n", values, target) / norm
        going = alike[rows] >= hope
        rows, which, targets = rows[going], which[going], targets[going]
        if not len(rows):
            break
        movement[rows] += _improvement(values[going], read[going, :, 1:], target[going], disc)
    return alike


def _detail(
    thumbnails: Thumbnails, blurs: tuple[Matrix, Matrix]
) -> Float[np.ndarray, "_num size size"]:
    """Returns detail between fine noise and broad shading (a difference of Gaussian blurs)."""
    grey = thumbnails.astype(np.float32)
    fine, coarse = (blur @ grey @ blur.T for blur in blurs)
    between: np.ndarray = fine - coarse
    return between


def _with_slopes(pictures: Float[np.ndarray, "_num dense dense"]) -> Maps:
    """Returns each picture, and its slopes per half of its width and of its height."""
    down, across = (slope * (_DENSE / 2) for slope in np.gradient(pictures, axis=(1, 2)))
    return np.stack([pictures, across, down], axis=-1)


def _improvement(
    values: Pixels, slopes: Float[np.ndarray, "num pixels 2"], target: Pixels, disc: Disc
) -> Movement:
    """Solves target = gain * (values + slopes * movement) by least squares for the movement."""
    num = len(values)
    directions = (slopes.swapaxes(1, 2)[:, :, None] * disc.places).reshape(num, 6, -1)
    basis = np.concatenate([values[:, None], _centred(directions)], axis=1)
    gram = basis @ basis.swapaxes(1, 2)
    gram += (_TINY + _TINY * np.trace(gram, axis1=1, axis2=2))[:, None, None] * np.eye(7)
    weights = np.linalg.solve(gram, basis @ target[..., None])[..., 0]
    gain = np.where(np.abs(weights[:, :1]) < _TINY, 1, weights[:, :1])
    step = np.clip(weights[:, 1:] / gain, -_STEP_LIMIT, _STEP_LIMIT)
    return step.reshape(num, 2, 3).astype(np.float32)


def _read(
    maps: Maps, which: Int[np.ndarray, " num"], movement: Movement, disc: Disc
) -> Float[np.ndarray, "num _places 3"]:
    """Samples the chosen maps at the moved places of the disc, linearly between pixels."""
    places = (movement @ disc.places + 1) * (_DENSE / 2) - 0.5
    places = places.clip(0, _DENSE - 1.001)
    corner = places.astype(np.intp)
    across, down = (places - corner).astype(np.float32).swapaxes(0, 1)[..., None]
    first = which[:, None] * _DENSE**2 + corner[:, 1] * _DENSE + corner[:, 0]
    flat = maps.reshape(-1, 3)
    upper = flat[first] * (1 - across) + flat[first + 1] * across
    lower = flat[first + _DENSE] * (1 - across) + flat[first + _DENSE + 1] * across
    between: np.ndarray = upper * (1 - down) + lower * down
    return between


def _centred(values: np.ndarray) -> np.ndarray:
    centred: np.ndarray = values - values.mean(-1, keepdims=True)
    return centred


def _unit(values: Pixels) -> Pixels:
    centred = _centred(values)
    unit: Pixels = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), _TINY)
    return unit
