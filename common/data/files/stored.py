"""The numbers stored in a picture's file and how they are shown; checks shared by its readers."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Num, Shaped, UInt8
from PIL import ExifTags, Image

from common.program.errors import UserError

# Far above any radiograph; a decoded RGB image of this size takes 0.4 GB. It must stay below twice
# `Image.MAX_IMAGE_PIXELS`, above which Pillow itself refuses to open a file.
MAX_PIXELS = 2**27

# What turns an image upright, by its EXIF orientation (2 to 8; CIPA DC-008, 4.6.4).
_UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: np.fliplr,
    3: lambda pixels: np.rot90(pixels, 2),
    4: np.flipud,
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: np.rot90(pixels, 2).swapaxes(0, 1),
    8: np.rot90,
}


@dataclass(frozen=True)
class Stored:
    """A picture as stored in its file, where Pillow would show it differently.

    Attributes:
      values: the file's own numbers, upright: 1 channel (grey) or 3 (RGB), then its alpha.
      mode: how the file stores it, for people.
      bits: per channel in the file.
      white: the value shown as white, with 0 as black, unless there is a window; None for numbers
        that do not imply it: floats, signed ones and those of more than 16 bits.
      dark: high values are dark (TIFF's WhiteIsZero).
      alpha: whether the last channel is alpha, and whether the colours are premultiplied by it.
      transparent: the one value that is transparent.
      palette: the colours that the values index.
    """

    values: Num[np.ndarray, "_height _width _channels"]
    mode: str
    bits: int
    white: int | None
    dark: bool = False
    alpha: Literal["", "straight", "premultiplied"] = ""
    transparent: int | None = None
    palette: UInt8[np.ndarray, "_colours 3"] | None = None

    @property
    def colours(self) -> Num[np.ndarray, "_height _width _colours"]:
        """Returns the channels without alpha."""
        return self.values[..., :-1] if self.alpha else self.values


def check_size(width: int, height: int, path: Path) -> None:
    """Refuses a picture that is too large by its header."""
    if width * height > MAX_PIXELS:
        raise too_large(path, width * height)


def too_large(path: Path, pixels: int) -> UserError:
    """Returns the error for a picture with more than `MAX_PIXELS`."""
    return UserError(
        f"{path} has {pixels:,} pixels, more than the {MAX_PIXELS:,} allowed in one file;"
        " cut it into parts or shrink it."
    )


def several(path: Path, frames: int) -> UserError:
    """Returns the error for a stack or an animation."""
    return UserError(f"{path} holds {frames} images; save each of them as a file of its own.")


def upright(
    pixels: Shaped[np.ndarray, "_height _width *_channels"], orientation: int
) -> Shaped[np.ndarray, "_rows _columns *_channels"]:
    """Turns pixels by an EXIF orientation; 1 and invalid ones leave them unchanged."""
    turn = _UPRIGHT.get(orientation)
    return np.ascontiguousarray(turn(pixels)) if turn else pixels


def orientation_of(image: Image.Image) -> int:
    """Returns the EXIF orientation, 1 (upright) if only the metadata is damaged.

    Pillow turns TIFF files itself on loading, and then drops the entry.
    """
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:
        return 1


def highest(bits: int, signed: bool = False) -> int | None:
    """Returns the white value of integers with these bits; None if they do not imply one."""
    return None if signed or bits > 16 else 2**bits - 1
