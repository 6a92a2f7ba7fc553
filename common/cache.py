"""The folder for what can be made again: prepared data and compiled programs."""

import os
from pathlib import Path


def cache_dir(chosen: str = "") -> Path:
    """Returns the cache folder: `chosen`, else $TRIPTYCH_CACHE, else the user's own cache."""
    if chosen:
        return Path(chosen).expanduser()
    if named := os.environ.get("TRIPTYCH_CACHE"):
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "triptych"
