"""How alike two thumbnails are once one is laid upon the other.

The same picture in two files rarely lies on the same pixels: figures are cut out of papers a little
differently each time. So one thumbnail is shifted and stretched along both axes until it fits the
other best (Lucas and Kanade 1981, "An iterative image registration technique", with brightness and
contrast free), and only detail is compared: the outline of a chest is much the same in everybody.
"""

import numpy as np
from jaxtyping import Float, UInt8

from common.data.inspect.facts import THUMBNAIL

# What a pair must have reached after each step to be worth the next; copies of which 4 % are cut
# off reach 0.46, 0.83, 0.97.
_HOPES = (0.4, 0.8, 0.9, 0.9, 0.9)
_FINE, _COARSE = 1.0, 4.0  # the band of detail: standard deviations of two blurs, in pixels
_RING = 3  # pixels at the edge that are not compared: one of the two may have a frame
_STEP_LIMIT = 2.0  # pixels that one step may shift by, where the linear model still holds
_BATCH = 256
_TINY = 1e-6

Thumbnails = UInt8[np.ndarray, "_num 64 64"]
Pictures = Float[np.ndarray, "_num 64 64"]
Likeness = Float[np.ndarray, " _num"]

_COORDINATES = np.arange(THUMBNAIL, dtype=np.float32)
_CENTRED = (_COORDINATES - (THUMBNAIL - 1) / 2) / THUMBNAIL  # -0.5..0.5


def likeness(first: Thumbnails, second: Thumbnails) -> Likeness:
    """Returns the correlation of detail, -1..1, of each pair after the best small alignment.

    A pair that is far from fitting after some steps is given up: its likeness is too low.
    """
    alike = np.zeros(len(first), np.float32)
    for start in range(0, len(first), _BATCH):
        rows = slice(start, start + _BATCH)
        alike[rows] = _both_ways(first[rows], second[rows])
    return alike


def detail(pictures: Pictures) -> Pictures:
    """Returns what lies between fine noise and broad shading (a difference of Gaussian blurs)."""
    return _along_both(_BLUR_FINE, pictures) - _along_both(_BLUR_COARSE, pictures)


def _both_ways(first: Thumbnails, second: Thumbnails) -> Likeness:
    """Tries the other way round, too: what is cut off the first is still in the second."""
    alike = _likeness(first, second)
    hopeful = np.flatnonzero(alike >= _HOPES[-1])
    alike[hopeful] = np.maximum(alike[hopeful], _likeness(second[hopeful], first[hopeful]))
    return alike


def _likeness(first: Thumbnails, second: Thumbnails) -> Likeness:
    moving, target = first.astype(np.float32), _compared(detail(second.astype(np.float32)))
    target /= np.maximum(np.linalg.norm(target, axis=1, keepdims=True), _TINY)
    # Shift and stretch of rows, shift and stretch of columns, in pixels of the thumbnail.
    movement = np.zeros((len(first), 4), np.float32)
    best = np.full(len(first), -1.0, np.float32)
    rows = np.arange(len(first))
    for step, hope in enumerate(_HOPES):
        moved = detail(_moved(moving[rows], movement[rows]) if step else moving)
        source = _compared(moved)
        norm = np.maximum(np.linalg.norm(source, axis=1), _TINY)
        best[rows] = np.maximum(best[rows], np.einsum("np,np->n", source, target[rows]) / norm)
        going = best[rows] >= hope
        rows = rows[going]
        movement[rows] += _improvement(moved[going], source[going], target[rows])
    return best


def _improvement(moved: Pictures, source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Solves target = gain * (source + gradient * movement) by least squares for the movement."""
    rows, columns = np.gradient(moved, axis=(1, 2))
    down, across = _CENTRED[:, None], _CENTRED[None, :]
    slopes = [rows, rows * down, columns, columns * across]
    basis = np.stack([source, *map(_compared, slopes)], axis=1)
    gram = basis @ basis.swapaxes(1, 2)
    gram += (_TINY + _TINY * np.trace(gram, axis1=1, axis2=2))[:, None, None] * np.eye(5)
    weights = np.linalg.solve(gram, np.einsum("nkp,np->nk", basis, target)[..., None])[..., 0]
    gain = np.where(np.abs(weights[:, :1]) < _TINY, 1, weights[:, :1])
    return np.clip(weights[:, 1:] / gain, -_STEP_LIMIT, _STEP_LIMIT).astype(np.float32)


def _compared(pictures: Pictures) -> Float[np.ndarray, "_num _pixels"]:
    inner = pictures[:, _RING:-_RING, _RING:-_RING].reshape(-1, (THUMBNAIL - 2 * _RING) ** 2)
    return inner - inner.mean(1, keepdims=True)


def _moved(pictures: Pictures, movement: Float[np.ndarray, "_num 4"]) -> Pictures:
    rows = _resampling(movement[:, 0], movement[:, 1])
    columns = _resampling(movement[:, 2], movement[:, 3])
    return rows @ pictures @ columns.swapaxes(1, 2)


def _resampling(shift: Likeness, stretch: Likeness) -> Float[np.ndarray, "_num 64 64"]:
    """Returns matrices that read a row of pixels at shifted places by cubic interpolation.

    Keys 1981, "Cubic convolution interpolation for digital image processing", a = -0.5.
    """
    places = (_COORDINATES + shift[:, None] + stretch[:, None] * _CENTRED).clip(0, THUMBNAIL - 1)
    distance = np.abs(places[..., None] - _COORDINATES)
    near = (1.5 * distance - 2.5) * distance**2 + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    weights = np.where(distance <= 1, near, np.where(distance < 2, far, 0))
    return weights / weights.sum(-1, keepdims=True)


def _gaussian(deviation: float) -> Float[np.ndarray, "64 64"]:
    distance = _COORDINATES[:, None] - _COORDINATES
    weights = np.exp(-0.5 * (distance / deviation) ** 2)
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)


def _along_both(matrix: Float[np.ndarray, "64 64"], pictures: Pictures) -> Pictures:
    return matrix @ pictures @ matrix.T


_BLUR_FINE, _BLUR_COARSE = _gaussian(_FINE), _gaussian(_COARSE)
