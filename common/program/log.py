"""The program's messages: plain lines on standard error, apart from libraries' logs."""

import logging
import sys

log = logging.getLogger("triptych")


def talk(this_process: bool) -> None:
    """Sends the program's messages to standard error; only one of many processes should talk."""
    log.setLevel(logging.INFO if this_process else logging.ERROR)
    log.propagate = False
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    log.handlers = [handler]
