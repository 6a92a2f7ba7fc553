"""Masks that were saved as floats: whole numbers, but for the rounding of their file."""

from pathlib import Path

import numpy as np
from jaxtyping import Float, Int64

from common.program.errors import UserError

_ROUNDING = 1e-6  # of the largest value: float32 has 24 bits
_MOST_ROUNDING = 0.05
_LARGEST = 2.0**53  # up to which float64 has every whole number
_SHOWN = 6  # values that a message lists
_LEAST = 1e-9  # less is no fraction of a mask's
_SCALES = (255, 65535)  # by which programs divide a mask to show it


def whole_numbers(
    values: Float[np.ndarray, "_height _width"], path: Path, rounding: float = 0.0
) -> Int64[np.ndarray, "_height _width"]:
    """Returns the values of a mask, whole but for what rounding did to them, as integers.

    Args:
      values: the mask's.
      path: the file, for the message.
      rounding: how far the file's way to store numbers may have moved them, where that is more
        than a millionth of the largest of `values`; more than 0.05 does not count.

    Raises:
      UserError: some are fractions, NaN, infinite or larger than 2^53; the first of them are
        listed.
    """
    exact = values.astype(np.float64)
    size = np.abs(exact)
    largest = float(size.max(initial=1.0, where=size < _LARGEST))
    rounding = min(_MOST_ROUNDING, max(rounding, _ROUNDING * largest))
    nearest = np.rint(exact)
    with np.errstate(invalid="ignore"):  # infinity has no distance to the nearest whole number
        near = np.abs(exact - nearest) <= rounding
    off = ~(near & (size < _LARGEST))
    if off.any():
        raise UserError(f"{path} {_complaint(np.unique(values[off]), np.unique(exact))}")
    return nearest.astype(np.int64)


def _complaint(odd: Float[np.ndarray, " _num"], found: Float[np.ndarray, " _found"]) -> str:
    listed = ", ".join(f"{value:.6g}" for value in odd[:_SHOWN])
    more = ", ..." if odd[_SHOWN:].size else ""
    return (
        f"holds {listed}{more} and is no mask of whole numbers; save one whole number a"
        f" class{_hint(found)}."
    )


def _hint(found: Float[np.ndarray, " _found"]) -> str:
    """Says by what the values were divided, if that is plain to see."""
    if not np.isfinite(found).all() or found.min() < 0 or found.max() > 1:
        return ""
    for scale in (*_SCALES, 1 / max(_LEAST, found[found > 0].min())):
        multiples = found * scale
        if (np.abs(multiples - np.rint(multiples)) < max(1e-4, 1e-7 * scale)).all():
            return f" (times {scale:.6g} these are whole)"
    return ""
