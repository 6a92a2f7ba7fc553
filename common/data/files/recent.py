"""A cache of recently opened files: one with many slices is opened once, not once per slice."""

import threading
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import Generic, TypeVar

from common.data.records import Once

Opened = TypeVar("Opened")


class Recent(Generic[Opened]):
    """Opens files and keeps the last few for all threads; a file that changed is reopened.

    Threads that request a file while it is being opened wait for it. Failures are kept, too: the
    next slice does not try again.
    """

    def __init__(self, open_file: Callable[[Path], Opened], keep: int) -> None:
        self._open, self._lock = open_file, threading.Lock()
        self._kept = lru_cache(keep)(lambda path, _: Once(partial(self._try, path)))

    def __call__(self, path: Path) -> Opened:
        """Returns the opened file; an error of opening is raised by every call.

        Raises:
          OSError: it does not exist.
        """
        stat = path.stat()
        with self._lock:
            kept = self._kept(path, (stat.st_mtime_ns, stat.st_size))
        opened = kept()
        if isinstance(opened, Exception):
            raise opened.with_traceback(None)  # else the traceback grows with each call
        return opened

    def _try(self, path: Path) -> Opened | Exception:
        try:
            return self._open(path)
        except MemoryError:  # memory may be free next time
            raise
        except Exception as error:
            return error
