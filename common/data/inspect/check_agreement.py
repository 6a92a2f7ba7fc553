"""Findings about masks that do not seem to belong to their images."""

from collections.abc import Iterator, Sequence

import numpy as np

from common.data.inspect.agreement import Odd, odd_masks
from common.data.inspect.facts import Survey
from common.data.inspect.findings import Finding, Level, counted, some

_REMEDY = {
    "inverted": "Look at them in the page; if black and white are exchanged, save them anew.",
    "exchanged": "Look at them in the page; exchange the files, or remove them.",
    "moved": "Look at them in the page; draw them anew or remove them.",
}


def find_odd_masks(survey: Survey, groups: Sequence[str]) -> list[Odd]:
    """Returns the masks that do not seem to fit; grey and coloured images are judged apart.

    Args:
      survey: the images.
      groups: whom each is of; "" is a group of its own.
    """
    found: list[Odd] = []
    for channels in (1, 3):
        rows = [
            (row, image.pair)
            for row, image in enumerate(survey.images)
            if image.pair and image.pair.pixels.shape[-1] == channels
        ]
        if not rows:
            continue
        odd = odd_masks(
            np.stack([pair.pixels for _, pair in rows]),
            np.stack([pair.foreground for _, pair in rows]),
            [groups[row] or f"#{row}" for row, _ in rows],
        )
        place = [row for row, _ in rows]
        found += [
            Odd(place[each.row], each.kind, place[each.other] if each.other >= 0 else -1, each.gain)
            for each in odd
        ]
    return sorted(found, key=lambda odd: -odd.gain)


def check_agreement(survey: Survey, odd: Sequence[Odd]) -> Iterator[Finding]:
    """Yields which masks look inverted, exchanged or moved."""
    for kind, remedy in _REMEDY.items():
        alike = [each for each in odd if each.kind == kind]
        if alike:
            listed = some([_name(survey, each) for each in alike])
            yield Finding(
                Level.LOOK,
                f"{counted(len(alike), 'mask looks', 'masks look')} {kind}, as far as the other"
                f" pairs tell: {listed}.",
                remedy,
            )


def seems(survey: Survey, odd: Odd) -> str:
    """Returns what seems to be the matter with a mask: "exchanged with b.png?"."""
    other = f" with {survey.images[odd.other].record.id}" if odd.other >= 0 else ""
    return f"{odd.kind}{other}?"


def _name(survey: Survey, odd: Odd) -> str:
    name = survey.images[odd.row].record.id
    return name if odd.other < 0 else f"{name} (with {survey.images[odd.other].record.id})"
