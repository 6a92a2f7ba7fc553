"""JSON files that the program wrote and reads again, checked for damage."""

import json
import math
import stat
from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, NoReturn, TypeVar, get_args, get_origin, get_type_hints

from common.program.errors import UserError

_MOST_BYTES = 2**30
_DEEPEST = 32
_LARGEST = 2**53  # the largest whole number that every JSON reader keeps exactly
_WORDS = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}

Kind = TypeVar("Kind")


def read_object(file: Path, advice: str) -> dict[str, Any]:
    """Reads a file that holds one JSON object.

    Args:
      file: its path.
      advice: what to do if it is damaged, for the message.

    Raises:
      UserError: it is missing, can't be read, or holds something else.
    """
    try:
        status = file.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("it is not a file")
        if status.st_size > _MOST_BYTES:
            raise ValueError("it is too large")
        return parse_object(file.read_bytes())
    except OSError as error:
        raise UserError(f"{file} can't be read: {error.strerror}; {advice}.") from error
    except ValueError as error:
        raise UserError(f"{file} is damaged: {error}; {advice}.") from error


def parse_object(text: bytes) -> dict[str, Any]:
    """Returns one JSON object, read from text in UTF-8.

    Raises:
      ValueError: it is something else, nested too deeply, or has a number out of range.
    """
    try:
        found = json.loads(text, parse_constant=_refuse_number)
        _check(found)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except ValueError as error:  # includes errors of JSON and of UTF-8
        raise ValueError(_message(error)) from error
    return dict(found)


def build(kind: type[Kind], values: Mapping[str, object]) -> Kind:
    """Returns a dataclass built from its values in JSON.

    Raises:
      ValueError: naming the field that is missing, unknown or of another type.
    """
    hints = get_type_hints(kind)
    known = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]
    if unknown := sorted(values.keys() - known.keys()):
        raise ValueError(f"{unknown[0]!r} is unknown")
    for name, field in known.items():
        if name not in values and field.default is field.default_factory is MISSING:
            raise ValueError(f"{name!r} is missing")
    return kind(**{name: conform(value, hints[name], name) for name, value in values.items()})


def conform(value: Any, kind: Any, name: str) -> Any:
    """Returns a value from JSON, converted to a type.

    Args:
      value: from JSON.
      kind: str, int, float, bool, `tuple[kind, ...]`, `Mapping[str, kind]`; Any: whatever it is.
      name: of the field, for the message.

    Raises:
      ValueError: it is of the wrong type.
    """
    if get_origin(kind) is tuple:
        if not isinstance(value, list | tuple):
            raise ValueError(f"{name!r} is {_brief(value)}; it must be a list")
        (kind, *_) = get_args(kind)
        return tuple(conform(entry, kind, name) for entry in value)
    if get_origin(kind) is not None:
        if not isinstance(value, Mapping):
            raise ValueError(f"{name!r} is {_brief(value)}; it must be an object")
        (_, kind) = get_args(kind)
        return {key: conform(entry, kind, f"{name}.{key}") for key, entry in value.items()}
    if kind is Any or type(value) is kind or (kind is float and type(value) is int):
        return value
    raise ValueError(f"{name!r} is {_brief(value)}; it must be {_WORDS[kind]}")


def _check(found: object) -> None:
    """Refuses what is not an object, is nested too deeply, or holds a number out of range."""
    if not isinstance(found, dict):
        raise ValueError(f"it holds {_brief(found)} where an object belongs")
    level: list[Any] = [found]
    for _ in range(_DEEPEST):
        entries = [
            entry for one in level for entry in (one.values() if isinstance(one, dict) else one)
        ]
        if any(
            (isinstance(entry, float) and not math.isfinite(entry))
            or (isinstance(entry, int) and abs(entry) > _LARGEST)
            for entry in entries
        ):
            raise ValueError("it holds a number out of range")
        level = [entry for entry in entries if isinstance(entry, dict | list)]
        if not level:
            return
    raise ValueError("it is nested too deeply")


def _refuse_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a number")


def _message(error: ValueError) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8 text"
    return str(error).rstrip(".")


def _brief(value: object) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) < 60 else f"{text[:60]}..."
