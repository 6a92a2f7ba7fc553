"""What is kept of a picture to recognise it: a digest and a thumbnail, never the pixels."""

import hashlib
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from common.data.fit import is_coloured
from common.data.records import Pixels

THUMBNAIL = 64  # height and width in pixels
_FLAT = 3.0  # standard deviation of a thumbnail, in grey levels, below which it is flat

Thumbnail = UInt8[np.ndarray, "64 64"]


@dataclass(frozen=True)
class Look:
    """How a picture looks.

    Attributes:
      digest: of the decoded pixels: equal for equal pictures, whatever their files.
      flat: whether there is hardly anything to see, as in the first slices of a volume.
      thumbnail: the picture in grey, stretched to a square; None if it is not kept.
    """

    digest: bytes
    flat: bool
    thumbnail: Thumbnail | None


def look_at(pixels: Pixels) -> Look:
    """Returns how a picture looks; grey and equal colour channels look the same."""
    plain = without_equal_channels(pixels)
    digest = hashlib.blake2b(f"{plain.shape}".encode() + plain.tobytes()).digest()[:16]
    thumbnail = small(as_picture(plain).convert("L"))
    return Look(digest, bool(thumbnail.std() < _FLAT), thumbnail)


def without_equal_channels(pixels: Pixels) -> Pixels:
    """Returns the pixels, reduced to one channel if all are equal."""
    return pixels if is_coloured(pixels) else pixels[..., :1]


def as_picture(pixels: Pixels) -> Image.Image:
    """Returns pixels of 1 or 3 channels as Pillow's image."""
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def small(picture: Image.Image) -> UInt8[np.ndarray, "64 64 *channels"]:
    """Returns a picture stretched to a thumbnail."""
    method = Image.Resampling.BICUBIC
    return np.array(picture.resize((THUMBNAIL, THUMBNAIL), method, reducing_gap=3.0))
