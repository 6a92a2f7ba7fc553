"""What the program reads back of its own files: whatever is in them, one sentence about it."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from common.program.errors import UserError
from common.program.json_files import build, read_object

HOSTILE = {
    "null": ("null", "holds null where an object belongs"),
    "a list": ("[1, 2]", "where an object belongs"),
    "a text": ('"task"', "where an object belongs"),
    "nothing": ("", "damaged"),
    "half of it": ('{"a": 1, "b', "damaged"),
    "deep": ("[" * 100_000, "nested too deeply"),
    "deep objects": ('{"a":' * 40 + "1" + "}" * 40, "nested too deeply"),
    "infinity": ('{"a": 1e999}', "number out of range"),
    "nan": ('{"a": NaN}', "NaN is not a number"),
    "huge": ('{"a": %s}' % ("9" * 100), "number out of range"),
    "more digits than Python reads": ('{"a": %s}' % ("9" * 5000), "damaged"),
    "zero bytes": ("\0" * 64, "damaged"),
    "latin-1": (b'{"a": "\xd6dem"}', "not UTF-8 text"),
    "utf-16": ('{"a": 1}'.encode("utf-16-le")[:-1], "damaged"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_damaged_file_is_met_with_one_sentence(tmp_path, case):
    content, says = HOSTILE[case]
    file = tmp_path / "run.json"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=re.escape(says)) as raised:
        read_object(file, "put a whole copy in its place")
    said = str(raised.value)
    assert str(file) in said and said.endswith("; put a whole copy in its place.")
    assert len(said) < len(str(file)) + 200 and "\n" not in said


def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name in (".", "pipe", "/dev/zero"):
        with pytest.raises(UserError, match="it is not a file"):
            read_object(tmp_path / name, "name another")
    with pytest.raises(UserError, match="No such file"):
        read_object(tmp_path / "gone", "name another")


@dataclass(frozen=True)
class Card:
    name: str
    classes: tuple[str, ...]
    counts: Mapping[str, int]
    size: int
    window: tuple[float, ...] = (0.0, 255.0)
    synthetic: bool = False


WHOLE = {"name": "x", "classes": ["A"], "counts": {"train": 3}, "size": 8, "window": [0, 1.5]}


def test_a_whole_one_is_built():
    assert build(Card, WHOLE) == Card("x", ("A",), {"train": 3}, 8, (0, 1.5))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"name": None}, "'name' is null; it must be a text"),
        ({"classes": "AB"}, "'classes' is \"AB\"; it must be a list"),
        ({"classes": ["A", 1]}, "'classes' is 1; it must be a text"),
        ({"counts": []}, "'counts' is []; it must be an object"),
        ({"counts": {"train": 1.5}}, "'counts.train' is 1.5; it must be a whole number"),
        ({"size": True}, "'size' is true; it must be a whole number"),
        ({"size": "8" * 100}, "it must be a whole number"),
        ({"synthetic": 1}, "'synthetic' is 1; it must be true or false"),
        ({"window": [True]}, "'window' is true; it must be a number"),
        ({"other": 1}, "'other' is unknown"),
    ],
)
def test_a_field_of_another_type_is_named(change, says):
    with pytest.raises(ValueError, match=re.escape(says)):
        build(Card, {**WHOLE, **change})


def test_a_missing_field_is_named():
    with pytest.raises(ValueError, match="'size' is missing"):
        build(Card, {name: value for name, value in WHOLE.items() if name != "size"})
