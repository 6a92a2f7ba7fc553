"""How well a discriminator that classifies does on images that its training has not seen."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.special import softmax

from common.data.prepared.joined import joined
from common.data.prepared.prepared import Split
from common.learning.network import Variables
from common.runs.evaluation import HeldOut
from common.scores.bootstrap import Score
from common.scores.classification import Predicted, intervals, temperature
from gan.quality.decisions import decided
from gan.state import GAN

SHOWN = ("accuracy", "f1_macro", "roc_auc_macro")  # of the scores


@dataclass(frozen=True)
class Classification:
    """What is known of a discriminator as a classifier.

    Attributes:
      held: the images that were scored.
      temperature: that logits are divided by, fitted on validation images; 1 without any.
      scores: by name, those of `--mode=evaluate` of a classifier.
    """

    held: HeldOut
    temperature: float
    scores: Mapping[str, Score]

    def report(self) -> dict[str, object]:
        """Returns what evaluation.json says about it."""
        facts = {**self.held.facts, "temperature": self.temperature}
        return {"scored": facts, "scores": self.scores}


def classification(gan: GAN, variables: Variables, held: HeldOut) -> Classification:
    """Returns how a discriminator, given by its variables, classifies images."""
    run = decided(gan, variables, lambda decision: decision.class_logits)

    def logits_of(
        split: Split,
    ) -> tuple[Float[np.ndarray, "images classes"], Int[np.ndarray, " images"]]:
        examples = split.read(range(len(split)))
        labels = examples["label"]
        return run(examples["image"], labels), labels.astype(np.int64)

    fitted = 1.0
    if held.validation:
        fitted = temperature(*logits_of(joined([part.split for part in held.validation])))
    logits, labels = logits_of(held.split)
    shares = softmax(logits.astype(np.float64) / fitted, -1)
    predicted = Predicted(held.split.ids, held.split.groups, labels, shares)
    return Classification(held, fitted, intervals(predicted, held.card.classes))
