"""The figures of finished cells, a line each in a file that may come from another machine.

{"cell": "50_0/arms/real/run", "config": "3f0c...", "figures": {"scores": {...}, ...}}
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

from common.program.errors import UserError
from common.program.files import regular_file, write_atomically
from common.program.json_files import build, parse_object
from common.program.log import log

Figures: TypeAlias = Mapping[str, Any]  # what a cell found, in the types of JSON


@dataclass(frozen=True)
class _Line:
    """A finished cell: its name, the hash of its config, and what it found."""

    cell: str
    config: str
    figures: Mapping[str, Any]


class Finished:
    """The finished cells that a file lists; without a file, none."""

    def __init__(self, file: Path | None) -> None:
        """Reads the file, if there is one.

        Raises:
          UserError: it can't be read, or a line is damaged.
        """
        self._file = file
        self._lines = {line.cell: line for line in _read(file)} if file else {}

    def figures(self, cell: str, config: str) -> Figures | None:
        """Returns what a cell found; None if it is not listed with this hash of its config."""
        line = self._lines.get(cell)
        if line is None:
            return None
        if line.config == config:
            return line.figures
        log.warning(
            "%s has cell %s with another config (hash %s there, %s now): it is not taken.",
            *(self._file, cell, line.config, config),
        )
        return None

    def add(self, cell: str, config: str, figures: Figures) -> None:
        """Adds a cell's line to the file, unless it is listed with this hash of its config."""
        known = self._lines.get(cell)
        if self._file is not None and (known is None or known.config != config):
            self._lines[cell] = _Line(cell, config, figures)
            lines = (json.dumps(asdict(line)) for line in self._lines.values())
            self._file.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self._file, "".join(f"{line}\n" for line in lines))


def _read(file: Path) -> list[_Line]:
    try:
        texts = regular_file(file).read_bytes().splitlines()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(f"{file} can't be read: {error.strerror}; name another file.") from error
    lines = []
    for number, text in enumerate(texts, 1):
        try:
            lines.append(build(_Line, parse_object(text)))
        except ValueError as error:
            raise UserError(
                f"Line {number} of {file} is damaged: {error}; remove the line."
            ) from error
    return lines
