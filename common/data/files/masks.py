"""Masks: the values in a file, and the classes they mean."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.data.files.decode import explained
from common.data.files.image import Values
from common.data.files.pictures import load
from common.data.files.stored import Stored, orientation_of, upright
from common.data.files.whole_numbers import whole_numbers
from common.data.records import Mask
from common.program.errors import UserError
from common.program.words import counted

_SHOWN = 12  # unknown values that a message lists
_EXAMPLE = "--config.data.mask_values=0=background,128=oedema,255=tumour"
_CUT = "--config.data.mask_values=0-127=background,128-255=foreground"
_VALUES = re.compile(r"(\d{1,20})(?:-(\d{1,20}))?")
_MOST_VALUES = 65536  # in a range
# Channels that carry the value; the rest is transparency.
_CHANNELS = {"LA": 1, "La": 1, "PA": 1, "RGB": 3, "RGBA": 3, "RGBa": 3, "RGBX": 3}


@dataclass(frozen=True)
class MaskValues:
    """What the values in masks mean.

    Attributes:
      classes: names, the background first.
      meaning: the index of the class that each value means.
      exclusive: two values of which a mask may hold only one: both can mean the same class, and a
        mask that holds both has two classes.
    """

    classes: tuple[str, ...]
    meaning: Mapping[int, int]
    exclusive: tuple[int, int] | None = None

    def written(self, foreground: int) -> tuple[int, ...]:
        """Returns the value to write for each class: the first that means it.

        Args:
          foreground: the value to write for the foreground if two values mean it, 1 or 255.
        """
        if self.exclusive:
            return 0, foreground
        values = {index: value for value, index in reversed(list(self.meaning.items()))}
        return tuple(values[index] for index in range(len(self.classes)))


_BINARY = MaskValues(("background", "foreground"), {0: 0, 1: 1, 255: 1}, exclusive=(1, 255))


def parse_mask_values(text: str) -> MaskValues:
    """Parses `config.data.mask_values`.

    "0=background,128=oedema,255=tumour" makes three classes; values of one name are one class. In a
    range, as in "0-127=background,128-255=tumour", each value means the class. "" means 0 and
    1, or 0 and 255.

    Raises:
      UserError: the text is invalid.
    """
    if not text.strip():
        return _BINARY
    meaning: dict[int, int] = {}
    classes: list[str] = []
    for part in text.split(","):
        value, _, name = (piece.strip() for piece in part.partition("="))
        values = _values_of(value)
        if not values or not name or not meaning.keys().isdisjoint(values):
            raise UserError(
                f"config.data.mask_values is '{text}'; write each mask value once with its"
                f" class, the background first, as in {_EXAMPLE}"
            )
        if name not in classes:
            classes.append(name)
        index = classes.index(name)
        # The first value of a class is used to write masks: 0, and 255 of 128-255.
        meaning.update(dict.fromkeys(reversed(values) if index else values, index))
    if not 2 <= len(classes) <= 256:
        raise UserError(
            f"config.data.mask_values is '{text}', which names"
            f" {counted(len(classes), 'class', 'classes')}; name the"
            " background and 1 to 255 others."
        )
    return MaskValues(tuple(classes), meaning)


def _values_of(text: str) -> range:
    """Returns the values of "128" or "128-255"; an empty range for anything else."""
    match = _VALUES.fullmatch(text)
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
    return range(first, last + 1) if last - first < _MOST_VALUES else range(0)


def read_values(path: Path, content: bytes | None = None) -> Values:
    """Reads a picture as a mask: its own numbers, for a palette the indices.

    The numbers are those in the file, at any depth, even if high ones are shown dark (TIFF's
    WhiteIsZero). One-bit pictures have two colours rather than numbers: black is 0 and white is 1,
    whichever of them the file stores as 0.

    Floats that are whole to a millionth are rounded.

    Raises:
      UserError: the file can't be read, or does not hold one whole number per pixel.
    """
    with explained(path):
        picture = load(path, content)
        if isinstance(picture, Stored):
            values, mode = picture.colours, picture.mode
        else:
            values, mode = upright(np.array(picture), orientation_of(picture)), picture.mode
            if values.ndim == 3:
                values = values[..., : _CHANNELS.get(mode, 0)]
    if values.ndim == 3:
        values = _one_channel(values, mode, path)
    if values.dtype.kind == "f":
        return whole_numbers(values, path)
    if values.dtype == bool:
        return values.astype(np.uint8)
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def _one_channel(colours: np.ndarray, mode: str, path: Path) -> np.ndarray:
    """Returns the one channel of which all channels are copies."""
    if not colours.size or (colours[..., 1:] != colours[..., :1]).any():
        raise UserError(
            f"{path} is a colour mask ({mode}); save it in grey, one whole number per class."
        )
    return np.ascontiguousarray(colours[..., 0])


def read_mask(read: Callable[[], Values], values: MaskValues, where: str) -> Mask:
    """Reads a mask and returns each pixel's class index.

    Args:
      read: returns the file's values.
      values: what they mean.
      where: the file, for messages.

    Raises:
      UserError: the file can't be read, or it holds values that are unknown or ambiguous.
    """
    return to_classes(read(), values, where)


def to_classes(mask: Values, values: MaskValues, where: str) -> Mask:
    """Returns each pixel's class index.

    Raises:
      UserError: the mask holds values that are unknown, which are listed, or ambiguous.
    """
    found = np.unique(mask)
    present = found.tolist()
    if unknown := [value for value in present if value not in values.meaning]:
        raise UserError(f"{where} {_complaint(unknown, values, where)}")
    if values.exclusive and set(values.exclusive) <= set(present):
        first, second = values.exclusive
        raise UserError(
            f"{where} holds both {first} and {second}, and each of them alone would mean"
            f" {values.classes[values.meaning[first]]}; set what they mean, as in {_EXAMPLE}"
        )
    classes = np.array([values.meaning[value] for value in present], np.uint8)
    return classes[np.searchsorted(found, mask)]


def _complaint(unknown: list[int], values: MaskValues, where: str) -> str:
    listed = ", ".join(map(str, unknown[:_SHOWN])) + (", ..." if unknown[_SHOWN:] else "")
    known = _listed(values.meaning)
    blurred = len(unknown) > _SHOWN
    cut = f"or set from which value on the next class begins, as in {_CUT}"
    if where.lower().endswith((".jpg", ".jpeg", ".jfif")):
        return (
            f"holds the values {listed} beside {known}, as JPEG compression blurs a mask; save the"
            f" masks without loss (PNG) from the originals, {cut}"
        )
    return (
        f"holds the values {listed}, which are unknown (known are {known}); set what"
        f" they mean, as in {_EXAMPLE}" + (f", {cut} where edges are blurred" if blurred else "")
    )


def _listed(values: Iterable[int]) -> str:
    """Returns "0, 128-255" of whole numbers."""
    parts: list[list[int]] = []
    for value in sorted(values):
        if parts and value == parts[-1][-1] + 1:
            parts[-1].append(value)
        else:
            parts.append([value])
    ranges = (f"{part[0]}-{part[-1]}" if part[2:] else ", ".join(map(str, part)) for part in parts)
    return ", ".join(ranges)
