"""Files and folders: writes are atomic, and only regular files are read."""

import csv
import hashlib
import io
import itertools
import os
import re
import stat
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

from common.program.errors import UserError
from common.program.stores import is_url, local_copy

_NUMBERS = itertools.count()
_SCRATCH = re.compile(r"\.tmp-(\d+)-\d+-.+", re.DOTALL)  # what `replaced` makes
_OLD_SCRATCH = re.compile(r"\.(?:run\.json|config\.json|metrics\.jsonl)\.(\d+)")


_SPECIAL = {
    **{stat.S_IFDIR: "a folder", stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"},
    **{stat.S_IFCHR: "a device", stat.S_IFBLK: "a device", stat.S_IFLNK: "a link"},
}


def regular_file(path: Path) -> Path:
    """Returns a path that is checked to be a regular file, or a link to one.

    Opening a pipe may block for ever, and some devices have no end.

    Raises:
      UserError: it is something else.
      OSError: it does not exist, or the folder can't be read.
    """
    if kind := special_kind(path.stat().st_mode):
        raise UserError(f"{path} is {kind}, not a file; put a file in its place or remove it.")
    return path


def sha256_of(file: Path) -> str:
    """Returns the checksum of a file's content, in hexadecimal digits.

    Raises:
      OSError: it can't be read.
    """
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sealed(content: bytes) -> bytes:
    """Returns a file's content followed by its checksum, for `unsealed` to verify."""
    return content + hashlib.sha256(content).digest()


def unsealed(whole: bytes) -> bytes | None:
    """Returns the content that `sealed` was given; None if the checksum does not match."""
    size = hashlib.sha256().digest_size
    return whole[:-size] if sealed(whole[:-size]) == whole else None


def special_kind(mode: int) -> str:
    """Returns what an `st_mode` is if not a file, as in "a named pipe"; "" for a file."""
    return _SPECIAL.get(stat.S_IFMT(mode), "")


@contextmanager
def replaced(file: Path, *, durable: bool = True) -> Iterator[Path]:
    """Yields a path to write to; at the end it replaces the file atomically.

    The file is either the old or the new one, even after a kill and, if `durable`, after a power
    cut, which waits for the disk. The path is in the same folder and has the same ending, from
    which writers infer the format. If the block fails, the file stays as it was.
    """
    scratch = file.with_name(f".tmp-{os.getpid()}-{next(_NUMBERS)}-{file.name[-40:]}")
    try:
        yield scratch
        if durable:
            with scratch.open("rb") as stream:
                os.fsync(stream.fileno())
        scratch.replace(file)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise


def write_atomically(file: Path, content: str | bytes) -> None:
    """Writes a file atomically: it is the old or the new one, even after a power cut."""
    with replaced(file) as scratch:
        scratch.write_bytes(content.encode() if isinstance(content, str) else content)


def remove_leftovers(folder: Path) -> None:
    """Removes files that `replaced` left in a folder in processes that have ended."""
    for file in folder.glob(".*"):
        match = _SCRATCH.fullmatch(file.name) or _OLD_SCRATCH.fullmatch(file.name)
        if match and file.is_file() and not psutil.pid_exists(int(match[1])):
            file.unlink(missing_ok=True)


def user_path(path: str | Path) -> Path:
    """Returns a path with "~" expanded to the home folder; of an object store, its local copy.

    Raises:
      UserError: there is nothing at an address of an object store, or it can't be read.
    """
    if is_url(path):
        return local_copy(str(path))
    # pathlib's own raises if there is no such user; "~x" may be a file.
    return Path(os.path.expanduser(path))  # noqa: PTH111


def writable_folder(path: Path, flag: str) -> Path:
    """Returns a folder, which is made if it is missing.

    Args:
      path: of the folder.
      flag: the flag that named it, for the message.

    Raises:
      UserError: it is a file or not writable.
    """
    path = user_path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise UserError(
            f"{flag}={path} can't be written: {error.strerror}; name another with {flag}."
        ) from error
    return path


def csv_line(cells: Iterable[object]) -> str:
    """Returns a line of a CSV table; any cells are read back unchanged."""
    row, text = list(cells), io.StringIO(newline="")
    quoted = any("\r" in str(cell) for cell in row)  # which the csv module does not quote
    csv.writer(
        text, quoting=csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL, lineterminator="\n"
    ).writerow(row)
    return text.getvalue()


def identifiers(names: Sequence[str]) -> list[str]:
    """Returns distinct names for fields, of letters, digits and _: "GD_enhancing"."""
    plain = [re.sub(r"\W", "_", name) for name in names]
    return [
        f"{name}_{place}" if plain.count(name) > 1 else name for place, name in enumerate(plain)
    ]


def printed(text: str) -> str:
    """Returns any text in a form that fits in one printed line."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in text
    )


def within(file: Path, folder: Path) -> bool:
    """Returns whether a file is in a folder, at any depth."""
    return folder in file.resolve().parents
