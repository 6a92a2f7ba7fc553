"""Where the cache is if no setting says so."""

import os
from pathlib import Path


def own_cache() -> Path:
    """Returns the folder that $TRIPTYCH_CACHE names, else one in the user's own cache."""
    if named := os.environ.get("TRIPTYCH_CACHE"):
        return Path(os.path.expanduser(named))  # noqa: PTH111  # see `user_path`
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "triptych"
