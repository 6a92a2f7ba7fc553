"""Findings about masks that do not seem to belong to their images."""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import UInt8

from common.data.inspect.agreement import MOST_JUDGED, Odd, odd_masks
from common.data.inspect.facts import SmallPair, Survey
from common.data.inspect.findings import Finding, Level, counted, some

_REMEDY = {
    "inverted": "Look at them in the page; if black and white are exchanged, save them anew.",
    "exchanged": "Look at them in the page; exchange the files, or remove them.",
    "moved": "Look at them in the page; draw them anew or remove them.",
}


def find_odd_masks(survey: Survey, groups: Sequence[str]) -> list[Odd]:
    """Returns the masks that do not seem to fit, the oddest first.

    Args:
      survey: the images.
      groups: whom each is of; "" is a group of its own.
    """
    rows = [row for row, image in enumerate(survey.images) if image.pair]
    pairs = [image.pair for image in survey.images if image.pair]
    if not pairs:
        return []
    odd = odd_masks(
        small_images(pairs),
        np.stack([pair.foreground for pair in pairs]),
        [groups[row] or f"#{row}" for row in rows],
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


def check_agreement(survey: Survey, odd: Sequence[Odd]) -> Iterator[Finding]:
    """Yields which masks look inverted, exchanged or moved."""
    for kind, remedy in _REMEDY.items():
        alike = [each for each in odd if each.kind == kind]
        if alike:
            listed = some([_name(survey, each) for each in alike])
            yield Finding(
                Level.LOOK,
                f"{counted(len(alike), 'mask looks', 'masks look')} {kind}, as far as the other"
                f" pairs tell: {listed}.{_limit(survey)}",
                remedy,
            )


def _limit(survey: Survey) -> str:
    filled = sum(image.mask_share > 0 for image in survey.images if image.pair)
    return f" Of {filled:,} masks {MOST_JUDGED:,} were looked at." if filled > MOST_JUDGED else ""


def seems(survey: Survey, odd: Odd) -> str:
    """Returns what seems to be the matter with a mask: "exchanged with b.png?"."""
    other = f" with {survey.images[odd.other].record.id}" if odd.other >= 0 else ""
    return f"{odd.kind}{other}?"


def _name(survey: Survey, odd: Odd) -> str:
    name = survey.images[odd.row].record.id
    return name if odd.other < 0 else f"{name} (with {survey.images[odd.other].record.id})"
