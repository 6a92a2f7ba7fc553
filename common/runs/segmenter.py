"""A trained segmentation network that segments another task's images."""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from common.config.tasks import find_task
from common.data.prepared.prepared import DataCard
from common.program.errors import UserError
from common.program.files import user_path
from common.runs.workdir import open_run


@runtime_checkable
class Segmenter(Protocol):
    """What a task's `open_segmenter(run)` returns.

    Attributes:
      facts: what a report says of it.
    """

    facts: Mapping[str, object]

    def masks(
        self, images: UInt8[np.ndarray, "images height width channels"]
    ) -> UInt8[np.ndarray, "images height width"]:
        """Returns the class of every pixel."""
        ...


def open_segmenter(workdir: str, card: DataCard) -> Segmenter:
    """Opens the run of a segmentation network.

    Args:
      workdir: of the run.
      card: of the images to segment and of their true masks.

    Raises:
      UserError: it is no segmentation network, takes other images or finds other classes.
    """
    run = open_run(user_path(workdir))
    task = find_task(run.config.task)
    if not hasattr(task, "open_segmenter"):
        raise UserError(f"{workdir} is a run of {run.config.task!r}; name one of a U-Net.")
    if not card.mask_classes:
        raise UserError(
            f"{card.name} has no masks to compare with what {workdir} finds; leave out --segmenter."
        )
    ours, theirs = (
        (one.image_size, one.channels, len(one.mask_classes)) for one in (card, run.card)
    )
    if ours != theirs:
        raise UserError(
            "{} takes images of {} pixels and {} channels and finds {} classes, but these have {},"
            " {} and {}; name one trained on such images, as with --config.data.take=G".format(
                workdir, *theirs, *ours
            )
        )
    segmenter: Segmenter = task.open_segmenter(run)
    return segmenter
