"""Tables of an inspection: each a header and rows of text and numbers."""

from collections import Counter
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from jaxtyping import Float

from common.inspect.check_masks import mask_shares
from common.inspect.facts import Facts, Survey
from common.program.words import counted

_WIDE_FRAME = 5  # pixels; wider frames are counted together
_KINDS_SHOWN = 12  # rows of a table of sizes, modes or types

Cell: TypeAlias = str | int | float
Table: TypeAlias = tuple[list[str], list[list[Cell]]]


def counts_table(survey: Survey) -> Table:
    """Returns the header and the rows of a table of images by class and split."""
    splits = survey.splits

    def row(name: str, count: Callable[[str], int]) -> list[Cell]:
        return [name, *map(count, splits), count("")]

    def groups(split: str) -> int:
        return len({survey.images[place].group for place in survey.rows(split)} - {""})

    rows = [
        row(name, lambda split, label=label: len(survey.rows(split, label)))  # type: ignore[misc]
        for label, name in enumerate(survey.classes)
    ]
    if len(survey.classes) > 1:
        rows.append(row("all classes", lambda split: len(survey.rows(split))))
    if groups(""):
        rows.append(row("groups", groups))
    return ["class", *splits, "all"], rows


def frame_kind(image: Facts) -> str:
    """Returns "2 pixels", "none" or "wider"."""
    width = image.frame.width
    return counted(width, "pixel") if 0 < width < _WIDE_FRAME else "wider" if width else "none"


def kind_table(survey: Survey, kind: str, value: Callable[[Facts], str]) -> Table:
    """Returns a table of how often each value occurs in each class."""
    counts = [
        Counter(value(survey.images[row]) for row in survey.rows("", label))
        for label in range(len(survey.classes))
    ]
    total = sum(counts, Counter[str]())
    rows: list[list[Cell]] = [
        [name, *(each[name] for each in counts)] for name, _ in total.most_common(_KINDS_SHOWN)
    ]
    if len(total) > _KINDS_SHOWN:
        shown = {str(row[0]) for row in rows}
        others = [sum(n for name, n in each.items() if name not in shown) for each in counts]
        rows.append([f"{len(total) - _KINDS_SHOWN:,} others", *others])
    return [kind, *survey.classes], rows


def range_table(survey: Survey) -> Table:
    """Returns a table of the values in the files, by mode."""
    rows: list[list[Cell]] = []
    for mode in sorted({(image.mode, image.bits) for image in survey.images}):
        images = [image for image in survey.images if (image.mode, image.bits) == mode]
        windows = {image.window for image in images}
        low, high = images[0].window
        rows.append(
            [
                f"{mode[0]}, {mode[1]} bit",
                len(images),
                float(min(image.value_range[0] for image in images)),
                float(np.median([image.value_range[1] for image in images])),
                float(max(image.value_range[1] for image in images)),
                f"{low:g} to {high:g}" if len(windows) == 1 else f"{len(windows):,} windows",
            ]
        )
    header = ["mode", "images", "lowest value", "highest (median)", "highest", "black to white"]
    return header, rows


def mask_table(survey: Survey) -> Table:
    """Returns a table of how much the masks of each split cover."""
    rows: list[list[Cell]] = []
    for split in survey.splits:
        shares = mask_shares(survey, split)
        rows.append([split, len(shares), int((shares == 0).sum()), *_quartiles(shares[shares > 0])])
    return ["split", "masks", "empty", "covers, first quarter", "median", "last quarter"], rows


def _quartiles(shares: Float[np.ndarray, " _num"]) -> list[str]:
    if not len(shares):
        return ["", "", ""]
    return [f"{100 * share:.2g} %" for share in np.percentile(shares, (25, 50, 75))]
