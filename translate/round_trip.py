"""What a translation is for: does a network that knows real targets find its way in translations?

A segmentation network that was trained on real images of the target's kind segments the real
target, the translation and the untranslated image. What it finds in the translation beyond what it
finds in the image is what the translation makes visible to it; what it finds less than in the real
target is lost.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from jaxtyping import Float, UInt8

from common.data.records import Mask
from common.runs.segmenter import Segmenter
from common.scores.metrics import class_scores, confusion_of
from translate.summary import OfImages, Summary, differences, over_patients

KINDS = ("target", "translated", "input")
# The names begin with _ because blocks may differ in the number of images.
Images: TypeAlias = UInt8[np.ndarray, "_num _height _width _channels"]
Block: TypeAlias = tuple[Mapping[str, Images], Sequence[Mask]]  # by kind, and their true masks


@dataclass(frozen=True)
class RoundTrip:
    """How well translations are segmented.

    Attributes:
      segmenter: what is known of the network.
      dice: of the real target, the translation and the input: over the images that have some of a
        class, the mean of each patient's mean.
      gains: the Dice of the translation minus that of the others.
    """

    segmenter: Mapping[str, object]
    dice: Summary
    gains: Summary

    @property
    def verdict(self) -> str:
        """Returns it in words."""
        sentences = []
        for name in self.dice["translated"]:
            ours, real, plain = (
                self.dice[kind][name]["dice"] for kind in ("translated", "target", "input")
            )
            gain = self.gains["input"][name]["dice"]
            if gain.is_known:
                sentences.append(
                    f"A network trained on real targets finds {name} in translations with Dice"
                    f" {ours.value:.2f} [{ours.low:.2f}, {ours.high:.2f}]: in real targets with"
                    f" {real.value:.2f}, in the input with {plain.value:.2f}"
                    f" (gain {gain.value:+.2f} [{gain.low:+.2f}, {gain.high:+.2f}])."
                )
        return " ".join(sentences)

    def report(self) -> dict[str, object]:
        """Returns what evaluation.json has of it."""
        return {
            "verdict": self.verdict,
            "segmenter": self.segmenter,
            "dice": _without_name(self.dice),
            "differences": _without_name(self.gains),
        }


def segment_all(
    segmenter: Segmenter,
    blocks: Iterable[Block],
    classes: Sequence[str],
    owners: Sequence[str],
) -> RoundTrip:
    """Segments images and what they were translated to.

    Args:
      segmenter: a trained network.
      blocks: some images at a time, in the order of the owners: those of `KINDS`.
      classes: of the masks, the background first.
      owners: the patient of each image.
    """
    dice: dict[str, list[np.ndarray]] = {kind: [] for kind in KINDS}
    for images, truth in blocks:
        for kind in KINDS:
            found = segmenter.masks(images[kind])
            dice[kind].append(_dice(truth, list(found), len(classes)))
    scored: OfImages = {
        kind: {
            name: {"dice": np.concatenate(parts)[:, index]}
            for index, name in enumerate(classes[1:], 1)
        }
        for kind, parts in dice.items()
    }
    return RoundTrip(
        segmenter.facts, over_patients(scored, owners), differences(scored, "translated", owners)
    )


def _dice(
    truth: Sequence[Mask], found: Sequence[Mask], classes: int
) -> Float[np.ndarray, "images classes"]:
    """Returns the Dice of each image and class, NaN where the true mask has nothing of it."""
    confusion = np.stack(
        [confusion_of(*masks, classes) for masks in zip(truth, found, strict=True)]
    )
    dice: np.ndarray = class_scores(confusion)["dice"]
    return np.where(confusion.sum(-1) > 0, dice, np.nan)


def _without_name(summary: Summary) -> dict[str, dict[str, object]]:
    return {
        kind: {name: scores["dice"] for name, scores in regions.items()}
        for kind, regions in summary.items()
    }
