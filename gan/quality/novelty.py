"""Are a generator's images new? The test of gan/quality/memorization.py on the images of a run."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Array, Float, UInt8

from common.data.prepared.prepared import Prepared, Split
from common.data.transforms import to_signed_unit
from common.devices.apply import in_batches
from common.learning.network import Variables
from common.program.errors import RetrainError, UserError
from common.report.images import write_picture
from gan.quality.features import make_extractors
from gan.quality.figures import Features, Labels, Reference
from gan.quality.memorization import (
    Memorization,
    membership_auc,
    memorization,
    repeating,
    suspicious_picture,
    verdict,
)
from gan.state import GAN

SUSPICIOUS = "memorization.png"
_HELD_OUT = ("val", "test")  # splits
_BATCH = 32
_MOST = 2000  # held-out images

Images = UInt8[np.ndarray, "_images height width channels"]
Scores = Float[np.ndarray, " images"]


def scores_of(gan: GAN, variables: Variables) -> Callable[[Images], Scores]:
    """Returns a function of images: the discriminator's logits, larger for "real"."""

    def logits(variables: Variables, images: Array) -> Array:
        judged: Any = gan.networks.discriminator.apply(
            variables, to_signed_unit(images), train=False
        )
        found: Array = judged.logits
        return found

    run = in_batches(logits, variables, _BATCH)
    return lambda images: run(images).reshape(len(images))


@dataclass(frozen=True)
class Generated:
    """Generated images.

    Attributes:
      images: all of them.
      labels: the requested classes; 0 of an unconditional generator.
      features: by extractor of the reference.
    """

    images: Images
    labels: Labels
    features: Mapping[str, Features]


def check_memorization(
    output: Path,
    prepared: Prepared,
    reference: Reference,
    generated: Generated,
    scores: Callable[[Images], Scores],
    mirrored: bool,
) -> dict[str, Any]:
    """Returns the verdict and all figures behind it, and draws the most suspicious pairs.

    It compares pixels and features. Held-out is one random image of each patient of the splits
    "val" and "test", because images of one patient are not independent. The generated images have
    the real proportions of classes, because images of a rare class lie elsewhere.

    Args:
      output: where memorization.png goes.
      prepared: the data.
      reference: the training images.
      generated: images.
      scores: see `scores_of`.
      mirrored: whether training mirrored its images; a mirrored copy is a copy.
    """
    held_out, split = _one_of_each(prepared), prepared.splits[reference.split]
    real = split.read(reference.rows.tolist())["image"]
    try:
        found = _in_each_space(reference, generated, real, held_out, mirrored)
    except UserError as error:
        return {"can_tell": False, "memorized": False, "verdict": str(error)}
    worst = min(found.values(), key=lambda space: space.p_value)
    made = generated.images[reference.mixed(generated.labels)]
    training = np.concatenate([real, real[:, :, ::-1]]) if mirrored else real
    picture = suspicious_picture(worst, made, training, held_out)
    write_picture(output / SUSPICIOUS, picture)
    membership = membership_auc(scores(real), scores(held_out))
    sentence, all_known = verdict(found, membership), len(real) == len(split)
    if not all_known:
        sentence += f" Only {len(real):,} of {len(split):,} training images were compared."
    if not any(group for held in _held_out_splits(prepared) for group in held.groups):
        sentence += " Patients are unknown: each held-out image counts as one."
    return {
        "can_tell": all_known or bool(repeating(found)),
        "memorized": bool(repeating(found)),
        "verdict": sentence,
        "spaces": {name: asdict(space) for name, space in found.items()},
        "membership_auc": asdict(membership),
    }


def _in_each_space(
    reference: Reference, generated: Generated, real: Images, held_out: Images, mirrored: bool
) -> dict[str, Memorization]:
    """Returns the test's result for pixels and for each kind of features."""
    if not len(held_out):
        raise RetrainError(
            "Telling whether the generator repeats training images needs held-out images; train"
            " with --config.data.splits=70,15,15."
        )
    (pixels,) = make_extractors("pixels", real.shape[1], real.shape[-1])
    mixed, found = reference.mixed(generated.labels), {}
    for name, extractor in {pixels.name: pixels, **reference.extractors}.items():
        known, made = reference.features.get(name), generated.features.get(name)
        training = [extractor.extract(real) if known is None else known()]
        if mirrored:
            training.append(extractor.extract(real[:, :, ::-1]))
        if made is None:
            made = extractor.extract(generated.images)
        sets = [made[mixed], np.concatenate(training), extractor.extract(held_out)]
        if known is not None:
            sets = [reference.scaled(name, some) for some in sets]
        found[name] = memorization(*sets)
    return found


def _held_out_splits(prepared: Prepared) -> list[Split]:
    return [prepared.splits[name] for name in _HELD_OUT if name in prepared.splits]


def _one_of_each(prepared: Prepared) -> Images:
    """Returns a random image of each held-out patient, at most 2,000."""
    held = _held_out_splits(prepared)
    places = [(split, row) for split in held for row in range(len(split))]
    owners = [owner for split in held for owner in split.owners]
    order = np.random.default_rng(0).permutation(len(places))
    first: dict[str, int] = {}
    for place in order.tolist():
        first.setdefault(owners[place], place)
    chosen = sorted(list(first.values())[:_MOST])
    card = prepared.card
    images = np.empty((len(chosen), card.image_size, card.image_size, card.channels), np.uint8)
    for number, place in enumerate(chosen):
        split, row = places[place]
        images[number] = split.read([row])["image"][0]
    return images
