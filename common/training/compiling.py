"""Compiling is announced and timed."""

import gc
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from jaxlib import utils

from common.program.log import log

# What XLA's log in C++ tells: 0 is everything, 1 warnings and worse, 3 only what is fatal.
_LEVEL = int(os.environ.get("TF_CPP_MIN_LOG_LEVEL", "1"))
_MEANWHILE = 3 if _LEVEL else 0  # a user who asks for everything gets it
# A trace is millions of small objects that stay until it is compiled. To look through them all
# again and again was a tenth (Python 3.13) to a fifth (3.11) of the time of tracing.
_GARBAGE = (200_000, 50, 1000)


@contextmanager
def compiling(what: str) -> Iterator[None]:
    """Says that something is compiled, which may take minutes, and how long it took.

    XLA writes "Very slow compile?" and the like as errors, several lines each, and has no setting
    for them. So meanwhile its own log tells nothing that is not fatal. What fails to compile raises
    an exception all the same.
    """
    log.info("compiling %s ...", what)
    began, often = time.perf_counter(), gc.get_threshold()
    utils.absl_set_min_log_level(_MEANWHILE)
    gc.set_threshold(*_GARBAGE)
    try:
        yield
    finally:
        gc.set_threshold(*often)
        utils.absl_set_min_log_level(_LEVEL)
    log.info("compiled %s in %.1f s", what, time.perf_counter() - began)
