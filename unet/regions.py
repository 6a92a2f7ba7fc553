"""Small regions among what is found: often mistakes. Which size is too small, validation says."""

from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Int
from scipy import ndimage

from unet.segment import Probabilities
from unet.segmented import Segmented
from unet.threshold import mean_dice, to_mask

_SIZES = (0, *(2**n for n in range(1, 13)))  # pixels: those that are tried
_TOUCHING = np.ones((3, 3))  # pixels that touch at a corner are of one region


def without_small(probabilities: Probabilities, threshold: float, smallest: int) -> Probabilities:
    """Returns probabilities of two classes that are of the background in too small regions.

    Args:
      probabilities: of an image at the network's scale.
      threshold: from which on a pixel is found.
      smallest: pixels; regions of fewer are removed.
    """
    if smallest < 2:
        return probabilities
    regions, _ = ndimage.label(to_mask(probabilities, threshold), _TOUCHING)
    small = np.bincount(regions.ravel()) < smallest
    small[0] = False  # what is found nowhere is no region
    return np.where(small[regions][..., None], np.eye(2, dtype=np.float32)[0], probabilities)


def best_smallest(found: Iterable[Segmented], patients: Sequence[str], threshold: float) -> int:
    """Returns the size with the best mean Dice over patients, of equally good ones the least.

    Args:
      found: images and the probabilities of their two classes.
      patients: the patient of each image.
      threshold: from which on a pixel is found.
    """
    dice = mean_dice([_counts(one, threshold) for one in found], patients)
    best: int = _SIZES[int(np.argmax(dice >= dice.max() - 1e-12))]
    return best


def _counts(one: Segmented, threshold: float) -> Int[np.ndarray, "3 sizes"]:
    """Returns hits, predicted and true pixels without the regions below each size."""
    regions, _ = ndimage.label(to_mask(one.probabilities, threshold), _TOUCHING)
    sizes = np.bincount(regions.ravel())[1:]
    hits = np.bincount(regions[one.truth > 0], minlength=len(sizes) + 1)[1:]
    kept = np.array(_SIZES)[:, None] <= sizes
    true = np.full(len(_SIZES), (one.truth > 0).sum())
    return np.stack([kept @ hits, kept @ sizes, true])
