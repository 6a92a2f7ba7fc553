"""What every source provides: readable records, in splits, with a fingerprint."""

import hashlib
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeAlias, TypeVar

import numpy as np
from jaxtyping import UInt8

from common.data.settings import DataSettings
from common.program.labels import check_labels

SPLITS = ("train", "val", "test")
FURTHER = "more"  # where images of data.unlabelled_dir are until it is known whether they may train
UNLABELLED = -1  # the label of an image that has none

Value = TypeVar("Value")

# The names begin with _ so that one function may take images of several sizes.
Pixels = UInt8[np.ndarray, "_height _width _channels"]
Mask = UInt8[np.ndarray, "_height _width"]


@dataclass(frozen=True)
class Decoded:
    """An image at its native size, mapped to 0..255, and where the mapping came from.

    Attributes:
      pixels: 0..255, 1 channel (grey) or 3 (RGB).
      mode: how the file stores it, for people: "L", "RGBA", "I;16", "MONOCHROME2".
      bits: per channel in the file, at least 8.
      window: the values, in the file's own units, shown as 0 and as 255; the first is the higher
        one if the file shows high values dark.
      value_range: the lowest and the highest value of the image, in the file's own units.
    """

    pixels: Pixels
    mode: str
    bits: int
    window: tuple[float, float]
    value_range: tuple[float, float]

    @classmethod
    def from_bytes(cls, pixels: Pixels, mode: str) -> "Decoded":
        """Returns an image that its file stores as 0..255."""
        return cls(pixels, mode, 8, (0.0, 255.0), (float(pixels.min()), float(pixels.max())))


@dataclass(frozen=True)
class Record:
    """One image that has not been decoded yet.

    Attributes:
      id: stable and unique within the source: the path below the root ("train/COVID/a.png"),
        followed by "#" and a number if the file holds several images, or split and position
        ("train/000123").
      label: index into the source's classes.
      read: decodes the image; raises UserError.
      read_mask: decodes its mask as class ids, indices into the source's mask_classes, of the
        image's height and width; raises UserError. None if the source has no masks.
      read_target: decodes the image to translate it to; None if there is none.
      read_group: returns the group (patient), so that no group is in two splits; "" is a group of
        its own. It may open the file and raise UserError.
      path: the file; None if the image is not in a file of its own.
      around: decode as many slices before it as after it, in the order of its stack; () if they are
        not seen with it.
      doubt: what its file leaves open about the orientation of the image or its mask, for people;
        "" for nothing.
    """

    id: str
    label: int
    read: Callable[[], Decoded]
    read_mask: Callable[[], Mask] | None = None
    read_target: Callable[[], Decoded] | None = None
    read_group: Callable[[], str] = str
    path: Path | None = None
    around: tuple[Callable[[], Decoded], ...] = ()
    doubt: str = ""

    def with_slices_around(self, own: Pixels) -> list[Pixels]:
        """Returns the slices before it, its own, which is given, and those after it.

        Raises:
          UserError: a slice can't be read.
        """
        others = [read().pixels for read in self.around]
        middle = len(others) // 2
        return [*others[:middle], own, *others[middle:]]


@dataclass(frozen=True)
class Contents:
    """What is in a source.

    Attributes:
      classes: their names, in the order of the labels.
      splits: "train", "val", "test", those that the source has; without splits all is "train". None
        is empty, and "train" is always present.
      mask_classes: names of the masks' classes, the background first; () if there are no masks.
      unread: the files beside them that are not read, by their paths below the root.
    """

    classes: tuple[str, ...]
    splits: Mapping[str, Sequence[Record]]
    mask_classes: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuses labels that tables and folders can't hold."""
        check_labels((*self.classes, *self.mask_classes))


class Once(Generic[Value]):
    """Makes a value at the first call and returns the same one from then on, for all threads."""

    def __init__(self, make: Callable[[], Value]) -> None:
        self._make, self._lock = make, threading.Lock()
        self._made: list[Value] = []

    def __call__(self) -> Value:
        """Returns the value; an error of making it is raised by every call."""
        with self._lock:
            if not self._made:
                self._made.append(self._make())
            return self._made[0]


@dataclass(frozen=True)
class Source:
    """Images before decoding.

    Attributes:
      name: for people: the folder, the file, or "covid_ct phantoms".
      fingerprint: hex digest that changes when a file is added, removed, renamed or modified (by
        size and time: the content is not read), or when a phantom's parameter changes.
      synthetic: True for phantoms, which are drawings and not patients.
      contents: lists the images at the first call, and may unpack, download or draw them. A set
        prepared in the cache is found by the fingerprint without it. Raises UserError.
    """

    name: str
    fingerprint: str
    synthetic: bool
    contents: Once[Contents]

    @property
    def classes(self) -> tuple[str, ...]:
        """Returns the names of the classes."""
        return self.contents().classes

    @property
    def splits(self) -> Mapping[str, Sequence[Record]]:
        """Returns the records of each split."""
        return self.contents().splits

    @property
    def mask_classes(self) -> tuple[str, ...]:
        """Returns the names of the masks' classes."""
        return self.contents().mask_classes


OpenPath: TypeAlias = Callable[[Path, DataSettings], Source]


def fingerprint(*parts: object) -> str:
    """Returns a hex digest of values that JSON can hold."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
