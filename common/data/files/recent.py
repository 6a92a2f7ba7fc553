"""Files opened lately: those of many slices are opened once and not once a slice."""

import threading
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Generic, TypeVar

from common.data.records import Once

Opened = TypeVar("Opened")


class Recent(Generic[Opened]):
    """Opens files and keeps the last few, for all threads; a file that changes is opened anew.

    Threads that ask for one file while it is being opened wait for it. That a file can't be opened
    is kept, too: its next slice does not try it again.
    """

    def __init__(self, open_file: Callable[[Path], Opened], keep: int) -> None:
        self._open, self._lock = open_file, threading.Lock()
        self._kept = lru_cache(keep)(lambda path, _: Once(partial(self._try, path)))

    def __call__(self, path: Path) -> Opened:
        """Returns the opened file; what the opening raises, every call raises.

        Raises:
          OSError: it is not there.
        """
        stat = path.stat()
        with self._lock:
            kept = self._kept(path, (stat.st_mtime_ns, stat.st_size))
        opened, error = kept()
        if error:
            raise error.with_traceback(None)  # else it grows with each call
        return opened

    def _try(self, path: Path) -> tuple[Any, Exception | None]:
        try:
            return self._open(path), None
        except MemoryError:  # there may be some the next time
            raise
        except Exception as error:
            return None, error
