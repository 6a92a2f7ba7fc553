"""Files and folders: what is written is whole or not at all, what is read is a file and no pipe."""

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

_NUMBERS = itertools.count()
_SCRATCH = re.compile(r"\.tmp-(\d+)-\d+-.+", re.DOTALL)  # what `replaced` makes
_OLD_SCRATCH = re.compile(r"\.(?:run\.json|config\.json|metrics\.jsonl)\.(\d+)")


_SPECIAL = {
    **{stat.S_IFDIR: "a folder", stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"},
    **{stat.S_IFCHR: "a device", stat.S_IFBLK: "a device", stat.S_IFLNK: "a link"},
}


def regular_file(path: Path) -> Path:
    """Returns a path behind which there is a file, or a link to one.

    Whoever opens a pipe may wait for ever, and some devices have no end.

    Raises:
      UserError: there is something else.
      OSError: there is nothing, or the folder is closed.
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
    """Returns a file's content with its checksum behind it, by which `unsealed` knows it."""
    return content + hashlib.sha256(content).digest()


def unsealed(whole: bytes) -> bytes | None:
    """Returns the content of what `sealed` made, None if it is anything else."""
    size = hashlib.sha256().digest_size
    return whole[:-size] if sealed(whole[:-size]) == whole else None


def special_kind(mode: int) -> str:
    """Returns what is no file by its `st_mode`: "a named pipe"; "" of a file."""
    return _SPECIAL.get(stat.S_IFMT(mode), "")


@contextmanager
def replaced(file: Path, *, durable: bool = True) -> Iterator[Path]:
    """Gives a path to write to; what stands there at the end takes the file's place at once.

    So the file is either the old or the new one, also after a kill and, where it is to be durable,
    after a power cut, for which the disk has to be waited for. The path lies in the same folder and
    ends as the file does, by which writers tell the format. Where the block fails, the file stays
    as it was.
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
    """Writes a file that is either the old or the new one, also after a power cut."""
    with replaced(file) as scratch:
        scratch.write_bytes(content.encode() if isinstance(content, str) else content)


def remove_leftovers(folder: Path) -> None:
    """Removes what `replaced` began to write in a folder in processes that live no more."""
    for file in folder.glob(".*"):
        match = _SCRATCH.fullmatch(file.name) or _OLD_SCRATCH.fullmatch(file.name)
        if match and file.is_file() and not psutil.pid_exists(int(match[1])):
            file.unlink(missing_ok=True)


def user_path(path: str | Path) -> Path:
    """Returns a path as people write it: "~/scans" lies in their home folder."""
    # pathlib's own raises where there is no user of the name; "~x" may be a file.
    return Path(os.path.expanduser(path))  # noqa: PTH111


def writable_folder(path: Path, flag: str) -> Path:
    """Makes a folder where there is none, and returns it.

    Args:
      path: of the folder.
      flag: that named it, for the message.

    Raises:
      UserError: it is a file, or nothing can be written into it.
    """
    path = user_path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise UserError(
            f"{flag}={path} cannot be written: {error.strerror}; name another with {flag}."
        ) from error
    return path


def csv_line(cells: Iterable[object]) -> str:
    """Returns a line of a CSV table, whatever its cells hold; they are read back as they are."""
    row, text = list(cells), io.StringIO(newline="")
    quoted = any("\r" in str(cell) for cell in row)  # which the module does not take for an end
    csv.writer(
        text, quoting=csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL, lineterminator="\n"
    ).writerow(row)
    return text.getvalue()


def identifiers(names: Sequence[str]) -> list[str]:
    """Returns names of letters, digits and _ for fields: "GD_enhancing"; all differ."""
    plain = [re.sub(r"\W", "_", name) for name in names]
    return [
        f"{name}_{place}" if plain.count(name) > 1 else name for place, name in enumerate(plain)
    ]


def printed(text: str) -> str:
    """Returns a name or text as it can stand in a line, whatever is in it."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in text
    )


def within(file: Path, folder: Path) -> bool:
    """Says whether a file lies in a folder, at any depth."""
    return folder in file.resolve().parents
