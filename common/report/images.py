"""Pictures for people: grids, captions, things side by side; grey and RGB alike."""

import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from common.program.files import replaced

# The names begin with _ so that a function may take one size and return another.
Picture = UInt8[np.ndarray, "_height _width _channels"]

_GAP = 2
_WHITE = 255
_TEXT_SIZE = 12


def grid(
    images: UInt8[np.ndarray, "_rows _columns _height _width _channels"], zoom: int = 1
) -> Picture:
    """Returns images in rows and columns with thin white gaps, each pixel repeated `zoom` times."""
    rows, columns, height, width, channels = images.shape
    images = images.repeat(zoom, axis=2).repeat(zoom, axis=3)
    height, width = height * zoom, width * zoom
    shape = (rows * (height + _GAP) + _GAP, columns * (width + _GAP) + _GAP, channels)
    picture = np.full(shape, _WHITE, np.uint8)
    for row in range(rows):
        for column in range(columns):
            top, left = row * (height + _GAP) + _GAP, column * (width + _GAP) + _GAP
            picture[top : top + height, left : left + width] = images[row, column]
    return picture


def zoom_for(image_size: int, smallest: int = 64) -> int:
    """Returns how often to repeat pixels so that a small image is visible."""
    return max(1, -(-smallest // image_size))


def beside(pictures: Sequence[Picture], gap: int = 16) -> Picture:
    """Returns pictures side by side, aligned at the top; grey becomes RGB if one is RGB."""
    channels = max(picture.shape[2] for picture in pictures)
    height = max(picture.shape[0] for picture in pictures)
    parts = []
    for number, picture in enumerate(pictures):
        if number:
            parts.append(np.full((height, gap, channels), _WHITE, np.uint8))
        if picture.shape[2] < channels:
            picture = picture.repeat(channels, axis=2)  # noqa: PLW2901
        below = height - picture.shape[0]
        parts.append(np.pad(picture, ((0, below), (0, 0), (0, 0)), constant_values=_WHITE))
    return np.concatenate(parts, axis=1)


def titled(picture: Picture, title: str) -> Picture:
    """Returns a picture with one line of text above it, cut to its width.

    Control characters, such as ends of lines, become boxes; so do letters that the font does not
    have: it covers European ones.
    """
    # An umlaut may be two characters, as in file names of macOS.
    title = unicodedata.normalize("NFC", title)
    title = "".join(letter if letter.isprintable() else "\ufffd" for letter in title)
    _, width, channels = picture.shape
    strip = Image.new("L", (width, _TEXT_SIZE + 7), _WHITE)
    ImageDraw.Draw(strip).text((4, 2), title, fill=0, font=_font())
    text = np.asarray(strip)[..., None].repeat(channels, axis=2)
    return np.concatenate([text, picture], axis=0)


@lru_cache
def _font() -> ImageFont.FreeTypeFont:
    """Returns the font that comes with matplotlib; Pillow's own has no umlauts."""
    import matplotlib

    file = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    # A fixed layout engine: Pillow's default differs between installations.
    return ImageFont.truetype(file, _TEXT_SIZE, layout_engine=ImageFont.Layout.BASIC)


def write_picture(file: Path, picture: Picture) -> None:
    """Writes a grey or RGB picture as a PNG file."""
    image = Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture)
    with replaced(file, durable=False) as scratch:
        image.save(scratch)
