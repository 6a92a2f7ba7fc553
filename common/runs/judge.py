"""A trained classifier that judges another task's images; tasks do not import each other."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int, UInt8

from common.config.tasks import find_task
from common.program.errors import UserError
from common.runs.workdir import open_run
from common.scores.bootstrap import Score

Images = UInt8[np.ndarray, "images height width channels"]


@dataclass(frozen=True)
class Judged:
    """How a judge classified images that should show some classes.

    Attributes:
      images: how many.
      classes: their names.
      confusion: images of class i (row) that were taken for class j (column).
      scores: by name.
    """

    images: int
    classes: tuple[str, ...]
    confusion: list[list[int]]
    scores: Mapping[str, Score]


@runtime_checkable
class Judge(Protocol):
    """What a task's `make_judge(run)` returns."""

    classes: tuple[str, ...]
    identity: str  # of its weights
    facts: Mapping[
        str, object
    ]  # its identity and, if evaluated, how well it classifies real images

    def features(self, images: Images) -> Float[np.ndarray, "images features"]:
        """Returns the features that it decides by."""
        ...

    def report(
        self, images: Images, labels: Int[np.ndarray, " images"], figure: Path, caption: str
    ) -> Judged:
        """Scores images that should show these classes, and draws their figure."""
        ...


def open_judge(workdir: Path, image_size: int, channels: int) -> Judge:
    """Opens the run of a classifier.

    Args:
      workdir: of the run.
      image_size: of the images to judge, in pixels.
      channels: of these images.

    Raises:
      UserError: it is not a classifier, or takes other images.
    """
    run = open_run(workdir)
    task = find_task(run.config.task)
    if not hasattr(task, "make_judge"):
        raise UserError(f"{workdir} is a run of {run.config.task!r}; name one of a classifier.")
    if (run.card.image_size, run.card.channels) != (image_size, channels):
        raise UserError(
            f"The classifier in {workdir} takes images of {run.card.image_size} pixels and"
            f" {run.card.channels} channels, but these have {image_size} and {channels}; name one"
            " trained on such images."
        )
    judge: Judge = task.make_judge(run)
    return judge
