"""From probabilities to masks: the threshold, how it is chosen, and where it is kept."""

from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Float, Int

from common.data.records import Mask
from common.program.errors import UserError
from common.program.log import log
from common.runs.evaluation import stored_value
from common.runs.workdir import Run
from unet.flags import UNetOptions
from unet.segment import Probabilities
from unet.segmented import Segmented

_STEPS = 100  # thresholds are multiples of 1 / _STEPS
_DEFAULT = 0.5


def to_mask(probabilities: Probabilities, threshold: float) -> Mask:
    """Returns each pixel's class: foreground from a threshold on, or the likeliest of more."""
    if probabilities.shape[-1] == 2:
        classes: np.ndarray = probabilities[..., 1] >= threshold
    else:
        classes = probabilities.argmax(-1)
    return classes.astype(np.uint8)


def best_threshold(found: Iterable[Segmented], patients: Sequence[str]) -> float:
    """Returns the threshold with the best mean Dice over patients, the middle one of several.

    Args:
      found: images and the probabilities of their two classes.
      patients: the patient of each image.
    """
    dice = mean_dice(
        [_counts(truth, probabilities[..., 1]) for _, truth, probabilities in found], patients
    )
    best = np.flatnonzero(dice >= dice.max() - 1e-12)
    return float(best[len(best) // 2] + 1) / _STEPS


def mean_dice(
    counts: Sequence[Int[np.ndarray, "3 choices"]], patients: Sequence[str]
) -> Float[np.ndarray, " choices"]:
    """Returns the mean Dice over patients, whose pixels are pooled; nothing in nothing is 1.

    Args:
      counts: hits, predicted and true pixels of each image, with each choice.
      patients: the patient of each image.
    """
    names, owner = np.unique(patients, return_inverse=True)
    pooled = np.zeros((len(names), *counts[0].shape))
    np.add.at(pooled, owner, np.stack(counts))
    hits, predicted, true = pooled.swapaxes(0, 1)
    whole = predicted + true
    dice: np.ndarray = np.where(whole == 0, 1.0, 2 * hits / np.maximum(whole, 1)).mean(0)
    return dice


def _counts(
    truth: Mask, foreground: Float[np.ndarray, "height width"]
) -> Int[np.ndarray, "3 thresholds"]:
    """Returns hits, predicted and true pixels at the thresholds 1/100, 2/100, ..., 99/100."""
    thresholds = np.arange(1, _STEPS) / _STEPS
    passed = np.searchsorted(thresholds, foreground.ravel(), side="right")  # how many are reached
    of_truth = np.bincount(passed[truth.ravel() > 0], minlength=_STEPS)
    of_all = np.bincount(passed, minlength=_STEPS)
    hits, predicted = (np.cumsum(counts[::-1])[::-1][1:] for counts in (of_truth, of_all))
    return np.stack([hits, predicted, np.full_like(hits, (truth > 0).sum())])


def known_threshold(run: Run, options: UNetOptions, step: int) -> float:
    """Returns --threshold, else the threshold of this step's evaluation, else 1/2.

    Raises:
      UserError: --threshold is invalid here, or evaluation.json is damaged.
    """
    check_threshold(run, options)
    if options.threshold or len(run.card.mask_classes) > 2:
        return options.threshold or _DEFAULT
    known = stored_value(run, "threshold", step, float)
    if known is not None:
        if not 0 < known < 1:
            raise UserError(
                f"The threshold of the run's evaluation is {known}; it must lie between 0 and 1:"
                f" run --mode=evaluate --workdir={run.workdir} again."
            )
        return float(known)
    log.warning(
        "The threshold is %s; --mode=evaluate chooses one on the validation images.", _DEFAULT
    )
    return _DEFAULT


def check_threshold(run: Run, options: UNetOptions) -> None:
    """Refuses flags of two classes where the likeliest of more wins."""
    number = len(run.card.mask_classes)
    for name in ("threshold", "smallest"):
        if (given := getattr(options, name)) and number > 2:
            raise UserError(
                f"--{name} is {given}, but the masks of this run have {number} classes, of which"
                " the likeliest wins; leave it out."
            )
