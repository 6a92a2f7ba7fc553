"""Which example is for training, validation or test: as in the source, or made from its groups.

A group is whom an image is of, such as a patient. Images of one group are never separated: a
network that has seen a patient recognises the patient, and the test measures that, not the disease.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np
from jaxtyping import Float, Int, Shaped

from common.data.copies.together import extra_copies, owners_of_copies
from common.data.equal_pairs import rows_of_equal_pairs
from common.data.findings import outputs_of, shown_by
from common.data.grouping import Grouping
from common.data.prepared.further import with_further
from common.data.records import FURTHER, SPLITS
from common.data.settings import DataSettings
from common.data.spelling import is_missing
from common.program.errors import GroupError, UserError
from common.program.log import log
from common.program.words import counted

_ROUNDING = 1e-9  # tolerance of sums of shares
_LEAST_FOLDERS = 3  # different folder names that an expression must find to mean patients

Rows = Int[np.ndarray, " _rows"]
Counts = Int[np.ndarray, " _num"]
Shares = Float[np.ndarray, " _parts"]
Kinds: TypeAlias = dict[tuple[int, ...], list[str]]  # the labels in a group -> such groups


@dataclass(frozen=True)
class Table:
    """The examples of a set, without their pixels, in the order in which they are stored.

    Attributes:
      ids: unique names: paths below the root.
      labels: indices of classes.
      groups: as the source states them; "" if it states none.
      splits: as in the source.
      pictures: equal numbers for copies of one picture; () if none were looked for.
      equal: whether the target is the image again (common/data/equal_pairs.py); () without targets.
    """

    ids: tuple[str, ...]
    labels: tuple[int, ...]
    groups: tuple[str, ...]
    splits: tuple[str, ...]
    pictures: tuple[int, ...] = ()
    equal: tuple[bool, ...] = ()


def groups_of(table: Table, pattern: str) -> tuple[str, ...]:
    """Returns the group of every example according to `config.data.group`.

    If none is stated, or only "nan", "N/A" and the like, it is "" (a group of its own), or for a
    file that holds several images the file.

    Args:
      table: the examples.
      pattern: a regular expression that is searched in the file's name and, if it matches no name,
        in the names of its folders, the innermost first; in the path below the root if it holds a
        "/". The group is its first parenthesis, or the whole match. "", "column:..." and
        "dicom:..." use what the source states.

    Raises:
      GroupError: it is not a regular expression, a name does not match it, or nothing is stated.
    """
    stated: Sequence[str]
    if Grouping.of(pattern).expression:
        stated = _matches(table.ids, pattern)
    elif pattern and all(map(is_missing, table.groups)):
        raise GroupError(
            f"config.data.group is '{pattern}', but no image has such a group; 'column:' needs a"
            " labels.csv and 'dicom:' DICOM files; for other names write a regular expression."
        )
    else:
        stated = ["" if is_missing(group) else group for group in table.groups]
    return tuple(group or _shared_file(name) for group, name in zip(stated, table.ids, strict=True))


def _matches(ids: Sequence[str], pattern: str) -> tuple[str, ...]:
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise GroupError(
            f"config.data.group is '{pattern}', which is not a regular expression ({error}); for"
            r" PATIENT_12.png write --config.data.group='(.+)_\d+'"
        ) from error
    whole_paths = "/" in pattern
    searched = ids if whole_paths else [name.rsplit("/", 1)[-1] for name in ids]
    found = [_searched(expression, (name,)) for name in searched]
    if not whole_paths and not any(found):
        found = [_searched(expression, reversed(name.split("/")[:-1])) for name in ids]
        if len(set(found)) < _LEAST_FOLDERS:  # folders of splits and classes do not count
            found = [None] * len(ids)
    _check_all_match(pattern, searched, found)
    return tuple(group or "" for group in found)


def _searched(expression: re.Pattern[str], names: Iterable[str]) -> str | None:
    """Returns the group in the first name that matches; None if none does."""
    for name in names:
        if match := expression.search(name):
            return match.group(1 if expression.groups else 0) or ""
    return None


def _check_all_match(pattern: str, searched: Sequence[str], found: Sequence[str | None]) -> None:
    missed = [name for name, group in zip(searched, found, strict=True) if group is None]
    if not missed:
        return
    listed = ", ".join(missed[:3]) + (f" and {len(missed) - 3:,} more" if len(missed) > 3 else "")
    raise GroupError(
        f"config.data.group is '{pattern}', which does not match {len(missed):,} of"
        f" {len(searched):,} file names: {listed}. For PATIENT_12.png write"
        r" --config.data.group='(.+)_\d+', for folders of patients"
        " --config.data.group='([^/]+)/[^/]+$', and if the groups are unknown"
        " --config.data.group=''"
    )


def _shared_file(name: str) -> str:
    """Returns "a.nii.gz" for "a.nii.gz#012", and "" for an image in a file of its own."""
    return name[: match.start()] if (match := re.search(r"#\d+$", name)) else ""


def assign_splits(
    table: Table, groups: Sequence[str], classes: Sequence[str], data: DataSettings
) -> Mapping[str, Rows]:
    """Returns the rows of each split, in order; the same for the same examples and settings.

    `data.splits` of "" keeps the source's own; "70,15,15" makes train, val and test with these
    percentages from all examples. With the source's own, `data.held_out` of "15,15" takes missing
    splits, val or test or both, from train. `data.folds` of k then divides train and val into k
    parts, of which part `data.fold` becomes val; test stays. All keep groups whole, give each split
    its share of each class as nearly as possible, and depend on `data.split_seed`.

    `data.copies` of "group" also keeps copies of one picture together; "drop" keeps one of each, if
    possible in test, and puts the others in no split; "keep" ignores copies. `data.equal_pairs` of
    "drop" puts the pairs of patients whose targets equal their images in no split. Last,
    `data.train_images` of n leaves about n images in train and puts the others in no split. Images
    of `data.unlabelled_dir` then join train, see `with_further`.

    Args:
      table: the examples.
      groups: the group of each, from `groups_of`.
      classes: their names.
      data: `splits`, `held_out`, `folds`, `fold`, `split_seed`, `copies`, `equal_pairs`,
        `train_images` are used.

    Raises:
      UserError: a setting is invalid, there are too few groups for every split, a class is not in
        train, or every target equals its image.
    """
    names = np.array(table.splits, "<U5")
    names[left_out_pairs(table, groups, data)] = ""
    if data.copies == "group":
        groups = owners_of_copies(table.ids, groups, table.pictures)
    elif data.copies == "drop":
        names[_dropped(table, data)] = ""
    further = names == FURTHER
    names[further] = ""
    if data.splits:
        shares = _percentages(data.splits)
        rows = np.flatnonzero(names != "")
        parts = _divide(table, groups, rows, list(shares.values()), data.split_seed)
        names[rows] = np.array(list(shares))[parts]
    elif lacking := _lacking(data.held_out, names):
        rows = np.flatnonzero(names == "train")
        shares = {"train": 1 - sum(lacking.values()), **lacking}
        parts = _divide(table, groups, rows, list(shares.values()), data.split_seed)
        names[rows] = np.array(list(shares))[parts]
    if data.folds or data.fold:
        if not (data.folds >= 2 and 0 <= data.fold < data.folds):
            raise UserError(
                f"config.data.fold is {data.fold} of {data.folds} folds; there must be at least"
                " 2 folds, counted from 0."
            )
        rows = np.flatnonzero((names != "test") & (names != ""))
        parts = _divide(table, groups, rows, [1.0 / data.folds] * data.folds, data.split_seed)
        names[rows] = np.where(parts == data.fold, "val", "train")
    names[_too_many(table, groups, np.flatnonzero(names == "train"), data)] = ""
    splits = {split: np.flatnonzero(names == split) for split in SPLITS if (names == split).any()}
    if (names != np.array(table.splits)).any():
        _check_classes(splits, np.array(table.labels), classes)
    return with_further(splits, np.flatnonzero(further), table.ids, groups, table.pictures)


def _too_many(table: Table, groups: Sequence[str], train: Rows, data: DataSettings) -> Rows:
    """Returns the training images that `data.train_images` leaves out."""
    if not 0 < data.train_images < len(train):
        return train[:0]
    share = data.train_images / len(train)
    parts = _divide(table, groups, train, [share, 1 - share], data.split_seed)
    left_out: Rows = train[parts == 1]
    return left_out


def _dropped(table: Table, data: DataSettings) -> Rows:
    """Returns the copies to leave out of all splits; the one in the last split is kept."""
    later = {FURTHER: 3} if data.splits else {"val": 1, "train": 2, FURTHER: 3}
    ranks = [later.get(split, 0) for split in table.splits]
    order = sorted(range(len(ranks)), key=lambda row: (ranks[row], table.ids[row]))
    return extra_copies(table.pictures, order)


def left_out_pairs(table: Table, groups: Sequence[str], data: DataSettings) -> Rows:
    """Returns the pairs of patients whose targets equal their images, if these are left out.

    Raises:
      UserError: none but these is left.
    """
    owners = [group or name for group, name in zip(groups, table.ids, strict=True)]
    equal = table.equal if data.equal_pairs == "drop" else ()
    rows = rows_of_equal_pairs(equal, owners)
    if 0 < len(rows) == len(owners):
        raise UserError(
            "In every pair the target equals the image, so nothing is to be learnt; check"
            f" config.data.take ({data.take!r}) and the targets, or keep such pairs with"
            " --config.data.equal_pairs=keep"
        )
    return rows


def check_division(data: DataSettings) -> None:
    """Refuses two settings that both define validation, and warns of one without effect.

    Only for new runs: older runs may have such settings, and continue with them.

    Raises:
      UserError: `data.splits` gives val a share, and `data.folds` a part of train and val.
    """
    made = data.splits or data.held_out or data.folds or data.train_images
    if data.split_seed and not made:
        log.warning(
            "config.data.split_seed=%d has no effect: the data has its own splits, and none of"
            " config.data.splits, held_out, folds and train_images asks for others",
            data.split_seed,
        )
    if data.splits and data.folds and "val" in (shares := _percentages(data.splits)):
        train = f"{100 * (shares['train'] + shares['val']):g},0,{100 * shares.get('test', 0):g}"
        raise UserError(
            f"config.data.splits={data.splits} and config.data.folds={data.folds} both"
            f" define validation; write --config.data.folds=0 for {100 * shares['val']:g} %, or"
            f" --config.data.splits={train} for one fold of {data.folds}."
        )


def warn_of_mixed_test(table: Table, data: DataSettings) -> None:
    """Warns if images that the source has in test enter training."""
    if data.splits and "test" in table.splits:
        log.warning(
            "config.data.splits=%s makes new splits, also from the images that were in test;"
            " config.data.folds=10 takes a tenth for validation and leaves test alone",
            data.splits,
        )


def _percentages(text: str) -> dict[str, float]:
    """Returns the share of each split that gets one."""
    try:
        percents = [float(part) for part in text.split(",")]
    except ValueError:
        percents = []
    usable = len(percents) == 3 and min(percents) >= 0 and percents[0] > 0
    if not (usable and abs(sum(percents) - 100) < 1e-6):
        raise UserError(
            f"config.data.splits is '{text}'; write the percentages of train, val and test, as in"
            " --config.data.splits=70,15,15, or leave it empty to keep the splits as they are."
        )
    return {split: part / 100 for split, part in zip(SPLITS, percents, strict=True) if part}


def _lacking(text: str, names: Shaped[np.ndarray, " _rows"]) -> dict[str, float]:
    """Returns the share of train for each split that the source lacks."""
    if not text:
        return {}
    try:
        percents = [float(part) for part in text.split(",")]
    except ValueError:
        percents = []
    if not (len(percents) == 2 and min(percents) >= 0 and sum(percents) < 100):
        raise UserError(
            f"config.data.held_out is '{text}'; write the percentages of train that become val"
            " and test if these are missing, as in --config.data.held_out=15,15, or leave it empty."
        )
    shares = dict(zip(("val", "test"), (part / 100 for part in percents), strict=True))
    return {split: share for split, share in shares.items() if share and split not in names}


def _check_classes(splits: Mapping[str, Rows], labels: Rows, classes: Sequence[str]) -> None:
    shown, outputs = shown_by(classes)[labels], outputs_of(classes)
    for split, rows in splits.items():
        absent = shown.any(0) & ~shown[rows].any(0)
        names = ", ".join(outputs[place] for place in np.flatnonzero(absent))
        if names and split == "train":
            raise UserError(
                f"Class {names} would have no image in train, because it has too few images or"
                " groups; change --config.data.splits, held_out or folds, or add images."
            )
        if names:
            log.warning("no image of class %s in %s: it has too few groups", names, split)


def _divide(
    table: Table, groups: Sequence[str], rows: Rows, shares: Sequence[float], seed: int
) -> Rows:
    """Returns the part that each of `rows` goes to, whole groups at a time.

    Groups of one kind, with equal numbers of images of each class, are interchangeable. What a part
    lacks decides how many of each kind it gets, largest groups first; a hash of their names decides
    which. So for images without groups each part gets its share of each class, rounded down or up,
    and an image added later moves few others.
    """
    names = [
        f"group {groups[row]}" if groups[row] else f"id {table.ids[row]}" for row in rows.tolist()
    ]
    labels = [table.labels[row] for row in rows.tolist()]
    members: dict[str, list[int]] = {}
    for name, label in zip(names, labels, strict=True):
        members.setdefault(name, []).append(label)
    if len(members) < len(shares):
        raise UserError(
            f"There {'is' if len(members) == 1 else 'are'}"
            f" {counted(len(members), 'image or group of images', 'images or groups of images')}"
            " (config.data.group; copies of one picture are a group, too) for"
            f" {counted(len(shares), 'split')}, and each needs at least one: add images, or ask for"
            " fewer splits (config.data.splits, held_out or folds)."
        )
    kinds: Kinds = {}
    for name, held in members.items():
        kinds.setdefault(tuple(sorted(held)), []).append(name)
    part_of = _choose(kinds, np.bincount(labels), np.array(shares), seed)
    _fill_gaps(part_of, kinds, len(shares))
    return np.array([part_of[name] for name in names])


def _choose(kinds: Kinds, totals: Counts, shares: Shares, seed: int) -> dict[str, int]:
    """Returns the part of each group, assigned by size, then by rarity of their classes."""
    lacks = np.outer(shares, np.ones(len(totals)))  # per class, as shares of its images
    lacking = shares * totals.sum()  # in images of any class
    order = sorted(kinds, key=lambda kind: (-len(kind), totals[list(kind)].min(), kind))
    part_of: dict[str, int] = {}
    for kind in order:
        content = np.bincount(kind, minlength=len(totals)) / np.maximum(totals, 1)
        # The number of such groups nearest to what is lacking: least squares over the classes.
        wanted = lacks @ content / (content @ content)
        numbers = _allot(wanted, lacking / len(kind), len(kinds[kind]))
        lacks -= np.outer(numbers, content)
        lacking -= numbers * len(kind)
        names = sorted(kinds[kind], key=partial(_rank, seed))
        chosen = np.repeat(np.arange(len(shares)), numbers)
        part_of.update(zip(names, chosen.tolist(), strict=True))
    return part_of


def _allot(wanted: Shares, lacking: Shares, num: int) -> Counts:
    """Divides `num` groups of one kind among the parts.

    Each part gets the whole groups that it wants. Of parts that want a fraction of one more, that
    which lacks most images over all classes comes first: class by class, a small part would lose
    every rounding.
    """
    given = np.maximum(np.floor(wanted + _ROUNDING), 0).astype(np.int64)
    if given.sum() > num:
        given[:] = 0
    while given.sum() < num:
        more = wanted - given
        claims = list(
            zip(np.floor(more + _ROUNDING), more > _ROUNDING, lacking - given, strict=True)
        )
        given[claims.index(max(claims))] += 1
    return given


def _fill_gaps(part_of: dict[str, int], kinds: Kinds, num_parts: int) -> None:
    """Moves a group into each empty part: the smallest one that its part has most like it."""
    gaps = set(range(num_parts)) - set(part_of.values())
    if not gaps:
        return
    classes = {name: frozenset(kind) for kind, names in kinds.items() for name in names}
    sizes = {name: len(kind) for kind, names in kinds.items() for name in names}
    for empty in sorted(gaps):
        held = Counter(part_of.values())
        alike = Counter((part, classes[name]) for name, part in part_of.items())
        movable = [name for name, part in part_of.items() if held[part] > 1]
        moved = max(movable, key=lambda name: (alike[part_of[name], classes[name]], -sizes[name]))
        part_of[moved] = empty


def _rank(seed: int, name: str) -> str:
    return hashlib.sha256(f"{seed} {name}".encode()).hexdigest()
