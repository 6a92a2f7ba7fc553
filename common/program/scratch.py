"""Folders for work in progress: removed when the work ends, however it ends."""

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
    """Yields a new folder `parent/.incomplete-*` and removes it, with its contents, at the end.

    Complete results are moved out of it. A killed process can't clean up, so folders that no living
    process holds are removed here, too. Each is held by a lock on a file inside it, which is
    released when the process (and all that it forked) ends.

    Raises:
      OSError: the folder can't be created.
    """
    parent.mkdir(parents=True, exist_ok=True)
    for folder in parent.glob(f"{_PREFIX}*"):
        if not folder.is_symlink():
            _remove_if_dead(folder)
    scratch, lock = _new(parent)
    remove = partial(shutil.rmtree, scratch, ignore_errors=True)  # leftovers are removed next time
    with lock:
        before_end.append(remove)
        try:
            yield scratch
        finally:
            remove()
            before_end.remove(remove)


def move_into_place(made: Path, place: Path) -> None:
    """Renames a complete result; if another process was first, its result stays.

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
    with suppress(OSError), (folder / _LOCK).open("a") as lock:  # already gone, or another user's
        if take(lock, fcntl.LOCK_EX | fcntl.LOCK_NB):
            shutil.rmtree(folder, ignore_errors=True)


def _new(parent: Path) -> tuple[Path, IO[str]]:
    """Returns a new scratch folder with the lock that holds it.

    A process that looks for dead folders may come in between and remove the new one. It holds the
    lock meanwhile, so the folder is either gone or safe once the lock is taken here.
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
    """Takes an flock; returns False if another process has it or the file system has no locks."""
    try:
        fcntl.flock(lock, how)
    except OSError:
        return False
    return True
