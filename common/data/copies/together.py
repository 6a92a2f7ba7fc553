"""How splits treat copies: they stay together, or only one of each stays."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from common.data.records import UNLABELLED
from common.program.log import log

_SHOWN = 3  # pictures named in a warning

Rows = Int[np.ndarray, " _rows"]


def owners_of_copies(
    ids: Sequence[str], groups: Sequence[str], pictures: Sequence[int]
) -> tuple[str, ...]:
    """Returns merged groups that contain whole groups and all copies of each picture.

    Two patients with the same picture become one group, named after one of them.

    Args:
      ids: unique names of the images.
      groups: the group of each; "" is a group of its own.
      pictures: equal numbers for copies of one picture; () if none were looked for.
    """
    if len(set(pictures)) == len(pictures):
        return tuple(groups)
    owners = [group or f"id {name}" for group, name in zip(groups, ids, strict=True)]
    places = {owner: place for place, owner in enumerate(sorted(set(owners)))}
    ends = [places[owner] for owner in owners], [picture + len(places) for picture in pictures]
    size = len(places) + max(pictures) + 1
    graph = coo_array((np.ones(len(owners)), ends), shape=(size, size))
    labels = connected_components(graph, directed=False)[1]
    alone = np.bincount(labels[ends[0]])[labels[ends[0]]] == 1
    first: dict[int, str] = {}
    for owner, place in places.items():
        first.setdefault(int(labels[place]), owner)
    return tuple(
        group if single else first[int(labels[places[owner]])]
        for group, owner, single in zip(groups, owners, alone, strict=True)
    )


def extra_copies(pictures: Sequence[int], order: Sequence[int]) -> Rows:
    """Returns the rows that are copies of an earlier one.

    Args:
      pictures: equal numbers for copies of one picture.
      order: all rows, those to keep first.
    """
    seen: set[int] = set()
    extra = []
    for row in order if pictures else ():
        if pictures[row] in seen:
            extra.append(row)
        seen.add(pictures[row])
    return np.array(sorted(extra), np.int64)


def warn_of_copies(
    ids: Sequence[str],
    labels: Sequence[int],
    pictures: Sequence[int],
    splits: Mapping[str, Rows],
) -> None:
    """Warns of pictures that are in several splits or in several classes.

    Args:
      ids: unique names of the images.
      labels: their classes.
      pictures: equal numbers for copies of one picture.
      splits: the rows of each.
    """
    split_of = {int(row): split for split, rows in splits.items() for row in rows}
    shown: dict[int, list[int]] = {}
    for row, picture in enumerate(pictures):
        shown.setdefault(picture, []).append(row)
    none: set[object] = {UNLABELLED}  # which contradicts no label
    several = [rows for rows in shown.values() if len(rows) > 1]
    trained = [[row for row in rows if row in split_of] for rows in several]
    for what, property_of, groups, why in (
        ("splits", split_of, trained, "scores on them measure memory"),
        # Includes rows in no split: the copy that stays may be the one with the wrong label.
        ("classes", labels, several, "one of the labels is wrong"),
    ):
        found = [rows for rows in groups if len({property_of[row] for row in rows} - none) > 1]
        if found:
            named = ", ".join(" = ".join(ids[row] for row in rows[:2]) for rows in found[:_SHOWN])
            log.warning(
                "%s in several %s (%s%s): %s. --mode=inspect shows them; --config.data.copies=drop"
                " keeps one of each, =keep keeps all",
                "1 picture is" if len(found) == 1 else f"{len(found):,} pictures are",
                what,
                named,
                ", ..." if len(found) > _SHOWN else "",
                why,
            )
