"""What a command writes: whole or not at all, only in its folder, and over nothing but its own.

    with Outputs(folder, "predict", overwrite=options.overwrite, inputs=files) as outputs:
        outputs.claim({"a.png": source, "predictions.csv": ""})   # refuses before any work
        write_picture(outputs.draft("a.png"), picture)
        outputs.publish("a.png")                                  # or all, at the end

Files are written in a hidden folder beside their places and renamed. What the program has written
stands in the folder's record, `.written.jsonl`, with checksums: a file that is not named there, or
that somebody has changed since, belongs to somebody else and is never replaced or removed.

A line of the record is added before its file takes its place, so that a killed command leaves no
file that it does not know. Lines stay: what was written once under a name remains the program's.
"""

import fcntl
import json
import os
import threading
from collections.abc import Collection, Iterable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any, NamedTuple

from common.data.scratch import scratch_folder
from common.errors import UserError
from common.files import sha256_of, user_path, writable_folder
from common.labels import key_of

RECORD = ".written.jsonl"
_HEADER = {"written_by": "triptych", "version": 1}
_LONGEST = 255  # bytes of a file's name
_OF_RUNS = ("checkpoints", "metrics", "pictures", "profile")  # what training writes in a workdir


class Line(NamedTuple):
    """A line of the record: a file that the program has written.

    Attributes:
      file: its path below the folder, with "/" between its parts.
      sha256: of its content.
      mode: that wrote it: "generate".
      of: what it is about, where a mode has a folder of its own: the inspected data.
      data: whether it is one of the images of the folder, and not a picture for people.
    """

    file: str
    sha256: str
    mode: str
    of: str
    data: bool


