"""Pictures of translations: rows of pictures with a caption, and what two differ in."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from common.report.images import Picture, beside, titled, zoom_for

_SMALLEST = 128  # pixels along a picture's side
TRANSLATED = "image | translation | target | how far these two are apart"
RETURNED = "image | translation | brought back | how far that is from the image"


class Case(NamedTuple):
    """Pictures of one image, side by side, and a line above them."""

    pictures: Sequence[Picture]
    caption: str = ""


def translated_case(image: Picture, found: Picture, target: Picture, caption: str = "") -> Case:
    """Returns the row `TRANSLATED`."""
    return Case((image, found, target, apart(found, target)), caption)


def returned_case(image: Picture, found: Picture, returned: Picture) -> Case:
    """Returns the row `RETURNED`."""
    return Case((image, found, returned, apart(returned, image)))


def apart(one: Picture, other: Picture) -> Picture:
    """Returns how far two pictures are apart at each pixel: black where they are equal."""
    difference: Picture = np.abs(one.astype(np.int16) - other).astype(np.uint8)
    return difference


def panels(cases: Sequence[Case], title: str, legend: str) -> Picture:
    """Returns cases below each other."""
    zoom = zoom_for(len(cases[0].pictures[0]), _SMALLEST)
    rows = []
    for case in cases:
        row = beside([x.repeat(zoom, 0).repeat(zoom, 1) for x in case.pictures], gap=2)
        rows.append(titled(row, case.caption) if case.caption else row)
        rows.append(np.full((2, *row.shape[1:]), 255, np.uint8))
    return titled(titled(np.concatenate(rows), legend), title)
