"""The program's messages: plain lines on standard error, apart from libraries' logs."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

log = logging.getLogger("triptych")


def talk(this_process: bool) -> None:
    """Sends the program's messages to standard error; only one of many processes should talk."""
    log.setLevel(logging.INFO if this_process else logging.ERROR)
    log.propagate = False
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    log.handlers = [handler]


@contextmanager
def only_errors() -> Iterator[None]:
    """Leaves out, meanwhile, what is less than an error, because it has been said already."""
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)
