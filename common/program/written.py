"""The record of a folder, `.written.jsonl`: the files that the program wrote in it.

Each line names a file and the checksum of its content. It is added before the file is moved into
place, so a killed command leaves no unrecorded file. Lines are never removed: what was once written
under a name remains the program's.
"""

import json
import os
from collections.abc import Collection, Iterable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from common.program.errors import UserError
from common.program.files import sha256_of

RECORD = ".written.jsonl"
_HEADER = {"written_by": "triptych", "version": 1}


class Line(NamedTuple):
    """A line of the record: a file that the program wrote.

    Attributes:
      file: its path below the folder, with "/" between its parts.
      sha256: of its content.
      mode: the mode that wrote it: "generate".
      of: what it is about, where that distinguishes results: the inspected data.
      data: whether it is one of the folder's images rather than a picture for people.
      size: in bytes; -1 in records of earlier versions.
      modified: time of the last change in nanoseconds; likewise.
    """

    file: str
    sha256: str
    mode: str
    of: str
    data: bool
    size: int = -1
    modified: int = -1


def line_of(draft: Path, name: str, mode: str, of: str, data: bool) -> Line:
    """Returns the line of a file that is still a draft."""
    found = draft.stat()
    return Line(name, sha256_of(draft), mode, of, data, found.st_size, found.st_mtime_ns)


def is_as_written(file: Path, lines: Collection[Line], *, hasty: bool = False) -> bool:
    """Returns whether a file has content that the program wrote there.

    Args:
      file: the file to check.
      lines: the record's lines about it.
      hasty: whether equal size and time suffice, so that the content is not read.
    """
    if not lines or file.is_symlink() or not file.is_file():
        return False
    found = file.stat()
    if hasty and (found.st_size, found.st_mtime_ns) in {(x.size, x.modified) for x in lines}:
        return True
    if all(line.size not in (-1, found.st_size) for line in lines):
        return False
    return sha256_of(file) in {line.sha256 for line in lines}


def written_for_people(folder: Path) -> frozenset[str]:
    """Returns the names of pictures and tables in a folder that are not data: "grid.png".

    The program wrote them beside the images, and they are unchanged. They are in the record of the
    folder, or of one above it whose command wrote at several depths.
    """
    names: set[str] = set()
    real = folder.resolve()
    for above in (real, *real.parents):
        with suppress(OSError, UserError):
            found = (above / RECORD).lstat()
            record = _for_people(above, found.st_ino, found.st_size, found.st_mtime_ns)
            inner = record.get(real.relative_to(above).as_posix(), {})
            names.update(
                name for name in inner if is_as_written(real / name, inner[name], hasty=True)
            )
    return frozenset(names)


@lru_cache(maxsize=16)
def _for_people(folder: Path, *state: int) -> dict[str, dict[str, list[Line]]]:
    """Returns the lines about files that are not data, by folder ("." is the record's) and name.

    Args:
      folder: of the record.
      state: what distinguishes this record from earlier and later versions.
    """
    found: dict[str, dict[str, list[Line]]] = {}
    for file, lines in read_record(folder, b'"data": false').items():
        inner, _, name = file.rpartition("/")
        found.setdefault(inner or ".", {})[name] = lines
    return found


def read_record(folder: Path, holding: bytes = b"") -> dict[str, list[Line]]:
    """Returns the lines of the record by file; {} if there is none.

    A line that a kill has cut off is ignored.

    Args:
      folder: whose record.
      holding: what a line must hold; a record of many images is long.

    Raises:
      UserError: it is not a record, or can't be read.
    """
    file = folder / RECORD
    if not os.path.lexists(file):
        return {}
    complaint = (
        f"{file} is damaged, or was not written by this program; move it, or name another folder."
    )
    if file.is_symlink() or not file.is_file():
        raise UserError(complaint)
    try:
        first, *rest = file.read_bytes().split(b"\n")
        if json.loads(first) != _HEADER:
            raise UserError(complaint)
    except OSError as error:
        raise UserError(f"{file} can't be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise UserError(complaint) from error
    record: dict[str, list[Line]] = {}
    for text in (text for text in rest if holding in text):
        with suppress(ValueError, TypeError, RecursionError):
            line = Line(**json.loads(text))
            kinds = (str, str, str, str, bool, int, int)
            if all(map(isinstance, line, kinds)):
                record.setdefault(line.file, []).append(line)
    return record


def add_lines(folder: Path, lines: Iterable[Line]) -> None:
    """Appends to the record of a folder, which is created if missing."""
    text = "".join(json.dumps(line._asdict()) + "\n" for line in lines).encode()
    with (folder / RECORD).open("ab+") as stream:
        if end := stream.seek(0, os.SEEK_END):
            stream.seek(end - 1)
            before = b"" if stream.read(1) == b"\n" else b"\n"
        else:
            before = json.dumps(_HEADER).encode() + b"\n"
        stream.write(before + text)
