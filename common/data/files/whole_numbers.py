"""Masks that were saved as floats: whole numbers except for rounding."""

from pathlib import Path

import numpy as np
from jaxtyping import Float, Int64

from common.program.errors import UserError

_ROUNDING = 1e-6  # of the largest value: float32 has 24 bits
_MOST_ROUNDING = 0.05
_LARGEST = 2.0**53  # float64 has every whole number up to here
_SHOWN = 6  # values that a message lists
_LEAST = 1e-9  # smaller values are not fractions of a mask
_SCALES = (255, 65535)  # programs divide a mask by these to show it


def whole_numbers(
    values: Float[np.ndarray, "_height _width"], path: Path, rounding: float = 0.0
) -> Int64[np.ndarray, "_height _width"]:
    """Returns the values of a mask, whole except for rounding, as integers.

    Args:
      values: the mask's.
      path: the file, for the message.
      rounding: how far the file's number format may have moved them, if that is more than a
        millionth of the largest of `values`; at most 0.05 is used.

    Raises:
      UserError: some are fractions, NaN, infinite or larger than 2^53; the first are listed.
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
        f"holds {listed}{more} and is not a mask of whole numbers; save one whole number per"
        f" class{_hint(found)}."
    )


def _hint(found: Float[np.ndarray, " _found"]) -> str:
    """Returns a hint on what the values were divided by, if that is evident."""
    if not np.isfinite(found).all() or found.min() < 0 or found.max() > 1:
        return ""
    for scale in (*_SCALES, 1 / max(_LEAST, found[found > 0].min())):
        multiples = found * scale
        if (np.abs(multiples - np.rint(multiples)) < max(1e-4, 1e-7 * scale)).all():
            return f" (times {scale:.6g} these are whole)"
    return ""
