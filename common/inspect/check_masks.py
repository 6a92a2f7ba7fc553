"""Findings about masks: empty ones, their cover, absent classes."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float

from common.inspect.facts import Survey
from common.inspect.findings import Finding, Level
from common.program.words import counted, percent

_MANY_EMPTY = 0.5
_SMALL = 0.05  # share of the pixels: predicting background alone already has high accuracy
_SHIFT = 0.15  # difference in the share of empty masks between train and another split


def check_masks(survey: Survey) -> Iterator[Finding]:
    """Yields findings on the masks, nothing if there are none."""
    shares = mask_shares(survey, "")
    if not len(shares):
        return
    yield from _empty(survey, shares)
    yield from _cover(shares)
    yield from _absent(survey)


def mask_shares(survey: Survey, split: str) -> Float[np.ndarray, " _num"]:
    """Returns the non-background share of each mask of a split ("" for all)."""
    return np.array(
        [
            image.mask_share
            for image in survey.images
            if image.mask_pixels and split in ("", image.split)
        ]
    )


def _empty(survey: Survey, shares: Float[np.ndarray, " _num"]) -> Iterator[Finding]:
    empty = {split: float((mask_shares(survey, split) == 0).mean()) for split in survey.splits}
    without = [split for split, share in empty.items() if share == 1]
    places = [f" in the {split} split" for split in without]
    for place in places if len(without) < len(empty) else [""]:
        yield Finding(
            Level.MEND,
            f"Every mask{place} is empty.",
            "Set what the masks' values mean: --config.data.mask_values=0=background,1=tumour",
        )
    overall = float((shares == 0).mean())
    if 0 < overall < 1:
        apart = max(abs(share - empty["train"]) for share in empty.values())
        listed = ", ".join(f"{percent(share)} in {split}" for split, share in empty.items())
        yield Finding(
            Level.LOOK if overall > _MANY_EMPTY or apart > _SHIFT else Level.NOTE,
            f"{int((shares == 0).sum()):,} of {counted(len(shares), 'mask')} are empty ({listed}).",
            "A mean Dice over images depends on the value for empty against empty; compare"
            " pooled scores.",
        )


def _cover(shares: Float[np.ndarray, " _num"]) -> Iterator[Finding]:
    filled = shares[shares > 0]
    if not len(filled):
        return
    low, middle, high = np.percentile(filled, (5, 50, 95))
    pixels = float(shares.mean())
    yield Finding(
        Level.NOTE,
        f"Non-empty masks cover {percent(middle)} of their image (median; nine of ten"
        f" {percent(low)} to {percent(high)}).",
        f"Use Dice or IoU: a network that finds nothing is right in {percent(1 - pixels)} of all"
        " pixels."
        if pixels < _SMALL
        else "",
    )
    full = int((shares == 1).sum())
    if full:
        yield Finding(
            Level.LOOK,
            f"{counted(full, 'mask covers', 'masks cover')} the whole image.",
            "Check whether black and white are swapped: --config.data.mask_values",
        )


def _absent(survey: Survey) -> Iterator[Finding]:
    for place, name in enumerate(survey.mask_classes):
        for split in survey.splits:
            images = [survey.images[row] for row in survey.rows(split)]
            there = any(sum(image.mask_pixels[place : place + 1]) for image in images)
            if place and not there and len(survey.mask_classes) > 2:
                yield Finding(
                    Level.LOOK,
                    f"No mask in the {split} split has any {name}.",
                    "Its score can't be measured there; make other splits or drop the class.",
                )
