"""Where results may go: a folder of their own, not through links, one command at a time."""

import fcntl
import os
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path, PurePosixPath

from common.program.errors import UserError

_LONGEST = 255  # bytes of a file's name
_OF_RUNS = ("checkpoints", "metrics", "pictures", "profile")  # what training writes in a workdir
_OF_STUDIES = ("images", "cells")  # what a study adds, the images first
_LIST_OF_STUDIES = "images/images.csv"


def check_place(folder: Path, flag: str, inputs: Iterable[Path], *, linked: bool) -> None:
    """Refuses a folder that is not a place for results.

    Args:
      folder: to write to; it need not exist.
      flag: the flag that names it, for messages.
      inputs: files and folders that are read.
      linked: whether the folder may be a link.

    Raises:
      UserError: it is the root of the disk, an input, or a folder of a run or a study.
    """
    try:
        real = folder.resolve()
    except (OSError, RuntimeError) as error:  # links in a circle
        raise UserError(f"{flag}={folder} can't be written: {error}.") from error
    other = f"name a folder of its own for the results with {flag}."
    if real.parent == real:
        raise UserError(f"{flag}={folder} is the root of the disk; {other}")
    if not linked and folder.is_symlink():
        raise UserError(f"{folder} is a link; name its target with {flag}.")
    for path in inputs:
        if path.is_dir() and path.resolve() == real:
            raise UserError(f"{flag}={folder} is an input; {other}")
    for above in (real, *real.parents):
        if (above / "config.json").is_file() and (above / "run.json").is_file():
            study = (above / _LIST_OF_STUDIES).is_file()
            taken = (*_OF_RUNS, *_OF_STUDIES) if study else _OF_RUNS
            inner = real.relative_to(above).parts
            if not inner or inner[0] in taken:
                raise UserError(f"{flag}={folder} belongs to the run of {above}; {other}")
            break  # it holds the runs of a study, each with places of its own


def check_name(name: str, place: str) -> None:
    """Refuses a file's path that leaves its folder or is too long.

    Args:
      name: the path below the folder.
      place: the folder, for the message.

    Raises:
      UserError: see above.
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise UserError(f"{name!r} leads out of {place}.")
    if long := [part for part in path.parts if len(os.fsencode(part)) > _LONGEST]:
        raise UserError(f"{long[0][:40]}... is too long for a file's name; shorten it.")


def check_way(folder: Path, flag: str) -> None:
    """Refuses to write through a link, or to a file instead of a folder.

    Raises:
      UserError: the folder is one of these.
    """
    if folder.is_symlink():
        raise UserError(
            f"{folder} is a link, and nothing is written through links; remove it, or name another"
            f" {flag}."
        )
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file; move it, or name another {flag}.")


def keep_others_out(folder: Path, stack: ExitStack) -> None:
    """Locks the folder; does nothing where the file system has no locks.

    Raises:
      UserError: another command is writing there.
    """
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
