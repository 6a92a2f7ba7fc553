"""The rows of metrics.jsonl, in which a run writes its numbers."""

import json
from pathlib import Path

METRICS = "metrics.jsonl"


def read_rows(file: Path) -> list[dict[str, int | float]]:
    """Returns the rows of metrics.jsonl; unreadable lines are left out."""
    return read_lines(file)[0]


def read_lines(file: Path) -> tuple[list[dict[str, int | float]], int]:
    """Returns the rows, and the number of unreadable lines without a last, unfinished one."""
    *lines, unfinished = file.read_bytes().split(b"\n") if file.exists() else [b""]
    read = [_row(line) for line in lines if line]
    rows = [row for row in (*read, _row(unfinished)) if row]
    return rows, read.count({})


def _row(line: bytes) -> dict[str, int | float]:
    """Returns the numbers of a line, {} if it is unreadable or holds something else."""
    try:
        row = json.loads(line)
        row = {**row, "step": int(row["step"])}
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return {}
    return row if all(map(_is_number, row.values())) else {}


def _is_number(value: object) -> bool:
    """Returns whether a value is a number written here; NaN is, an integer of 400 digits is not."""
    return type(value) is float or (type(value) is int and abs(value) < 2**53)
