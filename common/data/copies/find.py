"""Copies, the same picture more than once: with equal pixels, slightly changed, or mirrored.

Descriptions find candidates among all pairs, and an alignment of their thumbnails decides.
Neighbouring slices of a volume, chests and digits are alike, too, so likeness alone does not make a
copy: there must be a gap between the copies and the next most alike pictures.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Float, Int, UInt8
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree
from threadpoolctl import threadpool_limits

from common.data.copies.alignment import likeness
from common.data.copies.candidates import NEAREST, all_round, candidates
from common.data.copies.look import Look
from common.program.log import log

MOST_COMPARED = 20_000  # pictures: the time grows with the square of their number
_MANY = 2_000  # pictures: from here on a log line announces the comparison, which takes seconds

# Lowest measured likeness of copies (JPEG of quality 80, 70 % of the size, 5 % cut off, turned by 3
# and 10 degrees, mirrored, darker): lung CT 0.997, chest X-rays of 128 pixels and brain MRI 0.995.
# Highest of others: neighbouring lung slices 0.979, X-rays of two people 0.93,
# neighbouring slices of brain MRI 0.996 in a chain of 20.
_ALIKE = 0.993
_GAP = 3.0  # how many times further from 1 the next most alike pictures must be
# Of a group larger than the search for neighbours, so many are compared with its centre; of slices
# that change gradually most may be like the middle one, but not nearly all.
_ASKED, _NEARLY_ALL = 64, 0.9
_CENTRAL = 0.5  # share of a group that is like its centre: a chain of slices has none

Kind: TypeAlias = Literal["exact", "near", "mirrored"]
Thumbnails = UInt8[np.ndarray, "_num 64 64"]
Indices = Int[np.ndarray, " _pairs"]
Likeness = Float[np.ndarray, " _pairs"]


@dataclass(frozen=True)
class Copies:
    """Images that show the same picture.

    Attributes:
      kind: "exact" (equal pixels), "near" (re-compressed, resized, cut a little, or turned a little
        or by quarter turns), "mirrored" (along any axis).
      rows: their indices among all; at least two.
    """

    kind: Kind
    rows: tuple[int, ...]


def find_copies(looks: Sequence[Look]) -> list[Copies]:
    """Returns the groups of copies, exact ones first; flat images are left out.

    If not all are compared (see `all_compared`), only exact ones are found.
    """
    rows_of: dict[bytes, list[int]] = {}
    for row, look in enumerate(looks):
        if not look.flat:
            rows_of.setdefault(look.digest, []).append(row)
    pictures = list(rows_of.values())  # each picture once, with the rows that show it
    copies = [Copies("exact", tuple(rows)) for rows in pictures if len(rows) > 1]
    if len(pictures) < 2 or not all_compared(looks):
        return copies
    kept = [looks[rows[0]].thumbnail for rows in pictures]
    thumbnails = np.stack([thumbnail for thumbnail in kept if thumbnail is not None])
    if len(pictures) > _MANY:
        log.info("comparing %s pictures, each with all others", f"{len(pictures):,}")
    kinds: tuple[Kind, ...] = ("near", "mirrored")
    # Our own threads: small products wait longer for BLAS's threads than they take.
    with threadpool_limits(1, "blas"):
        for kind in kinds:
            pairs = candidates(thumbnails, mirrored=kind == "mirrored")
            alike = likeness(thumbnails, pairs.left, pairs.right, pairs.position)
            copies += [
                Copies(kind, tuple(sorted(row for place in group for row in pictures[place])))
                for group in _groups(pairs.left, pairs.right, alike, thumbnails)
            ]
    return copies


def all_compared(looks: Sequence[Look]) -> bool:
    """Returns whether all pairs can be compared: images are few and their thumbnails kept."""
    return len(looks) <= MOST_COMPARED and all(look.thumbnail is not None for look in looks)


def same_pictures(copies: Sequence[Copies], num: int) -> tuple[int, ...]:
    """Returns a number for each of `num` images, equal for images of one picture."""
    ends = [(group.rows[0], row) for group in copies for row in group.rows[1:]]
    first, other = np.array(ends, np.int64).reshape(-1, 2).T
    graph = coo_array((np.ones(len(ends)), (first, other)), shape=(num, num))
    return tuple(connected_components(graph, directed=False)[1].tolist())


def _groups(
    left: Indices, right: Indices, alike: Likeness, thumbnails: Thumbnails
) -> list[list[int]]:
    """Returns the groups of copies: alike, around a centre, and distinct from all others.

    A group that is not is cut at its weakest link, and its parts are examined.
    """
    close = alike >= _ALIKE
    groups, waiting = [], _components(left[close], right[close])
    while waiting:
        group = waiting.pop()
        inside = np.isin(left, group).astype(int) + np.isin(right, group)
        links = (inside == 2) & close
        weakest = _weakest_link(left[links], right[links], alike[links])
        nearest = alike[inside == 1].max(initial=0.0)
        ends = np.concatenate([left[links], right[links]])
        if 1 - nearest >= _GAP * (1 - weakest) and _has_centre(group, ends, thumbnails):
            groups.append(group)
        else:
            stronger = links & (alike > weakest)
            waiting += _components(left[stronger], right[stronger])
    return sorted(groups)


def _has_centre(group: list[int], ends: Indices, thumbnails: Thumbnails) -> bool:
    """Returns whether one of a group is like many others, as among copies but not slices.

    Args:
      group: at least two.
      ends: of the links between them, which exist to nearest pictures only.
      thumbnails: of all pictures.
    """
    counts = np.bincount(ends)
    if counts.max() >= _CENTRAL * (len(group) - 1):
        return True
    if len(group) <= 2 * NEAREST:
        return False
    centre = int(counts.argmax())
    others = np.array([place for place in group if place != centre])
    some = others[np.linspace(0, len(others) - 1, min(len(others), _ASKED), dtype=int)]
    pairs = all_round(thumbnails, centre, some)
    alike = likeness(thumbnails, pairs.left, pairs.right, pairs.position)
    return float((alike >= _ALIKE).mean()) >= _NEARLY_ALL


def _components(left: Indices, right: Indices) -> list[list[int]]:
    if not len(left):
        return []
    places, ends = np.unique(np.concatenate([left, right]), return_inverse=True)
    graph = coo_array((np.ones(len(left)), ends.reshape(2, -1)), shape=(len(places),) * 2)
    _, labels = connected_components(graph, directed=False)
    return [places[labels == label].tolist() for label in np.unique(labels)]


def _weakest_link(left: Indices, right: Indices, alike: Likeness) -> float:
    """Returns the lowest likeness that is needed to hold a group together."""
    places, ends = np.unique(np.concatenate([left, right]), return_inverse=True)
    # A graph leaves out edges of weight 0, so likeness 1 must not become it.
    weights = 2 - alike.astype(np.float64)
    ends = ends.reshape(2, -1).astype(np.int32)  # SciPy before 1.17.1 needs int32
    graph = coo_array((weights, ends), shape=(len(places),) * 2)
    return float(2 - minimum_spanning_tree(graph.tocsr()).data.max())