class Outputs:
    """The folder that a command writes to; use it in a `with`, whose end publishes all drafts.

    Where the block fails, what was published stays, drafts go, and so does the folder if it is new
    and empty. Published together, the file that was claimed last tells that all are there: its
    predecessor goes first, and it comes last.
    """

    def __init__(
        self,
        folder: Path,
        mode: str,
        *,
        flag: str = "--output",
        of: str = "",
        overwrite: bool = False,
        again: bool = False,
        inputs: Iterable[Path] = (),
    ) -> None:
        """Opens nothing yet.

        Args:
          folder: where to write; it need not be there.
          mode: who writes: "generate".
          flag: that names the folder, for messages.
          of: what is written about.
          overwrite: whether what an earlier command wrote may be replaced.
          again: whether that holds without --overwrite for what is of the same mode and `of`: in a
            folder that the mode chose itself.
          inputs: files and folders that the command reads; none of them is written to.
        """
        self.folder = user_path(folder)
        self._mode, self._flag, self._of = mode, flag, of
        self._overwrite, self._again = overwrite, again
        self._inputs = [user_path(path) for path in inputs]
        self._stack, self._lock = ExitStack(), threading.Lock()
        self._read_from: dict[Any, Path] = {}  # inputs by what tells files apart
        self._claimed: dict[str, bool] = {}  # by name: whether it is data
        self._files: dict[str, tuple[str, object]] = {}  # by key: name, and what it is of
        self._ways: dict[str, str] = {}  # by key of a folder: a file in it
        self._published: set[str] = set()

    def __enter__(self) -> "Outputs":
        """Makes the folder and keeps other commands out of it.

        Raises:
          UserError: it can't be written, is no place for results, or is in use.
        """
        self._check_folder()
        folder, flag = self.folder, self._flag
        self._new = [path for path in (folder, *folder.parents) if not os.path.lexists(path)]
        with ExitStack() as stack:
            stack.callback(self._remove_new)
            writable_folder(folder, flag)
            self._read_from = {_identity(path): path for path in self._inputs}
            self._read_from.pop(None, None)
            self._record = _read(folder)
            _keep_others_out(folder, stack)
            self._scratch = stack.enter_context(scratch_folder(folder))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._stack:
            if error is None and not self._published:
                self._publish_all()

    def is_empty(self) -> bool:
        """Says whether nothing lies in the folder but hidden files."""
        return all(path.name.startswith(".") for path in self.folder.iterdir())

    def claim(self, names: Mapping[str, object], data: bool = False) -> None:
        """Says what will be written, or refuses it.

        Args:
          names: paths below the folder, with "/" between their parts, and what each is of, for
            messages: the input, or "".
          data: whether they are the images of the folder, and not pictures for people.

        Raises:
          UserError: two are one file, if only to a system that ignores case; or one is there and
            may not be replaced, or would be written through a link or over an input.
        """
        for name, of in names.items():
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts or not path.parts:
                raise UserError(f"{name!r} leads out of {self._flag}={self.folder}.")
            self._check_twin(name, of)
            self._claimed[name] = data
        for folder in {above for name in names for above in PurePosixPath(name).parents[:-1]}:
            self._check_way(self.folder / folder)
        for name in names:
            self._check_target(name)

    def draft(self, name: str) -> Path:
        """Returns where to write a file that was claimed."""
        path = self._scratch / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    @property
    def drafts(self) -> Path:
        """Returns the folder that drafts lie in, under their names."""
        return self._scratch

    def publish(self, *names: str) -> None:
        """Puts drafts into their places, one after the other; may be called by several threads."""
        lines = [
            Line(name, sha256_of(self._scratch / name), self._mode, self._of, self._claimed[name])
            for name in names
        ]
        with self._lock:
            _append(self.folder, lines)
            self._published |= set(names)
        for name in names:
            place = self.folder / name
            place.parent.mkdir(parents=True, exist_ok=True)
            (self._scratch / name).replace(place)

    def _publish_all(self) -> None:
        names = [name for name in self._claimed if (self._scratch / name).is_file()]
        if not names:
            return
        if self._overwrite or self._again:
            (self.folder / names[-1]).unlink(missing_ok=True)
            self._remove_old(names)
        self.publish(*names)

    def _remove_old(self, names: Collection[str]) -> None:
        """Removes what an earlier command of this mode wrote and this one does not."""
        for name, lines in self._record.items():
            mine = any(line.mode == self._mode and self._may_replace(line) for line in lines)
            if mine and name not in names and self._is_ours(name) and self._is_inside(name):
                (self.folder / name).unlink()
                for folder in PurePosixPath(name).parents[:-1]:
                    with suppress(OSError):  # not empty
                        (self.folder / folder).rmdir()

    def _is_inside(self, name: str) -> bool:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts:
            return False
        return not any((self.folder / above).is_symlink() for above in path.parents[:-1])

    def _check_folder(self) -> None:
        """Refuses what is no place for results."""
        folder, flag = self.folder, self._flag
        try:
            real = folder.resolve()
        except (OSError, RuntimeError) as error:  # links in a circle
            raise UserError(f"{flag}={folder} cannot be written: {error}.") from error
        other = f"name a folder of its own for the results with {flag}."
        if real.parent == real:
            raise UserError(f"{flag}={folder} is the root of the disk; {other}")
        if self._again and folder.is_symlink():
            raise UserError(f"{folder} is a link; name where it leads to with {flag}.")
        for path in self._inputs:
            if path.is_dir() and path.resolve() == real:
                raise UserError(f"{flag}={folder} is what is read; {other}")
        for above in (real, *real.parents):
            if (above / "config.json").is_file() and (above / "run.json").is_file():
                inner = real.relative_to(above).parts
                if not inner or inner[0] in _OF_RUNS:
                    raise UserError(f"{flag}={folder} is where the run of {above} lies; {other}")

    def _check_twin(self, name: str, of: object) -> None:
        """Refuses a second file of a name, also where case or the spelling of accents differs."""
        twin = self._files.get(key_of(name))
        way = [key_of(str(above)) for above in PurePosixPath(name).parents[:-1]]
        twin = next((self._files[key] for key in way if key in self._files), twin)
        if not twin and key_of(name) in self._ways:
            twin = self._ways[key_of(name)], ""
        if twin:
            both = f"{twin[1]} and {of}" if twin[1] and of else f"{twin[0]} and {name}"
            raise UserError(
                f"{both} would both be written to {self.folder / twin[0]}; rename one of them."
            )
        self._files[key_of(name)] = name, of
        self._ways |= dict.fromkeys(way, name)

    def _check_way(self, folder: Path) -> None:
        """Refuses to write through a link, or a file in place of a folder."""
        if folder.is_symlink():
            raise UserError(
                f"{folder} is a link, through which nothing is written; remove it, or name another"
                f" {self._flag}."
            )
        if folder.exists() and not folder.is_dir():
            raise UserError(f"{folder} is a file; move it, or name another {self._flag}.")

    def _check_target(self, name: str) -> None:
        """Refuses what is there and not to be replaced."""
        place, flag = self.folder / name, self._flag
        if long := [
            part for part in PurePosixPath(name).parts if len(os.fsencode(part)) > _LONGEST
        ]:
            raise UserError(f"{long[0][:40]}... is too long for a file's name; shorten it.")
        if not os.path.lexists(place):
            return
        read = self._read_from.get(_identity(place))
        if read and not place.is_symlink():
            raise UserError(f"This would replace {place}, which is read; name another {flag}.")
        if not self._is_ours(name):
            raise UserError(
                f"{place} exists, and is not as this program wrote it, if it did; move it, or name"
                f" another {flag}."
            )
        if not any(map(self._may_replace, self._record[name])):
            raise UserError(f"{place} exists; add --overwrite or name another {flag}.")

    def _may_replace(self, line: Line) -> bool:
        same = (line.mode, line.of) == (self._mode, self._of)
        return self._overwrite or (self._again and same)

    def _is_ours(self, name: str) -> bool:
        """Says whether what lies there is what the program once wrote there."""
        return _is_as_written(self.folder / name, self._record.get(name, ()))

    def _remove_new(self) -> None:
        for path in self._new:
            with suppress(OSError):  # there is something in it
                path.rmdir()


