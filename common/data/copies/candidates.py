"""Pairs of pictures that may be copies: alike at a coarse scale in one of many positions.

Each picture is described by a hundred numbers, its grey levels at coarse detail on a grid within a
disc. They are linear in the picture, so those of the turned, mirrored or cut picture are products
with other matrices, and the comparison of all pairs is a product as well.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np
from jaxtyping import Float, Int, UInt8

from common.data.copies.look import THUMBNAIL
from common.program.parallel import in_parallel

_GRID = 12  # places along each axis
_REACH = 0.9  # radius of the disc, of half the picture: corners turn out of sight
_FINE, _COARSE = 2.5, 8.0  # the band of detail: standard deviations of two blurs, in pixels
# Of the mean of all descriptions, which is subtracted: what all chests share tells no two apart.
# With few pictures each makes up much of the mean, and copies would cancel each other: up to this
# number nothing is subtracted, at twice as many half of the share.
_COMMON, _FEW = 0.8, 50
_TURNS = (0.0, 5.0, 10.0)  # degrees; a copy is at most half a step away from one
_ROUGHLY = 10  # degrees between directions when all are tried
_CUT = 0.95  # share of the picture left after a cut: in its centre, at a side, in a corner
_LEAST = 0.88  # likeness; measured on copies: 0.9 and more
NEAREST = 5  # pairs examined for each picture
_ROWS, _COLUMNS = 256, 1024  # a block of the table of all pairs that fits in the CPU's cache
_TINY = 1e-6

Thumbnails = UInt8[np.ndarray, "num 64 64"]
Position = Float[np.ndarray, "2 3"]
Described = Float[np.ndarray, "num _places"]
Sampling = Float[np.ndarray, "pixels places"]


@dataclass(frozen=True)
class Candidates:
    """Pairs of pictures that may be copies of each other.

    Attributes:
      left: one picture of each pair.
      right: the other, which `left` resembles once it is moved.
      position: from coordinates in `right` to those in `left`, about the centre.
    """

    left: Int[np.ndarray, " pairs"]
    right: Int[np.ndarray, " pairs"]
    position: Float[np.ndarray, "pairs 2 3"]


def candidates(thumbnails: Thumbnails, *, mirrored: bool) -> Candidates:
    """Returns for each picture those most like it, each pair once.

    Time grows with the square of the number of pictures, memory linearly.

    Args:
      thumbnails: the pictures, in grey.
      mirrored: whether to compare with mirror images instead.
    """
    num = len(thumbnails)
    positions = np.stack(list(_positions(mirrored=mirrored)))
    halved = _halved(thumbnails)
    plain = _unit(halved @ _sampling(np.eye(2, 3)))
    mean = _COMMON * max(0, 1 - _FEW / num) * plain.mean(0)
    target = _unit(plain - mean)
    moved = [_unit(_unit(halved @ _sampling(position)) - mean) for position in positions]
    blocks = [np.arange(start, min(start + _ROWS, num)) for start in range(0, num, _ROWS)]
    found = in_parallel(lambda rows: _nearest(rows, moved, target), blocks, "comparing")
    left, right, likeness = (np.concatenate(parts) for parts in zip(*found, strict=True))
    kept = _each_pair_once(left, right, likeness, num)
    left, right = left[kept], right[kept]
    which = np.argmax([(each[left] * target[right]).sum(1) for each in moved], axis=0)
    return Candidates(left, right, positions[which])


def all_round(thumbnails: Thumbnails, centre: int, others: Int[np.ndarray, " pairs"]) -> Candidates:
    """Returns one picture paired with each of some others, in any rotation, mirrored or not."""
    positions, samplings = _all_round()
    halved = _halved(thumbnails[[centre, *others]])
    moved = _unit(np.stack([halved[0] @ sampling for sampling in samplings]))
    target = _unit(halved[1:] @ _sampling(np.eye(2, 3)))
    which = (target @ moved.T).argmax(1)
    return Candidates(np.full(len(others), centre), others, positions[which])


@lru_cache(maxsize=1)
def _all_round() -> tuple[Float[np.ndarray, "positions 2 3"], list[Sampling]]:
    mirrors = (_with_shift(np.diag((side, 1.0))) for side in (1.0, -1.0))
    positions = [
        _turn(float(degrees)) @ mirror for mirror in mirrors for degrees in range(0, 360, _ROUGHLY)
    ]
    return np.stack(positions), [_sampling(position) for position in positions]


def _positions(*, mirrored: bool) -> Iterator[Position]:
    """Yields the positions in which pictures are compared.

    As each of a pair is moved to fit the other, turning to one side and cutting one are enough; a
    mirrored picture that is turned and mirrored again turns to the same side.
    """
    mirror = np.diag((-1.0 if mirrored else 1.0, 1.0))
    both_ways = _TURNS if not mirrored else (*(-turn for turn in _TURNS[:0:-1]), *_TURNS)
    quarters = (90.0, 180.0, 270.0) if mirrored else (90.0, 180.0)
    for degrees in (*both_ways, *quarters):
        yield _turn(degrees) @ _with_shift(mirror)
    for across, down in product((-1, 0, 1), repeat=2):
        yield np.column_stack([_CUT * mirror, (1 - _CUT) * np.array([across, down])])


def _turn(degrees: float) -> Position:
    cosine, sine = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return np.array([[cosine, -sine, 0], [sine, cosine, 0]])


def _with_shift(matrix: Float[np.ndarray, "2 2"]) -> Float[np.ndarray, "3 3"]:
    whole = np.eye(3)
    whole[:2, :2] = matrix
    return whole


def _nearest(
    rows: Int[np.ndarray, " rows"],
    moved: Sequence[Float[np.ndarray, "num places"]],
    target: Float[np.ndarray, "num places"],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns pairs `left`, `right` of these rows and the pictures most like each in any position.

    The third is their likeness, the correlation in the position where it is highest.
    """
    some = [each[rows] for each in moved]
    parts = []
    for start in range(0, len(target), _COLUMNS):
        columns = target[start : start + _COLUMNS].T
        best = some[0] @ columns
        for each in some[1:]:
            np.maximum(best, each @ columns, out=best)
        row, column = np.nonzero(best >= _LEAST)
        parts.append((rows[row], column + start, best[row, column]))
    left, right, likeness = (np.concatenate(part) for part in zip(*parts, strict=True))
    order = np.lexsort((-likeness, left))
    order = order[left[order] != right[order]]  # not with itself
    first = np.searchsorted(left[order], left[order])
    order = order[np.arange(len(order)) - first < NEAREST]
    return left[order], right[order], likeness[order]


