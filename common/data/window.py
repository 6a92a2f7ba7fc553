"""Windows: which range of a file's own values (Hounsfield units, counts) is shown as 0 to 255."""

from typing import TypeAlias

import numpy as np
from jaxtyping import Float, Num, UInt8

from common.errors import UserError

Window: TypeAlias = tuple[float, float]


def parse_window(text: str) -> Window | None:
    """Returns (low, high) of "low,high", and None of "".

    Raises:
      UserError: the text is neither, or low is not below high.
    """
    if not text.strip():
        return None
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        low, high = 0.0, 0.0
    if not -float("inf") < low < high < float("inf"):
        raise UserError(
            f"config.data.window is '{text}'; write two numbers, the lower first, as in"
            " --config.data.window=-1000,400"
        )
    return low, high


def to_bytes(
    values: Num[np.ndarray, "height width 1"], window: Window
) -> UInt8[np.ndarray, "height width 1"]:
    """Maps values linearly, the window to 0..255; what lies outside is clipped."""
    low, high = window
    return np.rint((values.clip(low, high) - low) * (255 / (high - low))).astype(np.uint8)


def from_signed_unit(
    images: Float[np.ndarray, "*shape"], window: Window
) -> Float[np.ndarray, "*shape"]:
    """Maps a network's -1..1 to values of the window: what the pixels would be in the source."""
    low, high = window
    return low + (np.clip(images, -1, 1) + 1) * ((high - low) / 2)
