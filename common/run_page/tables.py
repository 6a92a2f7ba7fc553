"""Tables of whatever an evaluation wrote to evaluation.json, without knowing the task."""

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from common.report import page
from common.report.page import Cell, Markup

Found: TypeAlias = Mapping[str, Any]

_INTERVAL = {"value", "low", "high"}
_LONGEST = 100  # rows
_HEADERS = {"low": "95 % from", "high": "to"}


def tables(found: Found, title: str = "") -> Iterator[Markup]:
    """Yields a table of the plain values, one of parts with the same names, and those of others.

    Lists of lists are left out, but for a matrix of counts.

    Args:
      found: a part of the report, or the whole.
      title: of the part.
    """
    parts = {name: x for name, x in found.items() if isinstance(x, Mapping)}
    plain = {name: {"value": x} for name, x in found.items() if name not in (*parts, "verdict")}
    if plain := {name: row for name, row in plain.items() if not _is_nested(row["value"])}:
        yield _table(title, plain)
    if parts and all(map(_is_flat, parts.values())) and len(set(map(tuple, parts.values()))) == 1:
        yield _table(title, parts)
        parts = {}
    for name, value in found.items():
        inner = ", ".join(part for part in (title, _words(name)) if part)
        if name in parts:
            yield from tables(value, inner)
        elif _is_square(value):
            yield _matrix(inner, value, found.get("classes", ()))


def table_of_file(file: Path) -> Markup:
    """Returns a CSV table, folded away; of a long one only where it is."""
    try:
        with file.open(newline="", encoding="utf-8") as stream:
            header, *rows = [*csv.reader(stream)] or [[]]
    except (csv.Error, ValueError):
        return page.quiet(f"{file.name} is damaged.")
    if len(rows) > _LONGEST:
        return page.quiet(f"{file.parent.name}/{file.name} has {len(rows):,} rows.")
    whole = [row for row in rows if len(row) == len(header)]
    shown = [[_number(cell) for cell in row] for row in whole]
    return page.details(file.name, page.table(header, shown))


def figures(found: Found) -> dict[str, str]:
    """Returns every number by its place: {"scores accuracy": "0.84 [0.80, 0.88]"}."""
    numbers: dict[str, str] = {}
    for name, value in found.items():
        if isinstance(value, Mapping) and set(value) == _INTERVAL:
            numbers[_words(name)] = interval(value)
        elif isinstance(value, Mapping):
            numbers |= {f"{_words(name)}, {inner}": x for inner, x in figures(value).items()}
        elif isinstance(value, int | float) and not isinstance(value, bool):
            numbers[_words(name)] = f"{value:.4g}"
    return numbers


def interval(score: Found) -> str:
    """Returns "0.912 [0.850, 0.951]" for a score with its interval; "no value" if it has none."""
    if score["value"] is None:
        return "no value"
    ends = ["?" if end is None else f"{end:.3f}" for end in (score["low"], score["high"])]
    return f"{score['value']:.3f} [{', '.join(ends)}]"


def _table(title: str, rows: Mapping[str, Found]) -> Markup:
    columns = dict.fromkeys(
        column for row in rows.values() for column, value in row.items() if not _is_nested(value)
    )
    return page.table(
        ("name", *(_HEADERS.get(column, _words(column)) for column in columns)),
        [
            (_words(name), *(_cell(row.get(column, "")) for column in columns))
            for name, row in rows.items()
        ],
        title,
    )


def _matrix(title: str, rows: Sequence[Sequence[int]], classes: Sequence[str]) -> Markup:
    """Returns a table of counts of which class (row) was taken for which (column)."""
    names = classes if len(classes) == len(rows) else [str(place) for place in range(len(rows))]
    return page.table(
        ("truth", *(f"taken for {name}" for name in names)),
        [(name, *row) for name, row in zip(names, rows, strict=True)],
        title,
    )


def _is_flat(row: Found) -> bool:
    """Returns whether a row has only values that fit in a cell."""
    return not any(isinstance(value, Mapping) for value in row.values())


def _is_nested(value: object) -> bool:
    return isinstance(value, list) and any(isinstance(each, list | Mapping) for each in value)


def _is_square(value: object) -> bool:
    return isinstance(value, list) and all(
        isinstance(row, list) and len(row) == len(value) for row in value
    )


def _words(name: str) -> str:
    return name.replace("_", " ")


def _number(text: str) -> Cell:
    """Returns a cell of a CSV table as the number that it holds, or as it is."""
    return float(text) if re.fullmatch(r"-?\d+\.\d+(e-?\d+)?", text) else text


def _cell(value: Any) -> Cell:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if value is None:
        return "no value"
    return ("yes" if value else "no") if isinstance(value, bool) else value
