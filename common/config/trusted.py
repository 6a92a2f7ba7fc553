"""The folders of tasks whose code this user has run; a workdir alone makes no code run.

A run records where its task's package is, so that its modes find it again. The record may come from
someone else, so it counts only if training took a task from that folder before, on this account.
"""

import json
from pathlib import Path

from common.program.cache import cache_dir
from common.program.files import write_atomically

_FILE = "task_folders.json"  # in the cache


def trust(folder: Path) -> None:
    """Remembers a folder that the user has named, by a config beside it or by PYTHONPATH."""
    known = _known()
    if str(folder) not in known:
        file = cache_dir() / _FILE
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, json.dumps([*known, str(folder)], indent=2) + "\n")


def is_trusted(folder: Path) -> bool:
    """Returns whether a task of this folder was trained here."""
    return str(folder) in _known()


def _known() -> list[str]:
    try:
        found = json.loads((cache_dir() / _FILE).read_text())
    except (OSError, ValueError):  # a cache may be lost or damaged
        return []
    return [name for name in found if isinstance(name, str)] if isinstance(found, list) else []
