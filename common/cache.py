"""The folder for what can be made again: prepared data, compiled programs, costly arrays."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import Float

from common.data.scratch import move_into_place, scratch_folder
from common.files import user_path
from common.log import log

Numbers = Float[np.ndarray, "length *rest"]


def cache_dir(chosen: str = "") -> Path:
    """Returns the cache folder: `chosen`, else $TRIPTYCH_CACHE, else the user's own cache."""
    if chosen:
        return user_path(chosen)
    if named := os.environ.get("TRIPTYCH_CACHE"):
        return user_path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "triptych"


def kept_array(file: Path, length: int, make: Callable[[], Numbers]) -> Numbers:
    """Returns an array from its file in the cache, or makes it and puts it there.

    Where it can't be put there a warning says so, and the next time it is made again.

    Args:
      file: its name must differ wherever the array may.
      length: of the array; a file of another is not whole.
      make: makes it.
    """
    try:
        found: Numbers = np.load(file, allow_pickle=False)
        if len(found) == length:
            return found
    except (OSError, ValueError, EOFError):
        pass  # not there, or not whole
    made = make()
    try:
        with scratch_folder(file.parent) as scratch:
            np.save(scratch / file.name, made)
            move_into_place(scratch / file.name, file)
    except OSError as error:
        log.warning(
            "%s can't be written (%s): what belongs there is computed anew each time; make room or"
            " check permissions.",
            file,
            error.strerror,
        )
    return made