def _each_pair_once(
    left: Int[np.ndarray, " num"],
    right: Int[np.ndarray, " num"],
    likeness: Float[np.ndarray, " num"],
    total: int,
) -> Int[np.ndarray, " kept"]:
    """Returns the indices of pairs, of (a, b) and (b, a) only the one more alike."""
    key = np.minimum(left, right) * total + np.maximum(left, right)
    order = np.lexsort((-likeness, key))
    first = np.r_[True, np.diff(key[order]) > 0][: len(order)]
    return np.sort(order[first])


def _halved(thumbnails: Thumbnails) -> Float[np.ndarray, "num pixels"]:
    """Returns the thumbnails at half their size, one a row."""
    half = THUMBNAIL // 2
    parts = [
        thumbnails[start : start + _ROWS]
        .reshape(-1, half, 2, half, 2)
        .mean((2, 4), dtype=np.float32)
        .reshape(-1, half * half)
        for start in range(0, len(thumbnails), _ROWS)
    ]
    return np.concatenate(parts)


def _sampling(position: Position) -> Sampling:
    """Returns the matrix that blurs halved thumbnails and samples them on the moved grid."""
    half = THUMBNAIL // 2
    steps = np.linspace(-1, 1, _GRID)
    across, down = (axis.ravel() for axis in np.meshgrid(steps, steps))
    inside = np.hypot(across, down) <= 1
    grid = np.stack([across[inside], down[inside]]) * _REACH
    places = position[:, :2] @ grid + position[:, 2:]
    across, down = (places + 1) / 2 * half - 0.5  # in pixels
    pixels = np.arange(half)

    def weights(deviation: float) -> Float[np.ndarray, "pixels places"]:
        columns, rows = (
            np.exp(-0.5 * ((pixels[:, None] - axis) / (deviation / 2)) ** 2)
            for axis in (across, down)
        )
        both = (rows[:, None] * columns[None]).reshape(half * half, -1)
        shares: np.ndarray = both / both.sum(0)
        return shares

    difference: np.ndarray = (weights(_FINE) - weights(_COARSE)).astype(np.float32)
    return difference


def _unit(described: Described) -> Described:
    centred = described - described.mean(1, keepdims=True)
    unit: Described = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), _TINY)
    return unit
