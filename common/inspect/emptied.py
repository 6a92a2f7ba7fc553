"""Empty masks of images in which others suggest that something should be marked.

Many images have nothing to mark, so an empty mask alone is not a fault. The probability of a
non-empty mask is learnt from the other patients' pairs: from how much stands out to the pixel
classifier, and from whether the masks of the slices before and after are empty.
"""

import numpy as np
from jaxtyping import Bool, Float, Int

_LEAST_EMPTY = 10  # masks; fewer are too few to learn from, and each is rare
_HIGHEST = (10, 40, 160, 640)  # numbers of highest-scoring pixels of a thumbnail to average
_BLURS = (1.5, 3.0, 5.0)  # standard deviations in pixels: the size of what may stand out


def chances_of_a_filled_mask(
    scores: Float[np.ndarray, "num height width"],
    filled: Bool[np.ndarray, " num"],
    beside: Float[np.ndarray, "num 2"],
    folds: Int[np.ndarray, " num"],
) -> Float[np.ndarray, " num"]:
    """Returns the probability, 0..1, that each mask is not empty, learnt from the others.

    Args:
      scores: how much each pixel looks like foreground.
      filled: which masks are not empty.
      beside: whether the masks before and after in the same volume are filled, 0 or 1, or anything
        in between if there is none.
      folds: no mask is judged by what was learnt from its fold.
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
    """Returns whether the masks before and after of the same owner are filled.

    If there is none, it is the share of all masks that are filled.
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
