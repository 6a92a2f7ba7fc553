"""16-bit images: a network's output, written in the range and units of its source."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt16
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from common.data.files.window import to_values
from common.program.files import replaced

_LEVELS = 65535
_FINE = 255.0  # narrower windows hold fractions, which whole numbers would not show


def rescaling(window: Sequence[float]) -> tuple[float, float]:
    """Returns (slope, intercept), as DICOM calls them: value = slope * stored + intercept.

    A window of counts or Hounsfield units is stored unchanged (slope 1), but shifted if it has
    negative values, which a PNG file can't hold; any other is spread over all 16 bits.
    """
    low, high = sorted(window)
    intercept = float(min(0.0, np.floor(low)))
    if high - low >= _FINE and high - intercept <= _LEVELS:
        return 1.0, intercept
    return (high - low) / _LEVELS, float(low)


def to_stored(
    images: Float[np.ndarray, "*shape"], window: Sequence[float]
) -> UInt16[np.ndarray, "*shape"]:
    """Maps a network's -1..1 to the 16-bit numbers for a window (dark, bright)."""
    slope, intercept = rescaling(window)
    dark, bright = window
    values = to_values(images, (float(dark), float(bright)))
    return np.clip(np.rint((values - intercept) / slope), 0, _LEVELS).astype(np.uint16)


def write_deep(
    file: Path, image: UInt16[np.ndarray, "height width 1"], window: Sequence[float]
) -> None:
    """Writes a grey 16-bit PNG with slope, intercept and window as PNG text."""
    slope, intercept = rescaling(window)
    text = PngInfo()
    text.add_text("slope", f"{slope:.9g}")
    text.add_text("intercept", f"{intercept:.9g}")
    text.add_text("window", ",".join(f"{edge:.9g}" for edge in window))
    with replaced(file, durable=False) as scratch:
        Image.fromarray(image[..., 0]).save(scratch, pnginfo=text)
