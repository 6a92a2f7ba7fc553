"""Are a generator's images new? The test of gan/quality/memorization.py on the images of a run."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from common.data.prepared.prepared import Prepared, Split
from common.learning.network import Variables
from common.program.errors import RetrainError, UserError
from common.report.images import write_picture
from gan.quality.decisions import Images, decided
from gan.quality.features import Extractor, make_extractors
from gan.quality.measures import Estimate, Features
from gan.quality.memorization import (
    Memorization,
    membership_auc,
    memorization,
    ratios,
    repeating,
    suspicious_picture,
    verdict,
)
from gan.quality.reference import Labels, Reference
from gan.quality.sample import Sample
from gan.state import GAN

SUSPICIOUS = "memorization.png"
_HELD_OUT = ("val", "test")  # splits
_MOST = 2000  # held-out images

Scores = Float[np.ndarray, " images"]


def scores_of(gan: GAN, variables: Variables) -> Callable[[Images, Labels], Scores]:
    """Returns a function of images and their classes: D's logit of each, larger for "real"."""
    run = decided(gan, variables, lambda decision: decision.logit)
    return lambda images, labels: run(images, labels).reshape(len(images))


@dataclass(frozen=True)
class Novelty:
    """Whether generated images are new.

    Attributes:
      can_tell: whether that is known.
      memorized: whether the generator repeats training images.
      verdict: this in a sentence.
      spaces: the test's results, by kind of features; None if there are too few images.
      membership: the AUC with which the discriminator tells training from held-out images.
    """

    can_tell: bool
    memorized: bool
    verdict: str
    spaces: Mapping[str, Memorization] | None = None
    membership: Estimate | None = None

    def report(self) -> dict[str, object]:
        """Returns what evaluation.json holds of it."""
        found = {"spaces": self.spaces, "membership_auc": self.membership}
        return {
            "can_tell": self.can_tell,
            "memorized": self.memorized,
            "verdict": self.verdict,
            **{name: value for name, value in found.items() if value is not None},
        }


def check_memorization(
    output: Path,
    prepared: Prepared,
    reference: Reference,
    sample: Sample,
    scores: Callable[[Images, Labels], Scores] | None,
    mirrored: bool,
) -> Novelty:
    """Returns the verdict and all figures behind it, and draws the most suspicious pairs.

    It compares pixels and features. Held-out is one random image of each patient of the splits
    "val" and "test", because images of one patient are not independent. The generated images have
    the real proportions of classes, because images of a rare class lie elsewhere.

    Args:
      output: where memorization.png goes.
      prepared: the data.
      reference: the training images.
      sample: the generated images.
      scores: see `scores_of`; None without a discriminator.
      mirrored: whether training mirrored its images; a mirrored copy is a copy.
    """
    (held_out, held_labels), split = held_out_images(prepared), prepared.splits[reference.split]
    real = split.read(reference.rows.tolist())["image"]
    try:
        found = _in_each_space(reference, sample, real, held_out, mirrored)
    except UserError as error:
        return Novelty(can_tell=False, memorized=False, verdict=str(error))
    worst = min(found.values(), key=lambda space: space.p_value)
    made = sample.images[reference.mixed(sample.labels)]
    training = np.concatenate([real, real[:, :, ::-1]]) if mirrored else real
    picture = suspicious_picture(worst, made, training, held_out)
    write_picture(output / SUSPICIOUS, picture)
    membership = None
    if scores:
        known = scores(real, reference.labels), scores(held_out, held_labels)
        membership = membership_auc(*known)
    sentence, all_known = verdict(found, membership), len(real) == len(split)
    if not all_known:
        sentence += f" Only {len(real):,} of {len(split):,} training images were compared."
    if not any(group for held in _held_out_splits(prepared) for group in held.groups):
        sentence += " Patients are unknown: each held-out image counts as one."
    return Novelty(
        can_tell=all_known or bool(repeating(found)),
        memorized=bool(repeating(found)),
        verdict=sentence,
        spaces=found,
        membership=membership,
    )


def _in_each_space(
    reference: Reference, sample: Sample, real: Images, held_out: Images, mirrored: bool
) -> dict[str, Memorization]:
    """Returns the test's result for pixels and for each kind of features."""
    if not len(held_out):
        raise RetrainError(
            "Telling whether training images are repeated needs held-out images: train with"
            " --config.data.splits=70,15,15, or give --real the folders train and test."
        )
    mixed, found = reference.mixed(sample.labels), {}
    for space in _spaces(reference, real, mirrored):
        made = sample.features.get(space.extractor.name)
        features = space.of(sample.images) if made is None else space.scaled(made)
        found[space.extractor.name] = memorization(
            features[mixed], space.training, space.of(held_out)
        )
    return found


class _Space(NamedTuple):
    """A kind of features as distances use them, and those of the training images."""

    extractor: Extractor
    scaled: Callable[[Features], Features]
    training: Features

    def of(self, images: Images) -> Features:
        """Returns the features of images."""
        return self.scaled(self.extractor.extract(images))


def _spaces(reference: Reference, real: Images, mirrored: bool) -> Iterator[_Space]:
    """Yields pixels, then the features of a reference, whose images are given."""
    (pixels,) = make_extractors("pixels", real.shape[1], real.shape[-1])
    for name, extractor in {pixels.name: pixels, **reference.extractors}.items():
        known = reference.features.get(name)
        training = [extractor.extract(real) if known is None else known()]
        if mirrored:
            training.append(extractor.extract(real[:, :, ::-1]))
        scaled = partial(reference.scaled, name) if known else _unscaled
        yield _Space(extractor, scaled, scaled(np.concatenate(training)))


def _unscaled(features: Features) -> Features:
    return features


def distance_test(
    prepared: Prepared, reference: Reference, mirrored: bool
) -> Callable[[Images], Bool[np.ndarray, " images"]]:
    """Returns a function that tells which images are far enough from every training image.

    The others are as near to one as only 5 % of new patients' images are, in pixels or in any of
    the features: `suspicious` in `Memorization`.

    Args:
      prepared: the data.
      reference: the training images.
      mirrored: whether training mirrored its images; a mirrored copy is a copy.

    Raises:
      UserError: there are too few held-out images.
    """
    held_out, _ = held_out_images(prepared)
    real = prepared.splits[reference.split].read(reference.rows.tolist())["image"]
    spaces = list(_spaces(reference, real, mirrored))
    unseen = [space.of(held_out) for space in spaces]
    thresholds = [  # held-out images stand in for generated ones, which change no threshold
        memorization(features, space.training, features).threshold
        for space, features in zip(spaces, unseen, strict=True)
    ]

    def far(images: Images) -> Bool[np.ndarray, " images"]:
        tests: list[np.ndarray] = [
            ratios(space.of(images), space.training) >= threshold
            for space, threshold in zip(spaces, thresholds, strict=True)
        ]
        passed: np.ndarray = np.all(tests, axis=0)
        return passed

    return far


def _held_out_splits(prepared: Prepared) -> list[Split]:
    return [prepared.splits[name] for name in _HELD_OUT if name in prepared.splits]


def held_out_images(prepared: Prepared) -> tuple[Images, Labels]:
    """Returns a random image of each held-out patient, at most 2,000, and its class."""
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
    labels = np.empty(len(chosen), np.int32)
    for number, place in enumerate(chosen):
        split, row = places[place]
        example = split.read([row])
        images[number], labels[number] = example["image"][0], example["label"][0]
    return images, labels
