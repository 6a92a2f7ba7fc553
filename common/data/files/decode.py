"""Reading one image file as pixels from 0 to 255."""

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, Num, UInt8
from PIL import Image, UnidentifiedImageError

from common.data.files.pictures import FORMATS, load
from common.data.files.stored import Stored, orientation_of, too_large, upright
from common.data.files.window import Window, to_bytes
from common.data.records import Decoded
from common.program.errors import UserError
from common.program.library_errors import pixels_of

_GREY = ("1", "L", "LA", "La")
_INTEGER_WINDOW, _FLOAT_WINDOW = (0.0, 65535.0), (0.0, 1.0)
_PILLOW_MODULES = r"PIL\."
_PILLOW_FILTER = ("ignore", None, Warning, re.compile(_PILLOW_MODULES), 0)


def read_image(path: Path, window: Window | None = None, content: bytes | None = None) -> Decoded:
    """Reads an image file at its native size, upright, as 1 channel (grey) or 3 (RGB).

    Transparency is composited onto black. Images of more than 8 bits a channel, grey or RGB, are
    mapped linearly, `window` to 0..255 with clipping, each channel alike. The default window is the
    range of their bits (unsigned integers of up to 16 bits), 0..65535 (other integers) or 0..1
    (floats). If the file shows high values dark, so do the pixels. The window does not affect
    images of 8 bits or fewer. May be called from several threads.

    Args:
      path: a file in one of `FORMATS`, with any ending.
      window: (low, high) in the file's own units, low < high.
      content: the file's bytes, if it is not a file on disk; the path is then for messages only.

    Raises:
      UserError: the file is missing, empty, damaged, not an image, an animation or stack, larger
        than `MAX_PIXELS`, holds values that need a window but has none, or needs a package that is
        not installed.
    """
    with explained(path):
        picture = load(path, content)
        if isinstance(picture, Stored):
            return _shown(picture, window, path)
        decoded = _shallow(picture)
        return replace(decoded, pixels=upright(decoded.pixels, orientation_of(picture)))


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turns any error of reading a picture into one sentence.

    Raises:
      UserError: instead of what the body raises.
    """
    _ignore_pillow_warnings()
    try:
        yield
    except (UserError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise too_large(path, pixels_of(error)) from error
    except Exception as error:  # a damaged file makes the readers raise almost anything
        raise UserError(f"{path} {_complaint(path, error)}") from error


def _ignore_pillow_warnings() -> None:
    """Silences Pillow's warnings: none concerns the pixels except that of decompression bombs.

    `warnings.catch_warnings` swaps a list that all threads share, so a thread would undo another's
    change. A permanent filter for Pillow's own modules has no such race; it is checked each time
    because a caller's `catch_warnings` may drop it.
    """
    if _PILLOW_FILTER not in warnings.filters:
        warnings.filterwarnings("ignore", module=_PILLOW_MODULES)


def _complaint(path: Path, error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        if path.exists() and not path.stat().st_size:
            return "is empty (0 bytes); replace or remove it."
        return f"is not a readable image ({', '.join(FORMATS)}); convert, replace or remove it."
    if isinstance(error, OSError) and error.strerror:
        return f"can't be opened: {error.strerror}; check the path and its permissions."
    return f"is damaged ({error}); replace or remove it."


def _shallow(image: Image.Image) -> Decoded:
    """Converts an image of up to 8 bits a channel to grey or RGB, composited onto black."""
    grey = image.mode in _GREY
    if not image.has_transparency_data:
        pixels = np.array(image.convert("L" if grey else "RGB"))
        return Decoded.from_bytes(pixels[..., None] if grey else pixels, image.mode)
    layers = np.array(image.convert("LA" if grey else "RGBA")).astype(np.uint16)
    colour, alpha = layers[..., :-1], layers[..., -1:]
    pixels = ((colour * alpha + 127) // 255).astype(np.uint8)  # 65,152 at most
    return Decoded.from_bytes(pixels, image.mode)


def _shown(stored: Stored, window: Window | None, path: Path) -> Decoded:
    """Maps the stored numbers linearly from their window to 0..255, or looks them up."""
    if stored.palette is not None:
        return Decoded.from_bytes(stored.palette[stored.values[..., 0]], stored.mode)
    values, floats = stored.colours, stored.values.dtype.kind == "f"
    if floats and np.isnan(stored.values).any():
        raise UserError(f"{path} holds values that are not numbers (NaN); replace or remove it.")
    found = float(values.min()), float(values.max())
    shallow = stored.bits <= 8 and stored.white is not None
    if shallow or (window is None and stored.white is not None):
        window = (0.0, float(stored.white or 0))
    elif window is None:
        window = _FLOAT_WINDOW if floats else _INTEGER_WINDOW
        _check_range(found, window, path)
    opacity = _opacity(stored, path) if stored.alpha else None
    # One channel after the other: the numbers take eight times the memory of the pixels.
    channels = [
        _mapped(values[..., i : i + 1], window, stored, opacity) for i in range(values.shape[-1])
    ]
    pixels = np.concatenate(channels, axis=-1)
    if shallow:
        return Decoded.from_bytes(pixels, stored.mode)
    if stored.dark:
        window = window[1], window[0]
    return Decoded(pixels, stored.mode, max(stored.bits, 8), window, found)


def _mapped(
    channel: Num[np.ndarray, "height width 1"],
    window: Window,
    stored: Stored,
    opacity: Float[np.ndarray, "height width 1"] | None,
) -> UInt8[np.ndarray, "height width 1"]:
    """Maps one channel from its window to 0..255 and composites it onto black."""
    values = channel.astype(np.float64)
    if opacity is not None and stored.alpha == "premultiplied":
        values = np.divide(values, opacity, out=np.zeros_like(values), where=opacity > 0)
    pixels = to_bytes(values, window)
    if stored.dark:
        pixels = 255 - pixels
    if opacity is not None:
        pixels = np.rint(pixels * opacity).astype(np.uint8)
    if stored.transparent is not None:
        pixels[channel == stored.transparent] = 0
    return pixels


def _opacity(stored: Stored, path: Path) -> Float[np.ndarray, "_height _width 1"]:
    """Returns 0 (transparent) to 1 for each pixel."""
    opaque = 2.0**stored.bits - 1 if stored.values.dtype.kind == "u" else 1.0
    opacity = stored.values[..., -1:].astype(np.float64) / opaque
    if (opacity < 0).any() or (opacity > 1).any():
        raise UserError(f"{path} has a transparency outside 0 to 1; save it without.")
    return opacity


def _check_range(found: tuple[float, float], window: Window, path: Path) -> None:
    low, high = found
    if low < window[0] or high > window[1]:
        raise UserError(
            f"{path} holds values from {low:g} to {high:g} rather than {window[0]:g} to"
            f" {window[1]:g}; set the range shown from black to white,"
            f" e.g. --config.data.window={low:g},{high:g}"
        )
