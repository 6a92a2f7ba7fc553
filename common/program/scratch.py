"""Folders for work in progress: gone when the work ends, however it ends."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import IO

from common.program.interrupts import before_end

_PREFIX = ".incomplete-"
_LOCK = ".lock"


@contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """Makes `parent/.incomplete-*` and removes it at the end, with all that still lies in it.

    What is to stay is moved out of it when it is whole. A killed process cannot clean up, so
    folders that no living process holds are removed here, too. Each is held by a lock on a file
    inside it, which the system releases with the process (and with those that it has forked).

    Raises:
      OSError: the folder can't be made.
    """
    parent.mkdir(parents=True, exist_ok=True)
    for folder in parent.glob(f"{_PREFIX}*"):
        if not folder.is_symlink():
            _remove_if_dead(folder)
    scratch, lock = _new(parent)
    remove = partial(shutil.rmtree, scratch, ignore_errors=True)  # what stays goes the next time
    with lock:
        before_end.append(remove)
        try:
            yield scratch
        finally:
            remove()
            before_end.remove(remove)


def move_into_place(made: Path, place: Path) -> None:
    """Renames what is whole; where another process was first, its work stays.

    Raises:
      OSError: it can't be renamed.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        made.rename(place)
    except OSError:
        if not place.exists():
            raise


def _remove_if_dead(folder: Path) -> None:
    with suppress(OSError), (folder / _LOCK).open("a") as lock:  # gone already, or another user's
        if take(lock, fcntl.LOCK_EX | fcntl.LOCK_NB):
            shutil.rmtree(folder, ignore_errors=True)


def _new(parent: Path) -> tuple[Path, IO[str]]:
    """Makes a scratch folder and holds it.

    A process that looks for dead folders may come between the two, and remove the new one. It has
    the lock meanwhile, so that the folder is gone or safe when the lock is had here.
    """
    while True:
        scratch = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        with suppress(FileNotFoundError), ExitStack() as stack:
            lock = stack.enter_context((scratch / _LOCK).open("a"))
            take(lock, fcntl.LOCK_EX)
            if os.path.samestat(os.fstat(lock.fileno()), (scratch / _LOCK).stat()):
                stack.pop_all()
                return scratch, lock


def take(lock: IO[str], how: int) -> bool:
    """Takes an flock; false where another process has it or the file system knows no locks."""
    try:
        fcntl.flock(lock, how)
    except OSError:
        return False
    return True
