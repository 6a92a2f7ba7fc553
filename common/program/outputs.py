"""What a command writes: whole or not at all, only in its folder, and only over its own files.

    with Outputs(folder, "predict", overwrite=options.overwrite, inputs=files) as outputs:
        outputs.claim({"a.png": source, "predictions.csv": ""})   # refuses before any work
        write_picture(outputs.draft("a.png"), picture)
        outputs.publish("a.png")                                  # or all, at the end

Files are written in a hidden folder beside their places and renamed. What the program has written
is in the folder's record (`common.program.written`): a file that is not listed there, or was
changed since, belongs to somebody else and is never replaced or removed.
"""

import os
import threading
from collections.abc import Collection, Iterable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any

from common.program.errors import UserError
from common.program.files import user_path, writable_folder
from common.program.labels import key_of
from common.program.places import check_name, check_place, check_way, keep_others_out
from common.program.scratch import scratch_folder
from common.program.written import Line, add_lines, is_as_written, line_of, read_record


class Outputs:
    """The folder that a command writes to; the end of its `with` block publishes all drafts.

    If the block fails, published files stay, drafts are removed, and so is the folder if it is new
    and empty. When files are published together, the one claimed last marks completion: its old
    version is removed first, and it is written last.
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
        """Stores the arguments; opens nothing yet.

        Args:
          folder: where to write; it need not exist.
          mode: the mode that writes: "generate".
          flag: the flag that names the folder, for messages.
          of: what the results are about.
          overwrite: whether an earlier command's files may be replaced.
          again: whether files of the same mode and `of` may be replaced without --overwrite: for a
            folder that the mode chose itself.
          inputs: files and folders that the command reads; it never writes to them.
        """
        self.folder = user_path(folder)
        self._mode, self._flag, self._of = mode, flag, of
        self._overwrite, self._again = overwrite, again
        self._inputs = [user_path(path) for path in inputs]
        self._stack, self._lock = ExitStack(), threading.Lock()
        self._read_from: dict[Any, Path] = {}  # inputs by device and inode
        self._claimed: dict[str, bool] = {}  # name -> whether it is data
        self._files: dict[str, tuple[str, object]] = {}  # key -> name, and what it is of
        self._ways: dict[str, str] = {}  # key of a folder -> a file in it
        self._published: set[str] = set()

    def __enter__(self) -> "Outputs":
        """Creates the folder and locks it against other commands.

        Raises:
          UserError: it can't be written, is not a place for results, or is in use.
        """
        folder, flag = self.folder, self._flag
        check_place(folder, flag, self._inputs, linked=not self._again)
        self._new = [path for path in (folder, *folder.parents) if not os.path.lexists(path)]
        with ExitStack() as stack:
            stack.callback(self._remove_new)
            writable_folder(folder, flag)
            self._read_from = {_identity(path): path for path in self._inputs}
            self._read_from.pop(None, None)
            keep_others_out(folder, stack)
            self._record = read_record(folder)
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
            if error is not None:
                return
            if not self._published:
                self._publish_all()
            elif self._overwrite or self._again:
                self._remove_old(self._published)

    def is_empty(self) -> bool:
        """Returns whether the folder holds only hidden files."""
        return all(path.name.startswith(".") for path in self.folder.iterdir())

    def claim(self, names: Mapping[str, object], data: bool = False) -> None:
        """Announces what will be written, or refuses it.

        Args:
          names: paths below the folder, with "/" between their parts, and for messages the input
            that each comes from, or "".
          data: whether they are the folder's images rather than pictures for people.

        Raises:
          UserError: two names are one file, if only to a case-insensitive system; or one exists and
            may not be replaced, or would be written through a link or over an input.
        """
        for name, of in names.items():
            check_name(name, f"{self._flag}={self.folder}")
            self._check_twin(name, of)
            self._claimed[name] = data
        for folder in {above for name in names for above in PurePosixPath(name).parents[:-1]}:
            check_way(self.folder / folder, self._flag)
        for name in names:
            self._check_target(name)

    def draft(self, name: str) -> Path:
        """Returns the path to write a claimed file to."""
        path = self._scratch / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    @property
    def drafts(self) -> Path:
        """Returns the folder of the drafts, which have their final names."""
        return self._scratch

    def publish(self, *names: str) -> None:
        """Moves drafts into place, one after the other; may be called by several threads.

        Raises:
          UserError: a target was created or changed since it was claimed.
        """
        lines = [
            line_of(self._scratch / name, name, self._mode, self._of, self._claimed[name])
            for name in names
        ]
        with self._lock:
            add_lines(self.folder, lines)
            self._published |= set(names)
        for name in names:
            self._put(name)

    def _put(self, name: str) -> None:
        """Renames a draft, unless the target may not be replaced.

        A rename would replace a file that appears at the last moment, a link does not.
        """
        draft, place = self._scratch / name, self.folder / name
        known = os.path.lexists(place)
        self._check_again(name)
        if known:
            draft.replace(place)
            return
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(draft, place)
        except FileExistsError:
            self._check_target(name)
            raise
        except OSError:  # a file system without hard links
            draft.replace(place)
        else:
            draft.unlink()

    def _publish_all(self) -> None:
        names = [name for name in self._claimed if (self._scratch / name).is_file()]
        if not names:
            return
        for name in names:
            self._check_again(name)
        if self._overwrite or self._again:
            (self.folder / names[-1]).unlink(missing_ok=True)
            self._remove_old(names)
        self.publish(*names)

    def _check_again(self, name: str) -> None:
        """Refuses a file if its target changed since it was claimed."""
        for above in PurePosixPath(name).parents[:-1]:
            check_way(self.folder / above, self._flag)
        self._check_target(name)

    def _remove_old(self, names: Collection[str]) -> None:
        """Removes what an earlier command wrote and this one does not.

        The earlier one had the same mode and data, or this one claimed the name.
        """
        same = (self._mode, self._of)
        for name, lines in self._record.items():
            mine = name in self._claimed or any((line.mode, line.of) == same for line in lines)
            if mine and name not in names and self._is_inside(name) and self._is_ours(name):
                (self.folder / name).unlink()
                for folder in PurePosixPath(name).parents[:-1]:
                    with suppress(OSError):  # not empty
                        (self.folder / folder).rmdir()

    def _is_inside(self, name: str) -> bool:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts:
            return False
        return not any((self.folder / above).is_symlink() for above in path.parents[:-1])

    def _check_twin(self, name: str, of: object) -> None:
        """Refuses a second file of the same name, ignoring case and the spelling of accents."""
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

    def _check_target(self, name: str) -> None:
        """Refuses a target that exists and may not be replaced."""
        place, flag = self.folder / name, self._flag
        if not os.path.lexists(place):
            return
        read = self._read_from.get(_identity(place))
        if read and not place.is_symlink():
            raise UserError(f"This would replace {place}, which is an input; name another {flag}.")
        if not self._record:
            raise UserError(
                f"{place} was written by an earlier version of this program, which kept no record,"
                f" or by somebody else; move or remove {self.folder if self._again else 'it'} once,"
                f" or name another {flag}."
            )
        if not self._is_ours(name):
            raise UserError(
                f"{place} exists and was not written by this program, or has been changed since;"
                f" move it, or name another {flag}."
            )
        if not any(map(self._may_replace, self._record[name])):
            raise UserError(f"{place} exists; add --overwrite or name another {flag}.")

    def _may_replace(self, line: Line) -> bool:
        same = (line.mode, line.of) == (self._mode, self._of)
        return self._overwrite or (self._again and same)

    def _is_ours(self, name: str) -> bool:
        """Returns whether the file there is one that the program wrote there."""
        return is_as_written(self.folder / name, self._record.get(name, ()))

    def _remove_new(self) -> None:
        for path in self._new:
            with suppress(OSError):  # it is not empty
                path.rmdir()


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino
