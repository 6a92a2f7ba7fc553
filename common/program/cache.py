"""The folder for what can be made again: prepared data, compiled programs, costly arrays."""

import io
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import Float

from common.program.files import sealed, unsealed, user_path, write_atomically
from common.program.log import log

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
    found = _read(file)
    if found is not None and len(found) == length:
        return found
    made = make()
    stream = io.BytesIO()
    np.save(stream, made)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, sealed(stream.getvalue()))
    except OSError as error:
        log.warning(
            "%s can't be written (%s): what belongs there is computed anew each time; make room or"
            " check permissions.",
            file,
            error.strerror,
        )
    return made


def _read(file: Path) -> Numbers | None:
    """Returns the array in a file; None if the file is not there or not as it was written."""
    try:
        content = unsealed(file.read_bytes())
    except OSError:
        return None
    if content is None:
        return None
    found: Numbers = np.load(io.BytesIO(content), allow_pickle=False)
    return found
