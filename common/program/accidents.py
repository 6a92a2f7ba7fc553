"""Accidents: a disk fails, a folder vanishes, memory runs out, or the program itself is at fault.

Whatever happens, a person reads one sentence. The traceback goes to WORKDIR/error.log.
"""

import errno
import os
import shlex
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from common.program.errors import DivergenceError, FaultError, UserError
from common.program.library_errors import is_out_of_memory, told_number

LOG = "error.log"

_AGAIN = "and run the same command again"
# Error number -> what it means and what to do.
_MEANINGS = {
    errno.ENOSPC: f"The disk is full; free some space {_AGAIN}",
    errno.EDQUOT: f"Your disk quota is used up; free some space {_AGAIN}",
    errno.EIO: f"The disk or its connection fails; check it {_AGAIN}",
    errno.EROFS: f"The file system is read-only; mount it for writing {_AGAIN}",
    errno.EACCES: f"Permission was denied; grant it {_AGAIN}",
    errno.EPERM: f"Permission was denied; grant it {_AGAIN}",
    errno.ENOENT: f"A file or folder has vanished; put it back {_AGAIN}",
    errno.EMFILE: f"Too many files are open; raise the limit (ulimit -n) {_AGAIN}",
    errno.ENOMEM: f"The memory is used up; end other programs {_AGAIN}",
    errno.ECONNRESET: f"Another process or machine is gone; check its output {_AGAIN}",
    errno.ESTALE: f"The network file system lost a file; check it {_AGAIN}",
}
# No program survives these: whatever fails after them fails because of them.
_FATAL = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.ESTALE}
_OTHER = f"The operating system refused; fix the cause {_AGAIN}"
# Errors of the program itself, whatever was handled before them.
_OURS = (LookupError, TypeError, AttributeError, NameError, AssertionError)
_MOST_CHARACTERS = 300


@contextmanager
def told_in(workdir: Path) -> Iterator[None]:
    """Turns any error into one sentence; the traceback goes to the run's error.log.

    Raises:
      UserError: the machine or the user is at fault.
      FaultError: the program is at fault.
    """
    try:
        yield
    except (UserError, DivergenceError, FaultError):
        raise
    except Exception as error:
        if not workdir.exists() and _names(error, workdir):
            raise UserError(
                f"The workdir {workdir} was removed, or its disk is gone; put it back and run the"
                " same command again."
            ) from error
        log = _kept(error, workdir)
        reported = as_told(error, log)
        if isinstance(reported, FaultError) and log is None:
            traceback.print_exception(error)
        raise reported from error


def as_told(error: Exception, log: Path | None) -> UserError | FaultError:
    """Returns the error to report for one that nothing caught where it happened.

    Args:
      error: whatever was raised.
      log: the file that has its traceback, or None.
    """
    where = f" The traceback is in {log}." if log else ""
    if mistake := next((one for one in _chain(error) if isinstance(one, UserError)), None):
        return UserError(str(mistake))
    if meaning := _meaning(error):
        return UserError(f"{meaning}.{where}")
    return FaultError(f"The program is at fault: {type(error).__name__}: {_short(error)}.{where}")


def is_fatal(error: Exception) -> bool:
    """Returns whether an error is one that no program survives, such as a full disk."""
    return any(told_number(one, _FATAL) for one in _chain(error))


def _meaning(error: Exception) -> str:
    """Returns the machine's failure, from the innermost error that names it; "" if there is none.

    Libraries that write files report the system's errors as text.
    """
    for one in reversed(list(_chain(error))):
        if before := _fatal_before(one):
            return before
        if is_out_of_memory(one):
            return f"{_MEANINGS[errno.ENOMEM]} ({_short(one)})"
        if isinstance(one, OSError) and one.errno:
            file = f": {os.fsdecode(one.filename)}" if one.filename else ""
            return f"{_MEANINGS.get(one.errno, _OTHER)} ({one.strerror}{file})"
        if number := told_number(one, _MEANINGS):
            return f"{_MEANINGS[number]} ({_short(one)})"
    return ""


def _fatal_before(error: BaseException) -> str:
    """Returns the fatal error that came before this one; "" if there is none."""
    if isinstance(error, _OURS):
        return ""
    found, before = "", error.__context__
    while before is not None:
        if number := told_number(before, _FATAL):
            found = f"{_MEANINGS[number]} ({_short(before)})"
        before = before.__context__
    return found


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yields an error and its causes, nearest first."""
    seen: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in seen:
        seen.add(id(following))
        yield following
        if isinstance(following, BaseExceptionGroup):
            following = following.exceptions[0]
        else:
            following = following.__cause__


def _names(error: BaseException, folder: Path) -> bool:
    return any(str(folder) in f"{one} {getattr(one, 'filename', '')}" for one in _chain(error))


def _short(error: BaseException) -> str:
    """Returns the first line of an error's message."""
    first = str(error).strip().split("\n", 1)[0]
    return first[:_MOST_CHARACTERS].rstrip(" .") or "no details given"


def _kept(error: Exception, workdir: Path) -> Path | None:
    """Appends the traceback to the log of a run's folder; returns the log, or None on failure."""
    file = workdir / LOG
    if not (workdir / ".lock").exists() and not (workdir / "config.json").exists():
        return None
    lines = traceback.format_exception(error)
    head = f"{time.strftime('%Y-%m-%d %H:%M:%S')} {shlex.join(sys.argv)}\n"
    try:
        with file.open("a") as stream:
            stream.write(head + "".join(lines) + "\n")
    except OSError:
        return None
    return file
