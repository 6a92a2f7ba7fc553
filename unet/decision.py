"""How probabilities become a mask: the threshold, and which regions are too small."""

from dataclasses import dataclass
from typing import Any

from common.data.fit import resize_shares
from common.data.records import Mask
from common.program.errors import UserError
from common.runs.evaluation import stored_value
from common.runs.workdir import Run
from unet.flags import CHOOSE, UNetOptions
from unet.regions import without_small
from unet.segment import Probabilities
from unet.threshold import known_threshold, to_mask


@dataclass(frozen=True)
class Decision:
    """How probabilities become a mask.

    Attributes:
      threshold: of the probability of the foreground; of more than two classes the likeliest wins.
      smallest: regions of fewer pixels, at the network's scale, are removed.
    """

    threshold: float
    smallest: int = 0

    def cleaned(self, probabilities: Probabilities) -> Probabilities:
        """Returns probabilities, at the network's scale, that find no region that is too small."""
        return without_small(probabilities, self.threshold, self.smallest)

    def mask(self, probabilities: Probabilities) -> Mask:
        """Returns each pixel's class at the network's scale."""
        return to_mask(self.cleaned(probabilities), self.threshold)

    def mask_of_size(self, probabilities: Probabilities, height: int, width: int) -> Mask:
        """Returns each pixel's class in an image of another size."""
        resized = resize_shares(self.cleaned(probabilities), height, width)
        return to_mask(resized, self.threshold)

    def __str__(self) -> str:
        small = f", without regions of fewer than {self.smallest} pixels" if self.smallest else ""
        return f"threshold {self.threshold}{small}"


def known_decision(run: Run, options: UNetOptions, step: int) -> Decision:
    """Returns what the flags say, else what the evaluation of this step chose.

    Raises:
      UserError: a flag is invalid here, or evaluation.json is damaged.
    """
    threshold = known_threshold(run, options, step)
    if options.smallest == CHOOSE:
        raise UserError(
            f"--smallest={CHOOSE} needs the validation images of an evaluation of the run's own"
            " data; run --mode=evaluate with it first."
        )
    stored = "" if options.smallest else stored_value(run, "smallest", step, Any)
    return Decision(threshold, int(options.smallest or stored or 0))
