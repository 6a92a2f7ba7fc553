"""Freed memory goes back to the system, whatever threads have freed it."""

import platform
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import psutil
import pytest

from common.program.memory import trim_freed_memory
from common.training import loop
from common.training.clock import Due

MIB = 2**20

needs_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is glibc's")


def resident():
    return psutil.Process().memory_info().rss


def holes(num_bytes):
    """Takes memory in small pieces, and frees it beneath a few that stay."""
    pieces = [bytearray(2000) for _ in range(num_bytes // 2000)]
    return pieces[::1000]


@needs_glibc
def test_what_threads_have_freed_in_small_pieces_goes_back():
    trim_freed_memory()
    before = resident()
    with ThreadPoolExecutor(4) as pool:
        kept = list(pool.map(holes, [32 * MIB] * 4))
        trim_freed_memory()
        assert resident() - before < 16 * MIB
    assert kept


def test_training_trims_at_each_pause(monkeypatch):
    trimmed = []
    monkeypatch.setattr(loop, "trim_freed_memory", lambda: trimmed.append(1))
    nothing = Due(log=False, evaluate=False, draw=False, save=False, stop=False)
    loop.Loop._pause(SimpleNamespace(_each=lambda *_: ()), None, nothing)
    assert trimmed == [1]
