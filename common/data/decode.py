"""Reading one image file with Pillow."""

import io
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Num
from PIL import ExifTags, Image, UnidentifiedImageError

from common.data.records import Decoded
from common.data.window import Window, to_bytes
from common.errors import UserError

# Far above any radiograph; a decoded RGB image of this size takes 0.4 GB. It must stay below twice
# `Image.MAX_IMAGE_PIXELS`, from where Pillow itself refuses to open a file.
MAX_PIXELS = 2**27

# What read_image reads. Others stay closed: Pillow would run Ghostscript on an EPS file.
FORMATS = ("BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")

_DEEP = ("I", "I;16", "I;16L", "I;16B", "I;16N", "F")  # more than 8 bits: these need a window
_GREY = ("1", "L", "LA", "La")
_INTEGER_WINDOW, _FLOAT_WINDOW = (0.0, 65535.0), (0.0, 1.0)
_PILLOW_MODULES = r"PIL\."
_PILLOW_FILTER = ("ignore", None, Warning, re.compile(_PILLOW_MODULES), 0)

# What brings an image upright, by its EXIF orientation (2 to 8; CIPA DC-008, 4.6.4).
_UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: np.fliplr,
    3: lambda pixels: np.rot90(pixels, 2),
    4: np.flipud,
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: np.rot90(pixels, 2).swapaxes(0, 1),
    8: np.rot90,
}


def read_image(path: Path, window: Window | None = None, content: bytes | None = None) -> Decoded:
    """Reads an image file at its native size, upright, as 1 channel (grey) or 3 (RGB).

    Transparency is composited onto black. Images of more than 8 bits are mapped linearly, `window`
    to 0..255 with clipping; without a window 0..65535 (integers) or 0..1 (floats) is mapped. The
    window does not touch images of 8 bits or fewer. May be called from several threads.

    Args:
      path: a file in one of `FORMATS`, whatever its name ends in.
      window: (low, high) in the file's own units, low < high.
      content: of the file, where it is none of its own; the path is for messages then.

    Raises:
      UserError: the file is missing, empty, damaged, no image, an animation or stack, larger than
        `MAX_PIXELS`, or holds values that need a window where there is none.
    """
    with opened(path, content) as image:
        decoded = _deep(image, window, path) if image.mode in _DEEP else _shallow(image)
        return replace(decoded, pixels=upright(image, decoded.pixels))


@contextmanager
def opened(path: Path, content: bytes | None = None) -> Iterator[Image.Image]:
    """Opens a picture and loads its pixels; whatever is wrong with it becomes a sentence.

    Raises:
      UserError: as `read_image` does; also in the place of what the body raises.
    """
    _ignore_pillow_warnings()
    try:
        with Image.open(path if content is None else io.BytesIO(content), formats=FORMATS) as image:
            _check_header(image, path)
            image.load()
            yield image
    except (UserError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise _too_large(path, int(re.findall(r"\d+", str(error))[0])) from error
    except Exception as error:  # a damaged file makes Pillow's readers raise almost anything
        raise UserError(f"{path} {_complaint(path, error)}") from error


def upright(image: Image.Image, pixels: np.ndarray) -> np.ndarray:
    """Turns pixels as the picture's EXIF orientation says; what is right already stays."""
    turn = _UPRIGHT.get(_orientation(image))
    return np.ascontiguousarray(turn(pixels)) if turn else pixels


def _ignore_pillow_warnings() -> None:
    """Silences Pillow's warnings, of which none concerns the pixels except the bomb's.

    `warnings.catch_warnings` swaps a list that all threads share, so that one thread would restore
    what another has just changed. A filter for Pillow's own modules that is added and then stays
    has no such race; it is looked for each time because a caller's `catch_warnings` may drop it.
    """
    if _PILLOW_FILTER not in warnings.filters:
        warnings.filterwarnings("ignore", module=_PILLOW_MODULES)


def _check_header(image: Image.Image, path: Path) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise _too_large(path, width * height)
    frames = getattr(image, "n_frames", 1)
    # Cameras write MPO files, named .jpg: the frames behind the first are previews of it.
    if frames > 1 and image.format != "MPO":
        raise UserError(f"{path} holds {frames} images; save each of them as a file of its own.")


def _too_large(path: Path, pixels: int) -> UserError:
    return UserError(
        f"{path} has {pixels:,} pixels, more than the {MAX_PIXELS:,} that are read from one file;"
        " cut it into parts or shrink it."
    )


def _complaint(path: Path, error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        if path.exists() and not path.stat().st_size:
            return "is empty (0 bytes); replace or remove it."
        return f"is not a readable image ({', '.join(FORMATS)}); convert, replace or remove it."
    if isinstance(error, OSError) and error.strerror:
        return f"can't be opened: {error.strerror}; check the path and its permissions."
    return f"is damaged ({error}); replace or remove it."


def _orientation(image: Image.Image) -> int:
    """Returns the EXIF orientation, 1 (upright) where the metadata is damaged: the pixels are not.

    Pillow turns TIFF files itself while it loads them, and drops the entry then.
    """
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:
        return 1


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


def _deep(image: Image.Image, window: Window | None, path: Path) -> Decoded:
    """Maps an image of more than 8 bits linearly from its window to 0..255."""
    values = np.array(image).astype(np.float64)[..., None]
    if np.isnan(values).any():
        raise UserError(f"{path} holds values that are not numbers (NaN); replace or remove it.")
    floats = image.mode == "F"
    if window is None:
        window = _FLOAT_WINDOW if floats else _INTEGER_WINDOW
        _check_range(values, window, path)
    pixels = to_bytes(values, window)
    transparent = image.info.get("transparency")  # of a 16-bit PNG: the one value that is
    if isinstance(transparent, int):
        pixels[values == transparent] = 0
    bits = 16 if image.mode.startswith("I;16") else 32
    return Decoded(pixels, image.mode, bits, window, (float(values.min()), float(values.max())))


def _check_range(values: Num[np.ndarray, "height width 1"], window: Window, path: Path) -> None:
    low, high = values.min(), values.max()
    if low < window[0] or high > window[1]:
        raise UserError(
            f"{path} holds values from {low:g} to {high:g} rather than {window[0]:g} to"
            f" {window[1]:g}; say which range to show as black to white,"
            f" e.g. --config.data.window={low:g},{high:g}"
        )
