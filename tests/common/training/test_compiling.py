"""Compiling is announced and timed, and XLA's own words about it are left out."""

import gc
import logging

import pytest

from common.training import compiling as room
from common.training.compiling import compiling


@pytest.fixture
def levels(monkeypatch):
    """What the level of XLA's log is set to."""
    found = []
    monkeypatch.setattr(room.utils, "absl_set_min_log_level", found.append)
    monkeypatch.setattr(room, "_LEVEL", 1)
    return found


def test_it_says_what_is_compiled_and_how_long_that_took(levels, caplog):
    with caplog.at_level(logging.INFO), compiling("the step"):
        assert caplog.messages == ["compiling the step ..."]
    assert caplog.messages[1].startswith("compiled the step in 0.0 s")


def test_garbage_is_collected_seldom_meanwhile_and_as_before_afterwards(levels):
    before = gc.get_threshold()
    with pytest.raises(ValueError, match="does not compile"), compiling("the step"):
        assert gc.get_threshold() == room._GARBAGE
        raise ValueError("does not compile")
    assert gc.get_threshold() == before


def test_xla_is_silent_meanwhile_and_speaks_again_even_after_an_error(levels):
    with pytest.raises(ValueError, match="does not compile"), compiling("the step"):
        assert levels == [3]
        raise ValueError("does not compile")
    assert levels == [3, 1]
