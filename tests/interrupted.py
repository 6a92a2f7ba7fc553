"""Signals in the middle of a training."""

import os
import signal
from collections.abc import Sequence

import pytest

from common.training.loop import Loop


def signalled_after(
    step: int,
    monkeypatch: pytest.MonkeyPatch,
    numbers: Sequence[signal.Signals] = (signal.SIGTERM,),
) -> None:
    """Sends signals to this process when so many steps are done, right after each other."""
    due = Loop._due

    def sending(self, now, stop):
        if now == step:
            for number in numbers:
                os.kill(os.getpid(), number)
        return due(self, now, stop)

    monkeypatch.setattr(Loop, "_due", sending)
