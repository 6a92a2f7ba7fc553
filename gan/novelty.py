"""Are a generator's images new? The test of gan/memorization.py on the images of a run."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from common.data.prepared import Prepared
from common.data.transforms import to_signed_unit
from common.errors import UserError
from common.report.images import write_picture
from common.training.network import Variables
from common.training.parallel import in_batches
from gan.features import make_extractors
from gan.memorization import (
    Memorization,
    membership_auc,
    memorization,
    repeating,
    suspicious_picture,
    verdict,
)
from gan.quality import Reference
from gan.state import GAN

_HELD_OUT = ("val", "test")  # splits
_BATCH = 32
_PIXELS = "pixels"

Images = UInt8[np.ndarray, "_images height width channels"]
Scores = Float[np.ndarray, " images"]


def scores_of(gan: GAN, variables: Variables) -> Callable[[Images], Scores]:
    """Returns images -> the discriminator's logits, larger for what it takes for real."""

    def logits(variables: Variables, images: Array) -> Array:
        judged: Any = gan.networks.discriminator.apply(
            variables, to_signed_unit(images), train=False
        )
        found: Array = judged.logits
        return found

    run = in_batches(logits, variables, _BATCH)
    return lambda images: run(images).reshape(len(images))


def judged_new(
    output: Path,
    prepared: Prepared,
    reference: Reference,
    images: Images,
    features: Mapping[str, Float[np.ndarray, "_images _features"]],
    scores: Callable[[Images], Scores],
) -> dict[str, Any]:
    """Returns the verdict and all figures behind it, and draws the most suspicious pairs.

    Compared are the pixels and the features; held out is one image of each patient of the splits
    "val" and "test", because images of one are not independent.

    Args:
      output: where memorization.png goes.
      prepared: the data.
      reference: the training images.
      images: generated ones.
      features: of these, by extractor of the reference.
      scores: see `scores_of`.
    """
    held_out = _one_of_each(prepared)
    training = prepared.splits[reference.split].read(reference.rows.tolist())["image"]
    (pixels,) = make_extractors(_PIXELS, prepared.card.image_size, prepared.card.channels)
    found: dict[str, Memorization] = {}
    try:
        if not len(held_out):
            raise UserError(
                "Whether the generator repeats training images cannot be told without held-out"
                " images; train with --config.data.splits=70,15,15."
            )
        found[_PIXELS] = memorization(*(pixels.extract(x) for x in (images, training, held_out)))
        for name, extractor in reference.extractors.items():
            if name != _PIXELS:
                sets = features[name], reference.features[name], extractor.extract(held_out)
                found[name] = memorization(*(reference.scaled(name, x) for x in sets))
    except UserError as error:
        return {"can_tell": False, "memorized": False, "verdict": str(error)}
    membership = membership_auc(scores(training), scores(held_out))
    worst = min(found.values(), key=lambda space: space.p_value)
    write_picture(
        output / "memorization.png", suspicious_picture(worst, images, training, held_out)
    )
    return {
        "can_tell": True,
        "memorized": bool(repeating(found)),
        "verdict": verdict(found, membership),
        "spaces": {name: asdict(space) for name, space in found.items()},
        "membership_auc": asdict(membership),
    }


def _one_of_each(prepared: Prepared) -> Images:
    """Returns an image of each patient that is held out."""
    parts = []
    for name in _HELD_OUT:
        if split := prepared.splits.get(name):
            owners = [group or own for group, own in zip(split.groups, split.ids, strict=True)]
            first: Int[np.ndarray, " patients"] = np.unique(owners, return_index=True)[1]
            parts.append(split.read(first.tolist())["image"])
    card = prepared.card
    empty = np.empty((0, card.image_size, card.image_size, card.channels), np.uint8)
    return np.concatenate([empty, *parts])
