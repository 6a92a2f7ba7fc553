"""Areas under curves: how well a number tells one kind of images from the others."""

import numpy as np
from jaxtyping import Bool, Num

from common.scores.bootstrap import OfDraws

Scores = Num[np.ndarray, " images"]
Truth = Bool[np.ndarray, " images"]


def area_under_curve(scores: Scores, truth: Truth) -> float:
    """Returns the area under the ROC curve; NaN where all images are of one kind.

    It is the chance that an image of the kind scores above one of the others; a tie counts half.
    """
    (area,), _ = areas_of_draws(np.ones((1, len(scores))), scores, truth)
    return float(area)


def areas_of_draws(
    draws: Num[np.ndarray, "draws images"], scores: Scores, truth: Truth
) -> tuple[OfDraws, OfDraws]:
    """Returns the areas under the ROC curve and, by steps, under that of precision and recall.

    The latter is the average precision. Images of equal score pass the threshold together; those
    that a draw lacks add points that lie on its curves. NaN if all images are of one kind.

    Args:
      draws: how often each draw has each image.
      scores: what is to be higher for images of the kind.
      truth: which images are of it.
    """
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    ends = np.append(np.flatnonzero(ordered[1:] != ordered[:-1]), len(scores) - 1)
    sorted_draws = draws[:, order]
    positives = np.cumsum(sorted_draws * truth[order], 1, dtype=float)[:, ends]
    passed = np.cumsum(sorted_draws, 1, dtype=float)[:, ends]
    negatives = passed - positives
    new_positives, new_negatives = (np.diff(x, prepend=0.0, axis=1) for x in (positives, negatives))
    all_positives, all_negatives = positives[:, -1], negatives[:, -1]
    with np.errstate(invalid="ignore"):
        roc = (new_negatives * (positives - new_positives / 2)).sum(1)
        precision = positives / np.maximum(passed, 1)
        step = (new_positives * precision).sum(1) / all_positives
        roc = roc / (all_positives * all_negatives)
    return roc, np.where(all_negatives > 0, step, np.nan)