def written_for_people(folder: Path) -> frozenset[str]:
    """Returns the names of pictures and tables in a folder that are no data: "grid.png".

    The program wrote them beside the images, and they are as it wrote them. None lies deeper.
    """
    with suppress(UserError):
        return frozenset(
            name
            for name, lines in _read(folder, b'"data": false').items()
            if "/" not in name and not lines[-1].data and _is_as_written(folder / name, lines)
        )
    return frozenset()


def _is_as_written(file: Path, lines: Collection[Line]) -> bool:
    if not lines or file.is_symlink() or not file.is_file():
        return False
    return sha256_of(file) in {line.sha256 for line in lines}


def _read(folder: Path, holding: bytes = b"") -> dict[str, list[Line]]:
    """Returns the lines of the record by file; {} where there is none.

    A line that a kill has cut off is none.

    Args:
      folder: whose record.
      holding: what a line must hold; a record of many images is long.
    """
    file = folder / RECORD
    if not os.path.lexists(file):
        return {}
    complaint = f"{file} is no record of what this program wrote; move it or name another folder."
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
            if all(isinstance(part, str) for part in line[:4]):
                record.setdefault(line.file, []).append(line)
    return record


def _append(folder: Path, lines: Iterable[Line]) -> None:
    text = "".join(json.dumps(line._asdict()) + "\n" for line in lines).encode()
    with (folder / RECORD).open("ab+") as stream:
        if end := stream.seek(0, os.SEEK_END):
            stream.seek(end - 1)
            before = b"" if stream.read(1) == b"\n" else b"\n"
        else:
            before = json.dumps(_HEADER).encode() + b"\n"
        stream.write(before + text)


def _keep_others_out(folder: Path, stack: ExitStack) -> None:
    """Locks the folder; where the file system knows no locks, nothing is kept out."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    stack.callback(os.close, descriptor)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UserError(
            f"Another command is writing to {folder}; wait for it, or name another folder."
        ) from error
    except OSError:
        pass


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino
