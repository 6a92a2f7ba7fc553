"""Masks: which values stand in a file, and which classes they mean."""

from pathlib import Path
from typing import TypeAlias

import numpy as np

from common.data.decode import opened, upright
from common.data.records import Mask
from common.data.slices import Values
from common.errors import UserError

Meaning: TypeAlias = dict[int, int]  # value in the file -> index of the class

BINARY = ("background", "foreground")
_SHOWN = 12  # unknown values that a message lists


def read_values(path: Path) -> Values:
    """Reads a picture as a mask: its own values; of a palette the indices, of bits 0 and 1.

    Raises:
      UserError: the file can't be read, or its colour channels differ.
    """
    with opened(path) as image:
        values = upright(image, np.array(image))
    if values.dtype.kind == "f":
        raise UserError(f"{path} is a mask of fractions; save whole numbers, one a class.")
    if values.ndim == 3:
        colours = values[..., : 1 if image.mode == "LA" else 3]
        if (colours != colours[..., :1]).any():
            raise UserError(f"{path} is a mask in colours; save it with one number a class.")
        values = colours[..., 0]
    return values.astype(np.int64)


def parse_mask_values(text: str) -> tuple[tuple[str, ...], Meaning]:
    """Returns class names and what values mean by `config.data.mask_values`.

    "0=background,128=oedema,255=tumour" gives ("background", "oedema", "tumour") and {0: 0, 128: 1,
    255: 2}; values of one name are one class. "" means 0 and 1, or 0 and 255.

    Raises:
      UserError: the text is something else.
    """
    if not text:
        return BINARY, {0: 0, 1: 1, 255: 1}
    meaning: Meaning = {}
    names: list[str] = []
    for part in text.split(","):
        value, _, name = (piece.strip() for piece in part.partition("="))
        if not value.isdecimal() or not name or int(value) in meaning:
            raise UserError(
                f"config.data.mask_values is '{text}'; write each value of the masks once and what"
                " it means, the background first, as in --config.data.mask_values="
                "0=background,128=oedema,255=tumour"
            )
        if name not in names:
            names.append(name)
        meaning[int(value)] = names.index(name)
    if len(names) < 2:
        raise UserError(
            f"config.data.mask_values is '{text}', which names one class; name the background and"
            " another."
        )
    return tuple(names), meaning


def to_classes(values: Values, meaning: Meaning, where: str) -> Mask:
    """Returns the index of the class of each pixel.

    Raises:
      UserError: the mask holds values that mean nothing; lists them.
    """
    found = np.unique(values)
    unknown = [int(value) for value in found if int(value) not in meaning]
    if unknown:
        listed = ", ".join(map(str, unknown[:_SHOWN])) + (", ..." if unknown[_SHOWN:] else "")
        raise UserError(
            f"{where} holds the values {listed}, of which no meaning is known (known are"
            f" {', '.join(map(str, meaning))}); say what they mean, as in"
            " --config.data.mask_values=0=background,128=oedema,255=tumour"
        )
    classes = np.array([meaning[int(value)] for value in found], np.uint8)
    return classes[np.searchsorted(found, values)]
