"""What every source of images gives: records that can be read, in splits, under a fingerprint."""

import hashlib
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from jaxtyping import UInt8

SPLITS = ("train", "val", "test")

Value = TypeVar("Value")


@dataclass(frozen=True)
class Record:
    """One image that has not been decoded yet.

    Attributes:
      id: stable and unique within the source: the path below the root ("train/COVID/a.png"), or
        split and position ("train/000123").
      label: index into the source's classes.
      read: decodes the image at its native size, 0..255, 1 or 3 channels; raises UserError.
    """

    id: str
    label: int
    read: Callable[[], UInt8[np.ndarray, "height width channels"]]


@dataclass(frozen=True)
class Source:
    """Images before decoding.

    Attributes:
      name: for people: the folder, the file, or "covid_ct phantoms".
      classes: their names, in the order of the labels.
      splits: "train", "val", "test", those that exist; "train" always.
      fingerprint: hex digest that changes when a file is added, removed, renamed or modified (by
        size and time: the content is not read), or when a phantom's parameter changes.
      synthetic: true for phantoms, which are drawings and not patients.
    """

    name: str
    classes: tuple[str, ...]
    splits: Mapping[str, Sequence[Record]]
    fingerprint: str
    synthetic: bool


class Once(Generic[Value]):
    """Makes a value at the first call and returns the same one ever after, for all threads."""

    def __init__(self, make: Callable[[], Value]) -> None:
        self._make, self._lock = make, threading.Lock()
        self._made: list[Value] = []

    def __call__(self) -> Value:
        """Returns the value; what the making raises, every call raises."""
        with self._lock:
            if not self._made:
                self._made.append(self._make())
            return self._made[0]


def fingerprint(*parts: Any) -> str:
    """Returns a hex digest of values that JSON can hold."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
