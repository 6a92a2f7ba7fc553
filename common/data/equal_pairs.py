"""Pairs in which the target is the image again: they teach nothing and flatter every score."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from jaxtyping import Shaped

from common.data.records import Pixels

EQUAL_PAIRS = ("drop", "keep")
_SAME = 1.0  # mean difference in grey levels of 0..255, as from saving a picture with loss


def are_equal(image: Pixels, target: Pixels) -> bool:
    """Returns whether two images of one size are the same picture but for rounding."""
    both = np.broadcast_arrays(image, target)
    difference = both[0].astype(np.int16) - both[1]
    return bool(np.abs(difference).mean() <= _SAME)


def rows_of_equal_pairs(
    equal: Sequence[bool], owners: Sequence[str]
) -> Shaped[np.ndarray, " _rows"]:
    """Returns the rows of all pairs of patients most of whose pairs are equal.

    A single such pair of another patient stays: near the end of the head both are almost black.

    Args:
      equal: whether the target equals the image, for each pair; () without targets.
      owners: the patient of each.
    """
    if not any(equal):
        return np.array([], np.int64)
    pairs, same = Counter(owners), Counter(np.array(owners)[np.array(equal)].tolist())
    return np.flatnonzero([2 * same[owner] > pairs[owner] for owner in owners])
