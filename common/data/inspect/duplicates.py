"""The same picture more than once: with equal pixels, re-compressed or cut anew, or mirrored.

A perceptual hash finds the pairs that may be copies among all pairs, an alignment of their
thumbnails tells which are. Neighbouring slices of a volume, chests and digits are alike, too, so
likeness alone does not make a copy: all that is like copies must end abruptly behind them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Float, Int, UInt8, UInt64
from scipy.fft import dctn
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree

from common.data.inspect.alignment import likeness
from common.data.inspect.facts import Facts

# Measured likeness of copies (JPEG of quality 30 to 95, half to full size, up to 4 % cut off), the
# lowest: lung CT 0.9996, chest X-rays of 128 pixels 0.993, dark MRI 0.978. Of others, the highest:
# neighbouring lung slices 0.991, X-rays of two people 0.942, neighbouring slices of dark MRI 0.996
# in a chain of 30, MNIST's ones 0.997 with dozens nearly as alike.
_ALIKE = 0.993
_GAP = 3.0  # how many times further from 1 is what is most like copies but is none
_CENTRAL = 0.5  # of a group that is alike to one of it: a chain of slices has no such centre

_RADIUS = 10  # bits of the hash that copies may differ in
_MOST_CANDIDATES = 1_000_000  # in larger sets the radius shrinks until there are no more pairs
_MOST_ALIGNED = 10_000  # of these, by likeness without alignment
_TINY = 1e-6
_ROWS = 256  # of the table of all pairs that are in memory at once

Kind: TypeAlias = Literal["exact", "near", "mirrored"]
Thumbnails = UInt8[np.ndarray, "_num 64 64"]
Hashes = UInt64[np.ndarray, " _num"]
Indices = Int[np.ndarray, " _pairs"]
Likeness = Float[np.ndarray, " _pairs"]


@dataclass(frozen=True)
class Copies:
    """Images that show the same picture.

    Attributes:
      kind: "exact" (equal pixels), "near" (re-compressed, resized, cut a little), "mirrored".
      rows: their places in the survey; at least two.
    """

    kind: Kind
    rows: tuple[int, ...]


def find_copies(images: Sequence[Facts]) -> list[Copies]:
    """Returns the groups of copies, exact ones first; images with nothing to see are left out."""
    rows_of: dict[bytes, list[int]] = {}
    for row, image in enumerate(images):
        if not image.flat:
            rows_of.setdefault(image.digest, []).append(row)
    pictures = list(rows_of.values())  # each picture once, with the rows that show it
    exact = [Copies("exact", tuple(rows)) for rows in pictures if len(rows) > 1]
    if len(pictures) < 2:
        return exact
    thumbnails = np.stack([images[rows[0]].thumbnail for rows in pictures])
    near = _groups(*_alike(thumbnails, thumbnails))
    mirrored = _groups(*_alike(thumbnails, thumbnails[:, :, ::-1]))
    kinds: list[tuple[Kind, list[list[int]]]] = [("near", near), ("mirrored", mirrored)]
    return exact + [
        Copies(kind, tuple(sorted(row for place in group for row in pictures[place])))
        for kind, groups in kinds
        for group in groups
    ]


def perceptual_hash(thumbnails: Thumbnails) -> Hashes:
    """Returns 64 bits of each: which of the lowest frequencies (DCT, 8x8) lie above their median.

    Zauner 2010, "Implementation and benchmarking of perceptual image hash functions".
    """
    halves = thumbnails.reshape(len(thumbnails), 32, 2, 32, 2).mean((2, 4), dtype=np.float32)
    frequencies = dctn(halves, axes=(1, 2))[:, :8, :8].reshape(len(thumbnails), 64)
    median = np.median(frequencies[:, 1:], axis=1, keepdims=True)
    return np.packbits(frequencies > median, axis=1).view(np.uint64)[:, 0]


def _alike(first: Thumbnails, second: Thumbnails) -> tuple[Indices, Indices, Likeness]:
    """Returns pairs (i, j), i < j, of `first[i]` and `second[j]` with their likeness.

    Which pairs: those whose hashes are near, at most `_MOST_ALIGNED`.
    """
    left, right = _candidates(_hashes(first), _hashes(second))
    if len(left) > _MOST_ALIGNED:
        coarse = _correlations(_coarse(first), _coarse(second), left, right)
        best = np.argpartition(-coarse, _MOST_ALIGNED)[:_MOST_ALIGNED]
        left, right = left[best], right[best]
    return left, right, likeness(first[left], second[right])


def _hashes(thumbnails: Thumbnails) -> Hashes:
    return np.concatenate([perceptual_hash(thumbnails[rows]) for rows in _blocks(len(thumbnails))])


def _candidates(first: Hashes, second: Hashes) -> tuple[Indices, Indices]:
    radius, total = _RADIUS, 0
    found: list[tuple[Indices, Indices, UInt8[np.ndarray, " _pairs"]]] = []
    for rows in _blocks(len(first)):
        distance = np.bitwise_count(first[rows, None] ^ second[None, rows.start :])
        left, right = np.nonzero(distance <= radius)
        later = right > left
        left, right = left[later], right[later]
        found.append((left + rows.start, right + rows.start, distance[left, right]))
        total += len(left)
        while total > _MOST_CANDIDATES and radius:
            radius -= 2  # half of the bits are set, so that distances are even
            found = [
                (left[bits <= radius], right[bits <= radius], bits[bits <= radius])
                for left, right, bits in found
            ]
            total = sum(len(left) for left, _, _ in found)
        if total > _MOST_CANDIDATES:
            break  # a million pairs of equal hashes are enough to say what is wrong
    left, right, _ = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return left, right


def _coarse(thumbnails: Thumbnails) -> Float[np.ndarray, "_num 256"]:
    """Returns the thumbnails at a quarter of their size, each with mean 0 and norm 1."""
    small = np.concatenate(
        [
            thumbnails[rows].reshape(-1, 16, 4, 16, 4).mean((2, 4), dtype=np.float32)
            for rows in _blocks(len(thumbnails))
        ]
    ).reshape(-1, 256)
    small -= small.mean(1, keepdims=True)
    return small / np.maximum(np.linalg.norm(small, axis=1, keepdims=True), _TINY)


def _correlations(
    first: Float[np.ndarray, "_num 256"],
    second: Float[np.ndarray, "_num 256"],
    left: Indices,
    right: Indices,
) -> Likeness:
    return np.concatenate(
        [
            np.einsum("np,np->n", first[left[rows]], second[right[rows]])
            for rows in _blocks(len(left))
        ]
    )


def _groups(left: Indices, right: Indices, alike: Likeness) -> list[list[int]]:
    """Returns the groups of copies: alike, around one of them, and apart from everything else.

    Where a group is not, its weakest link is cut and its parts are looked at.
    """
    close = alike >= _ALIKE
    groups, waiting = [], _components(left[close], right[close])
    while waiting:
        group = waiting.pop()
        inside = np.isin(left, group).astype(int) + np.isin(right, group)
        links = (inside == 2) & close
        weakest = _weakest_link(left[links], right[links], alike[links])
        nearest = alike[inside == 1].max(initial=0.0)
        neighbours = np.bincount(np.concatenate([left[links], right[links]])).max()
        if neighbours >= _CENTRAL * (len(group) - 1) and 1 - nearest >= _GAP * (1 - weakest):
            groups.append(group)
        else:
            stronger = links & (alike > weakest)
            waiting += _components(left[stronger], right[stronger])
    return sorted(groups)


def _components(left: Indices, right: Indices) -> list[list[int]]:
    if not len(left):
        return []
    places, ends = np.unique(np.concatenate([left, right]), return_inverse=True)
    graph = coo_array((np.ones(len(left)), ends.reshape(2, -1)), shape=(len(places),) * 2)
    _, labels = connected_components(graph, directed=False)
    return [places[labels == label].tolist() for label in np.unique(labels)]


def _weakest_link(left: Indices, right: Indices, alike: Likeness) -> float:
    """Returns the least likeness that is needed to hold a group together."""
    places, ends = np.unique(np.concatenate([left, right]), return_inverse=True)
    # A graph leaves out edges of weight 0, so likeness 1 must not become it.
    weights = 2 - alike.astype(np.float64)
    graph = coo_array((weights, ends.reshape(2, -1)), shape=(len(places),) * 2)
    return float(2 - minimum_spanning_tree(graph.tocsr()).data.max())


def _blocks(num: int) -> Iterator[slice]:
    for start in range(0, num, _ROWS):
        yield slice(start, min(start + _ROWS, num))
