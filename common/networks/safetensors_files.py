"""Safetensors files: arrays by name, and nothing that could run.

    8 bytes   the length of the header, little-endian
    header    {"NAME": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, ...} as JSON, and
              perhaps "__metadata__", which is not read
    data      the numbers, little-endian, of one array after the other

This is all of the format, so it is read here and not by a package.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.program.json_files import build, parse_object

_LENGTH = 8  # bytes that state the header's length
_LONGEST = 100 * 2**20  # bytes of a header
_BFLOAT16 = "BF16"  # the upper half of a float32, which NumPy lacks
_TYPES = {
    **{"F64": "<f8", "F32": "<f4", "F16": "<f2", _BFLOAT16: "<u2", "BOOL": "?"},
    **{"I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1"},
    **{"U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1"},
}


@dataclass(frozen=True)
class _Entry:
    """What the header says of an array; its bytes begin and end at the offsets into the data."""

    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, ...]


def read_safetensors(path: Path) -> dict[str, np.ndarray]:
    """Returns the arrays of a file, bfloat16 as float32.

    Raises:
      ValueError: it is damaged, or has numbers of a type that NumPy lacks.
      OSError: it can't be read.
    """
    content = path.read_bytes()
    data = _LENGTH + int.from_bytes(content[:_LENGTH], "little")
    if data > min(len(content), _LENGTH + _LONGEST):
        raise ValueError("its header is cut off or too long")
    header = parse_object(content[_LENGTH:data])
    header.pop("__metadata__", None)
    entries = [(_entry(name, fields), name) for name, fields in header.items()]
    arrays, place = {}, 0
    for entry, name in sorted(entries, key=lambda one: one[0].data_offsets):
        begin, end = entry.data_offsets
        if begin != place:
            raise ValueError(f"{name} begins at byte {begin} of the data, not at {place}")
        if end > len(content) - data:
            raise ValueError(f"it ends before {name} does")
        arrays[name] = _array(name, entry, content[data + begin : data + end])
        place = end
    if place != len(content) - data:
        raise ValueError(f"{len(content) - data - place} bytes at its end are of no array")
    return arrays


def _entry(name: str, fields: object) -> _Entry:
    if not isinstance(fields, dict):
        raise ValueError(f"{name} is described by no object")
    entry = build(_Entry, fields)
    if entry.dtype not in _TYPES:
        raise ValueError(f"{name} has the type {entry.dtype}, which is not read")
    if len(entry.data_offsets) != 2 or min((*entry.shape, *entry.data_offsets)) < 0:
        raise ValueError(f"{name} has an impossible shape or place")
    return entry


def _array(name: str, entry: _Entry, content: bytes) -> np.ndarray:
    kind = np.dtype(_TYPES[entry.dtype])
    if math.prod(entry.shape) * kind.itemsize != len(content):
        raise ValueError(f"{name} has another size than its shape says")
    array = np.frombuffer(content, kind).reshape(entry.shape)
    if entry.dtype == _BFLOAT16:
        return (array.astype("<u4") << 16).view("<f4")
    return array
