"""Pictures of segmentations: image, truth, prediction, and both outlines on the image."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool
from scipy import ndimage

from common.data.prepared.neighbours import own_slice
from common.data.prepared.prepared import DataCard
from common.data.records import Mask
from common.learning.network import SupervisedState, Variables
from common.report.images import Picture, beside, titled, zoom_for
from common.training.task import Examples

_SMALLEST = 160  # pixels along a panel's side
_ROWS = 4
# Of the classes after the background; colour-blind readers can tell them apart (Okabe and Ito,
# 2008).
_COLOURS = ((240, 228, 66), (86, 180, 233), (213, 94, 0), (0, 158, 115), (204, 121, 167))
_TRUE, _PREDICTED, _BOTH = (0, 158, 115), (213, 94, 0), (240, 228, 66)
LEGEND = "image | truth | prediction | outlines: truth green, prediction orange, both yellow"


class Case(NamedTuple):
    """An image with its true and its predicted mask."""

    image: Picture
    truth: Mask
    predicted: Mask
    caption: str


def panels(cases: Sequence[Case], card: DataCard, title: str = "") -> Picture:
    """Returns cases below each other, each as image, truth, prediction and outlines."""
    zoom = zoom_for(card.image_size, _SMALLEST)
    own = [case._replace(image=own_slice(case.image, card.neighbours)) for case in cases]
    rows = [titled(_row(case, zoom), case.caption) for case in own]
    whole = np.concatenate(rows)
    return titled(titled(whole, LEGEND), title or f"of {card.caption}")


def overlay(image: Picture, truth: Mask | None, predicted: Mask, zoom: int = 1) -> Picture:
    """Draws the outlines of a prediction, and of the truth if there is one, on an image."""
    large: Picture = _magnified(np.broadcast_to(image, (*image.shape[:2], 3)), zoom).copy()
    predicted_edge = _outline(_magnified(predicted, zoom))
    large[predicted_edge] = _PREDICTED
    if truth is not None:
        true_edge = _outline(_magnified(truth, zoom))
        large[true_edge] = _TRUE
        large[true_edge & predicted_edge] = _BOTH
    return large


def training_panels(
    segment: Callable[[Variables, Array], Array],
    state: SupervisedState,
    card: DataCard,
    examples: Examples,
) -> Picture:
    """Draws what `segment` finds in some training images, those with something to find first."""
    found = np.flatnonzero(examples["mask"].any((1, 2)))
    others = np.setdiff1d(np.arange(len(examples["mask"])), found)
    spread = found[np.linspace(0, len(found) - 1, min(_ROWS, len(found)), dtype=int)]
    chosen = np.concatenate([spread, others])[:_ROWS].astype(int)
    images, masks = examples["image"][chosen], examples["mask"][chosen]
    predicted = np.asarray(segment(state.average, jnp.asarray(images))).astype(np.uint8)
    cases = [Case(*case, "") for case in zip(images, masks, predicted, strict=True)]
    return panels(cases, card, f"step {int(state.step)}: training images of {card.caption}")


def _row(case: Case, zoom: int) -> Picture:
    parts = [
        _magnified(case.image, zoom),
        _magnified(_coloured(case.truth), zoom),
        _magnified(_coloured(case.predicted), zoom),
        overlay(case.image, case.truth, case.predicted, zoom),
    ]
    return beside(parts, gap=2)


def _coloured(mask: Mask) -> Picture:
    colours = np.zeros((256, 3), np.uint8)
    for index in range(1, 256):
        colours[index] = _COLOURS[(index - 1) % len(_COLOURS)]
    coloured: np.ndarray = colours[mask]
    return coloured


def _magnified(pixels: np.ndarray, zoom: int) -> np.ndarray:
    return pixels.repeat(zoom, axis=0).repeat(zoom, axis=1)


def _outline(mask: Mask) -> Bool[np.ndarray, "height width"]:
    """Returns which pixels lie inside a class other than the background and at its border."""
    inside = ndimage.minimum_filter(mask, size=3, mode="nearest")
    across = ndimage.maximum_filter(mask, size=3, mode="nearest")
    outline: np.ndarray = (mask > 0) & (inside != across)
    return outline
