"""The folder for what can be recomputed: prepared data, compiled programs, costly arrays."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import Float

from common.program.files import sealed, unsealed, user_path, write_atomically
from common.program.log import log
from common.program.own_cache import own_cache

Numbers = Float[np.ndarray, "length *rest"]


def cache_dir(chosen: str = "") -> Path:
    """Returns the cache folder: `chosen`, else $TRIPTYCH_CACHE, else the user's own cache."""
    return user_path(chosen) if chosen else own_cache()


def kept_array(file: Path, length: int, make: Callable[[], Numbers]) -> Numbers:
    """Returns an array from the cache, or computes it and caches it.

    If it can't be cached, a warning says so, and the next call computes it again.

    Args:
      file: its name must differ whenever the array may.
      length: of the array; a file with another length is incomplete.
      make: computes it.
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
            "%s can't be written (%s), so its content is computed each time; free some space or"
            " check permissions.",
            file,
            error.strerror,
        )
    return made


def _read(file: Path) -> Numbers | None:
    """Returns the array in a file; None if the file is missing or damaged."""
    try:
        content = unsealed(file.read_bytes())
    except OSError:
        return None
    if content is None:
        return None
    found: Numbers = np.load(io.BytesIO(content), allow_pickle=False)
    return found
