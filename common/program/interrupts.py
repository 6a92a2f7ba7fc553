"""SIGTERM, SIGINT (Ctrl-C) and SIGHUP end the program with one sentence, and nothing is lost.

Before training and in the other modes they end it at once, even while a library compiles for
minutes: files are written whole or not at all. During training the current step is finished and
saved. Senders often send two signals (`timeout`, Slurm, an impatient user), so one that follows
within two seconds is ignored; a later one ends the program at once.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn, TypeAlias

from common.program.errors import UserError

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
Handler: TypeAlias = Callable[[int, FrameType | None], object] | int | None
_ECHO_SECONDS = 2.0

# What runs before a signal ends the process: it removes work in progress.
before_end: list[Callable[[], object]] = []
# What is told of an error, or of a signal, that ends the process: it tells other processes.
before_failure: list[Callable[[Exception], object]] = []


class StopRequest:
    """Whether a signal has asked training to stop, and which.

    Attributes:
      number: the signal's; 0 if none has come.
    """

    def __init__(self) -> None:
        self.number = 0
        self._first = 0.0
        self._before: dict[int, Handler] = {}
        self._wakeup = -1

    @property
    def requested(self) -> bool:
        """True once a signal has come."""
        return self.number > 0

    @property
    def signal_name(self) -> str:
        """Returns "SIGTERM", or "" if none has come."""
        return signal.Signals(self.number).name if self.number else ""

    def begin(self) -> None:
        """Notes signals from now on instead of ending the process.

        Only the main thread gets signals: in another there are none to note.
        """
        if not self._before and threading.current_thread() is threading.main_thread():
            self._before = _install(self._note)
            self._wakeup = signal.set_wakeup_fd(-1)

    def end(self) -> None:
        """Restores what signals did before."""
        if self._before:
            # The handler that ends the process comes first, so that no signal falls between.
            signal.set_wakeup_fd(self._wakeup, warn_on_full_buffer=False)
            for number, handler in self._before.items():
                signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if not self._first:
            self._first, self.number = time.monotonic(), number
        elif time.monotonic() - self._first > _ECHO_SECONDS:
            before = self._before[number]
            if callable(before) and before is not _leave_to_thread:  # of a notebook, say
                before(number, frame)
            else:
                _end(number, "a second time: ended at once; earlier checkpoints are kept.")


@contextmanager
def stop_request() -> Iterator[StopRequest]:
    """Yields an object that notes signals from its `begin` to the end of the `with`."""
    request = StopRequest()
    try:
        yield request
    finally:
        request.end()


def listen(sentence: str) -> None:
    """Makes a signal end the process with a sentence; a later call replaces the sentence.

    A thread does this: Python's own handlers wait until the main thread returns from a library.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)

    def watch() -> None:
        number = 0
        while number not in SIGNALS:  # a library may handle others in Python
            (number,) = os.read(reader, 1)
        _end(number, sentence)

    threading.Thread(target=watch, name="signals", daemon=True).start()
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    _install(_leave_to_thread)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)  # common/program/memory.py blocks them


def _leave_to_thread(number: int, frame: FrameType | None) -> None:
    """Does nothing: the thread of `listen` ends the process."""


def finish(code: str | int | None) -> NoReturn:
    """Exits; a signal that comes now does not change the exit code.

    After a failure it waits for nothing: if one of many processes is gone, JAX would wait for it in
    vain and abort this one.
    """
    number = code if isinstance(code, int) else int(code is not None)

    def leave(*_: object) -> None:
        os._exit(number)

    signal.set_wakeup_fd(-1)
    _install(leave)
    if number:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):  # the reader is gone
                stream.flush()
        leave()
    sys.exit(number)


def _install(handler: Callable[[int, FrameType | None], None]) -> dict[int, Handler]:
    """Returns the previous handlers. Signals that the parent process ignores stay ignored.

    `nohup` ignores SIGHUP; a shell ignores Ctrl-C for what a script starts with "&".
    """
    return {
        number: signal.signal(number, handler)
        for number in SIGNALS
        if signal.getsignal(number) != signal.SIG_IGN
    }


def tell_others(error: Exception) -> None:
    """Tells the other processes, if there are any, of an error that ends this one."""
    for tell in list(before_failure):
        tell(error)


def end_at_once(sentence: str, code: int) -> NoReturn:
    """Ends the process from any thread, whatever other threads do."""
    try:
        with suppress(OSError):  # the terminal is gone, as SIGHUP means
            os.write(2, f"{sys.argv[0]}: {sentence}\n".encode())
        for act in list(before_end):
            with suppress(Exception):
                act()
    finally:
        os._exit(code)


def _end(number: int, sentence: str) -> NoReturn:
    told = f"{signal.Signals(number).name}: {sentence}"
    tell_others(UserError(told))
    end_at_once(told, 128 + number)
