"""Windows: the range of a file's own values (Hounsfield units, counts) shown as 0 to 255."""

import math
from typing import TypeAlias

import numpy as np
from jaxtyping import Float, Num, UInt8

from common.program.errors import UserError

Window: TypeAlias = tuple[float, float]


def parse_window(text: str) -> Window | None:
    """Returns (low, high) for "low,high", and None for "".

    Raises:
      UserError: the text is neither, or low is not below high.
    """
    if not text.strip():
        return None
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        low, high = 0.0, 0.0
    if not 0 < high - low < math.inf:
        raise UserError(
            f"config.data.window is '{text}'; write two numbers, the lower first, as in"
            " --config.data.window=-1000,400"
        )
    return low, high


def to_bytes(
    values: Num[np.ndarray, "height width channels"], window: Window
) -> UInt8[np.ndarray, "height width channels"]:
    """Maps values (none of them NaN) linearly, the window to 0..255; others are clipped.

    The window's low end is below its high end.
    """
    low, high = window
    return np.rint((values.clip(low, high) - low) / (high - low) * 255).astype(np.uint8)


def to_values(images: Float[np.ndarray, "*shape"], window: Window) -> Float[np.ndarray, "*shape"]:
    """Maps a network's -1..1 to the values of the window, in the units of the source."""
    low, high = window
    return low + (images.clip(-1, 1) + 1) * ((high - low) / 2)
