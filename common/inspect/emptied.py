"""Empty masks of images in which the others would have something marked.

Many an image has nothing to be marked, so that an empty mask alone is no fault. How likely a mask
is not empty is learnt from the other patients' pairs: from how much stands out for the classifier
of pixels, and from whether the masks of the slices before and after are empty.
"""

import numpy as np
from jaxtyping import Bool, Float, Int

_LEAST_EMPTY = 10  # masks; of fewer nothing can be learnt, and each is a rare thing
_HIGHEST = (10, 40, 160, 640)  # pixels of a thumbnail, whose mean score is looked at
_BLURS = (1.5, 3.0, 5.0)  # standard deviations in pixels: the size of what may stand out


def chances_of_a_filled_mask(
    scores: Float[np.ndarray, "num height width"],
    filled: Bool[np.ndarray, " num"],
    beside: Float[np.ndarray, "num 2"],
    folds: Int[np.ndarray, " num"],
) -> Float[np.ndarray, " num"]:
    """Returns how likely each mask is not empty, 0..1, by what others teach.

    Args:
      scores: how much each pixel looks like foreground.
      filled: which masks are not empty.
      beside: whether the mask before and the one after in the same volume is filled, 0 or 1, or
        anything between where there is none.
      folds: nobody's mask is judged by what was learnt of his fold.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if (~filled).sum() < _LEAST_EMPTY:
        return np.ones(len(filled))
    features = np.concatenate([_features(scores), beside, beside.prod(1, keepdims=True)], axis=1)
    chances = np.full(len(filled), 0.5)
    for fold in np.unique(folds):
        others = folds != fold
        if 0 < filled[others].sum() < others.sum():
            model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
            model.fit(features[others], filled[others])
            chances[~others] = model.predict_proba(features[~others])[:, 1]
    return chances


def filled_beside(
    filled: Bool[np.ndarray, " num"], owners: list[str]
) -> Float[np.ndarray, "num 2"]:
    """Returns whether the mask before and the one after of the same owner is filled.

    Where there is none it is the share of all masks that are.
    """
    values = np.full((len(filled), 2), filled.mean())
    last: dict[str, int] = {}
    for row, owner in enumerate(owners):
        if owner in last:
            values[row, 0] = filled[last[owner]]
            values[last[owner], 1] = filled[row]
        last[owner] = row
    return values


def _features(scores: Float[np.ndarray, "num height width"]) -> Float[np.ndarray, "num _features"]:
    from scipy import ndimage

    ordered = np.sort(scores.reshape(len(scores), -1), axis=1)
    columns = [ordered[:, -count:].mean(1) for count in _HIGHEST]
    for width in _BLURS:
        columns.append(ndimage.gaussian_filter(scores, (0, width, width)).max((1, 2)))
    return np.stack([*columns, ordered.mean(1), ordered.std(1), np.median(ordered, axis=1)], axis=1)
