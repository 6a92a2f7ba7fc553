"""A trained classifier as the judge of generated images: do they show their class?

Its test accuracy on them is called GAN-test: Shmelkov, Schmid and Alahari, "How good is my GAN?"
(2018). A generator that draws one caricature of each class scores best: read it beside coverage and
diversity. (Their GAN-train is the reverse: a classifier trained on generated images classifies real
ones, as in the arm "synthetic" of `--mode=utility`.)
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8

from classify.figures import draw_figures
from classify.inference import known_temperature, load_inference
from classify.outputs import softmax
from common.program.errors import UserError
from common.runs.evaluation import stored_value
from common.runs.judge import Judged
from common.runs.workdir import Run
from common.scores.classification import Predicted, intervals

Images = UInt8[np.ndarray, "images height width channels"]


class ClassifierJudge:
    """Classifies images by a run's best checkpoint, or its newest; see `runs.judge.Judge`."""

    def __init__(self, run: Run) -> None:
        """Opens the run.

        Raises:
          UserError: the run has no checkpoint, its evaluation is damaged, or its images may show
            several findings.
        """
        self._inference, step = load_inference(run)
        if self._inference.outputs.several:
            raise UserError(
                f"The images of {run.workdir} may show several findings; a judge must tell one"
                " class of each image: name another classifier."
            )
        self.classes = run.card.classes
        digest = hashlib.sha256()
        for weight in self._inference.weights:
            digest.update(weight.tobytes())
        self.identity = digest.hexdigest()[:16]
        self.facts: dict[str, object] = {
            "run": str(run.workdir),
            "checkpoint_step": step,
            **_own_scores(run, step),
        }
        self._temperature = known_temperature(run, step) or 1.0

    def features(self, images: Images) -> Float[np.ndarray, "images features"]:
        """Returns the last layer's input for each image."""
        return self._inference.features(images)

    def report(
        self, images: Images, labels: Int[np.ndarray, " images"], figure: Path, caption: str
    ) -> Judged:
        """Scores images that should show these classes, and draws their figure."""
        logits = self._inference.logits(images)
        names, groups = tuple(map(str, range(len(images)))), ("",) * len(images)
        plain, predicted = (
            Predicted(names, groups, labels.astype(np.int64), softmax(logits, temperature))
            for temperature in (1.0, self._temperature)
        )
        draw_figures(predicted, plain, self.classes, figure, caption)
        return Judged(
            images=len(images),
            classes=self.classes,
            confusion=predicted.confusion(len(self.classes)).tolist(),
            scores=intervals(predicted, self.classes),
        )


def make_judge(run: Run) -> ClassifierJudge:
    """Opens a run of this task as a judge."""
    return ClassifierJudge(run)


def _own_scores(run: Run, step: int) -> dict[str, object]:
    """Returns the judge's scores on real held-out images, if it was evaluated at this step."""
    kinds = {"split": str, "images": int, "scores": Mapping[str, Any]}
    stored = {name: stored_value(run, name, step, kind) for name, kind in kinds.items()}
    return {"of_real_images": None if stored["scores"] is None else stored}
