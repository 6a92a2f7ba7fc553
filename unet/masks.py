"""A trained U-Net that segments another task's images; see common/runs/segmenter.py."""

import numpy as np
from jaxtyping import UInt8

from common.program.errors import UserError
from common.runs.workdir import Run
from unet.decision import known_decision
from unet.flags import UNetOptions
from unet.segment import load_windows, segment


class TrainedSegmenter:
    """Segments images of the size that a run was trained on, at its own threshold.

    Attributes:
      facts: what a report says of it.
    """

    def __init__(self, run: Run) -> None:
        """Reads the run's best checkpoint, or its newest.

        Raises:
          UserError: there is none, or the run's evaluation is damaged.
        """
        self._windows, step = load_windows(run)
        self._decision = known_decision(run, UNetOptions(), step)
        self.facts: dict[str, object] = {
            "run": str(run.workdir),
            "checkpoint_step": step,
            "threshold": self._decision.threshold,
            "smallest": self._decision.smallest,
        }

    def masks(
        self, images: UInt8[np.ndarray, "images height width channels"]
    ) -> UInt8[np.ndarray, "images height width"]:
        """Returns the class of every pixel."""
        shares = segment(iter(images), self._windows)
        return np.stack([self._decision.mask(each) for each in shares])


def open_segmenter(run: Run) -> TrainedSegmenter:
    """Opens a run of this task to segment other images with it.

    Raises:
      UserError: it sees images with the slices around them.
    """
    if run.card.neighbours:
        raise UserError(
            f"{run.workdir} sees the slices around an image, too, which these images do not have;"
            " name a run with config.data.neighbours=0."
        )
    return TrainedSegmenter(run)
