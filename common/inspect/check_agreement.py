"""Findings about masks that do not seem to belong to their images."""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import UInt8

from common.data.spelling import natural_order
from common.inspect.agreement import (
    LEAST_MASKS,
    MOST_JUDGED,
    Odd,
    judgeable,
    odd_masks,
)
from common.inspect.facts import SmallPair, Survey
from common.inspect.findings import Finding, Level
from common.program.words import counted, some

_REMEDY = {
    "inverted": "Look at them in the page; if black and white are swapped, save them again.",
    "exchanged": "Look at them in the page; exchange the files, or remove them.",
    "emptied": "Look at them in the page; if there is something to mark, replace the file.",
    "moved": "Look at them in the page; redraw or remove them.",
}


def find_odd_masks(survey: Survey, groups: Sequence[str]) -> list[Odd]:
    """Returns the masks that do not seem to fit, the oddest first.

    Args:
      survey: the images.
      groups: the group of each; "" is a group of its own.
    """
    # Slice 2 comes before slice 10, so that neighbours are known.
    rows = sorted(
        (row for row, image in enumerate(survey.images) if image.pair),
        key=lambda row: natural_order(survey.images[row].record.id),
    )
    pairs = [pair for row in rows if (pair := survey.images[row].pair)]
    if not pairs:
        return []
    odd = odd_masks(
        small_images(pairs),
        np.stack([pair.foreground for pair in pairs]),
        [groups[row] or f"#{row}" for row in rows],
        np.array([survey.images[row].mask_share == 0 for row in rows]),
    )
    return [
        Odd(rows[each.row], each.kind, rows[each.other] if each.other >= 0 else -1, each.gain)
        for each in odd
    ]


def small_images(pairs: Sequence[SmallPair]) -> UInt8[np.ndarray, "num 64 64 channels"]:
    """Returns the images of all pairs, in colour if one is."""
    channels = max(pair.pixels.shape[-1] for pair in pairs)
    shape = (*pairs[0].pixels.shape[:2], channels)
    return np.stack([np.broadcast_to(pair.pixels, shape) for pair in pairs])


def check_agreement(survey: Survey, odd: Sequence[Odd], groups: Sequence[str]) -> Iterator[Finding]:
    """Yields findings on masks that look inverted, exchanged, moved or emptied."""
    if why := _why_untested(survey, groups):
        yield Finding(
            Level.NOTE,
            f"Whether masks fit their images was not tested: {why}.",
            "Look at them in the page.",
            untested=True,
        )
    for kind, remedy in _REMEDY.items():
        alike = [each for each in odd if each.kind == kind]
        if alike:
            listed = some([_name(survey, each) for each in alike])
            yield Finding(
                Level.LOOK,
                f"{counted(len(alike), 'mask looks', 'masks look')} {kind}, judging by the other"
                f" pairs:  {listed}.{_limit(survey)}",
                remedy,
            )


def _why_untested(survey: Survey, groups: Sequence[str]) -> str:
    """Returns why masks could not be judged; "" if they were, or there are none."""
    pairs = [image.pair for image in survey.images if image.pair]
    if not pairs:
        return ""
    num = int(judgeable(np.stack([pair.foreground for pair in pairs])).sum())
    if num < LEAST_MASKS:
        filled = counted(num, "mask is", "masks are")
        return f"{filled} neither empty nor full, of the {LEAST_MASKS} that are needed"
    owners = {
        group or f"#{row}"
        for row, (group, image) in enumerate(zip(groups, survey.images, strict=True))
        if image.pair
    }
    return "all are of one group, and there is no other to learn from" if len(owners) < 2 else ""


def _limit(survey: Survey) -> str:
    filled = sum(image.mask_share > 0 for image in survey.images if image.pair)
    return f" Of {filled:,} masks {MOST_JUDGED:,} were examined." if filled > MOST_JUDGED else ""


def seems(survey: Survey, odd: Odd) -> str:
    """Returns what seems to be wrong with a mask: "exchanged with b.png?"."""
    other = f" with {survey.images[odd.other].record.id}" if odd.other >= 0 else ""
    return f"{odd.kind}{other}?"


def _name(survey: Survey, odd: Odd) -> str:
    name = survey.images[odd.row].record.id
    return name if odd.other < 0 else f"{name} (with {survey.images[odd.other].record.id})"
