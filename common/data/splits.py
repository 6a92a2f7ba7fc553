"""Which example is for training, validation or test: as the source says, or made from its groups.

A group is whom an image is of, a patient say. Images of one group never part: a network that has
seen a patient knows the patient again, and the test measures that instead of the disease.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int
from ml_collections import ConfigDict

from common.data.records import SPLITS
from common.errors import UserError

Rows = Int[np.ndarray, " _rows"]


@dataclass(frozen=True)
class Table:
    """The examples of a set, without their pixels, in the order in which they are stored.

    Attributes:
      ids: unique names: paths below the root.
      labels: indices of classes.
      groups: as the source states them; "" where it states none.
      splits: as the source tells them apart.
    """

    ids: tuple[str, ...]
    labels: tuple[int, ...]
    groups: tuple[str, ...]
    splits: tuple[str, ...]


def groups_of(table: Table, pattern: str) -> tuple[str, ...]:
    """Returns the group of every example by `config.data.group`.

    Args:
      table: the examples.
      pattern: a regular expression that is searched in the file's name (in its path below the root
        if it holds a "/"): the group is its first parenthesis, or all it matches. "",
        "column:..." and "dicom:..." leave it to what the source states.

    Raises:
      UserError: it is no regular expression, or a name does not match it.
    """
    if stated_by_source(pattern):
        return table.groups
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise UserError(
            f"config.data.group is '{pattern}', which is no regular expression ({error}); for"
            r" PATIENT_12.png write --config.data.group='(.+)_\d+'"
        ) from error
    groups = []
    for name in table.ids:
        searched = name if "/" in pattern else name.rsplit("/", 1)[-1]
        match = expression.search(searched)
        if match is None:
            raise UserError(
                f"config.data.group is '{pattern}', which {searched} does not match; change the"
                " expression so that every file has a group."
            )
        groups.append(match.group(1 if expression.groups else 0) or "")
    return tuple(groups)


def stated_by_source(pattern: str) -> bool:
    """Says whether `config.data.group` names what the source states, rather than file names."""
    return not pattern or pattern.startswith(("column:", "dicom:"))


def assign_splits(table: Table, groups: Sequence[str], data: ConfigDict) -> Mapping[str, Rows]:
    """Returns the rows of each split, in order; the same for the same examples and settings.

    `data.splits` of "" keeps the source's own; "70,15,15" makes train, val and test with these
    percentages from all examples. `data.folds` of k then divides train and val into k parts, of
    which part `data.fold` becomes val; test stays. Both are stratified (each split gets its share
    of each class, as near as whole groups allow) and depend on `data.split_seed`. A group goes
    where its own name leads it: one that is added later moves few others.

    Raises:
      UserError: a setting is unusable, or there are too few groups for a split to have any.
    """
    names = np.array(table.splits)
    if data.splits:
        shares = _percentages(data.splits)
        everything = np.arange(len(names))
        names = np.array(list(shares))[
            _divide(table, groups, everything, list(shares.values()), data)
        ]
    if data.folds:
        if not (data.folds >= 2 and 0 <= data.fold < data.folds):
            raise UserError(
                f"config.data.fold is {data.fold} of {data.folds} folds; there are at least 2 of"
                " them, and they are counted from 0."
            )
        rows = np.flatnonzero(names != "test")
        parts = _divide(table, groups, rows, [1.0 / data.folds] * data.folds, data)
        names[rows] = np.where(parts == data.fold, "val", "train")
    return {split: np.flatnonzero(names == split) for split in SPLITS if (names == split).any()}


def _percentages(text: str) -> dict[str, float]:
    """Returns the share of each split that gets any."""
    try:
        percents = [float(part) for part in text.split(",")]
    except ValueError:
        percents = []
    usable = len(percents) == 3 and min(percents) >= 0 and percents[0] > 0
    if not usable or abs(sum(percents) - 100) > 1e-6:
        raise UserError(
            f"config.data.splits is '{text}'; write the percentages of train, val and test, as in"
            " --config.data.splits=70,15,15, or nothing to keep the splits as they are."
        )
    return {split: part / 100 for split, part in zip(SPLITS, percents, strict=True) if part}


def _divide(
    table: Table, groups: Sequence[str], rows: Rows, shares: Sequence[float], data: ConfigDict
) -> Rows:
    """Returns which part each of `rows` goes to, whole groups at a time.

    Large groups first, each goes to the part that lacks most of what the group has: of each class
    the share that is still missing, weighted by the group's images of it.
    """
    labels = np.array(table.labels)[rows]
    members: dict[str, list[int]] = {}
    for place, row in enumerate(rows):
        name = f"group {groups[row]}" if groups[row] else f"id {table.ids[row]}"
        members.setdefault(name, []).append(place)
    if len(members) < len(shares):
        raise UserError(
            f"There are {len(members)} groups (config.data.group) for {len(shares)} splits; each"
            " split needs one at least."
        )
    totals = np.bincount(labels)
    # What each part lacks of each class; as a share of it below, so that rare classes count, too.
    lacks = np.array(shares)[:, None] * totals
    empty = set(range(len(shares)))
    parts = np.zeros(len(rows), np.int64)
    order = sorted(members, key=lambda name: (-len(members[name]), _rank(name, data.split_seed)))
    for left, name in zip(range(len(order), 0, -1), order, strict=True):
        counts = np.bincount(labels[members[name]], minlength=len(totals))
        missing = (lacks / np.maximum(totals, 1)) @ (counts / counts.sum())
        choices = sorted(empty) if left == len(empty) else range(len(shares))
        part = max(choices, key=lambda choice: missing[choice])
        lacks[part] -= counts
        parts[members[name]] = part
        empty.discard(part)
    return parts


def _rank(name: str, seed: int) -> str:
    return hashlib.sha256(f"{seed} {name}".encode()).hexdigest()
