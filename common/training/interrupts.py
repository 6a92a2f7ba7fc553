"""SIGTERM and SIGINT (Ctrl-C): finish the step at hand, save, and say how to go on."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopRequest:
    """Whether somebody has asked this process to stop, and by which signal."""

    def __init__(self) -> None:
        self.signal_name = ""

    @property
    def requested(self) -> bool:
        """True once a signal has come."""
        return bool(self.signal_name)


@contextmanager
def stop_request() -> Iterator[StopRequest]:
    """Turns the first signal into a request; a second one acts as if nobody had listened."""
    request = StopRequest()
    before = {number: signal.getsignal(number) for number in _SIGNALS}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def note(number: int, _: FrameType | None) -> None:
        request.signal_name = signal.Signals(number).name
        restore()

    for number in _SIGNALS:
        signal.signal(number, note)
    try:
        yield request
    finally:
        restore()
