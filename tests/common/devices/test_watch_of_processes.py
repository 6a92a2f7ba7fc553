"""The watch: who is gone, and one sentence in each process that is left."""

import socket
import threading
import time
from contextlib import suppress

import pytest

from common.devices import watch
from common.devices.roll_call import Link
from common.devices.watch import Watch
from common.program.errors import DivergenceError, PeerError, UserError


class Ended(BaseException):
    """The process has ended."""


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr(watch, "_PAUSE", 0.01)
    monkeypatch.setattr(watch, "_OWN_WORDS_SECONDS", 0.05)
    monkeypatch.setattr(watch, "_VERDICT_SECONDS", 0.5)
    monkeypatch.setattr(watch, "_CLEAN_UP_SECONDS", 0.5)


@pytest.fixture
def ended(monkeypatch):
    """Sentences with which processes have ended, in their order."""
    said = []

    def end(sentence, code):
        assert code == 2
        said.append(sentence)
        raise Ended

    monkeypatch.setattr(watch, "end_at_once", end)
    return said


def connected(name, other="process 0"):
    """Returns the link of process 0 to another one, and the other way round."""
    one, two = socket.socketpair()
    return Link(one, name), Link(two, other)


def watching(links):
    """Starts to watch; returns the watch and its thread."""
    watched = Watch(links, silent_seconds=0.2)

    def run():
        with suppress(Ended):
            watched._run()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return watched, thread


@pytest.fixture
def three():
    """The watches of three processes, and the links of processes 1 and 2."""
    to_1, from_1 = connected("process 1 (a, pid 7)")
    to_2, from_2 = connected("process 2 (b, pid 8)", "process 0 (c, pid 9)")
    yield {1: to_1, 2: to_2}, from_1, from_2
    for link in (to_1, from_1, to_2, from_2):
        link.close()


def test_one_that_is_killed_is_named_everywhere(three, ended):
    links, from_1, from_2 = three
    threads = [watching(links)[1], watching({0: from_2})[1]]
    from_1.close()
    for thread in threads:
        thread.join(5)
    assert len(ended) == 2 and len(set(ended)) == 1
    assert ended[0].startswith("Process 1 (a, pid 7) is gone")
    assert "Run the same commands again" in ended[0]


def test_one_that_is_silent_is_named_everywhere(three, ended):
    links, _, from_2 = three
    threads = [watching(links)[1], watching({0: from_2})[1]]
    for thread in threads:
        thread.join(5)
    assert len(ended) == 2 and "Process 1 (a, pid 7) has not answered for 0 seconds" in ended[0]


def test_process_0_is_named_like_any_other(three, ended):
    links, _, from_2 = three
    _, thread = watching({0: from_2})
    links[2].close()
    thread.join(5)
    assert ended[0].startswith("Process 0 (c, pid 9) is gone")


def test_whoever_was_stopped_itself_blames_nobody(three, ended):
    links, _, _ = three
    watched = Watch(links, silent_seconds=0.2)
    for _ in range(2):
        time.sleep(0.3)  # no other process had a chance to be heard
        watched._listen_to(1, links[1])
    assert not ended


def test_the_words_of_one_that_fails_are_passed_on(three, ended):
    links, from_1, from_2 = three
    first, at_0 = watching(links)
    _, at_2 = watching({0: from_2})
    Watch({0: from_1}).tell(UserError("The disk\nis full."))
    from_1.close()
    at_0.join(5)
    at_2.join(5)
    assert ended == ["Process 1 (a, pid 7) has failed: The disk is full."] * 2
    assert first._ending.locked()


@pytest.mark.parametrize("error", [UserError("no"), DivergenceError("not a number")])
def test_one_that_fails_for_the_same_reason_says_so_itself(three, ended, error):
    links, from_1, _ = three
    watched, _ = watching(links)
    from_1.say("failed", "The loss is not a number.")
    watched.tell(error)  # returns: the main thread goes on to say it
    assert not ended


@pytest.mark.parametrize("error", [PeerError("see its message"), ValueError("Gloo: reset")])
def test_one_that_fails_because_of_another_waits_for_its_name(three, ended, error):
    links, from_1, _ = three
    watched, thread = watching(links)
    teller = threading.Thread(target=watched.tell, args=(error,), daemon=True)
    teller.start()
    from_1.close()
    thread.join(5)
    assert ended[0].startswith("Process 1 (a, pid 7) is gone")
    teller.join(0.7)
    assert teller.is_alive()  # it never speaks: one sentence was said


def test_those_that_are_done_wait_for_each_other(three, ended):
    links, from_1, from_2 = three
    watches = [watching(links), watching({0: from_1}), watching({0: from_2})]
    waits = [threading.Thread(target=x._wait_for_others, daemon=True) for x, _ in watches]
    for wait in waits[:2]:
        wait.start()
    waits[0].join(0.1)
    assert waits[0].is_alive() and waits[1].is_alive()
    waits[2].start()
    for wait in waits:
        wait.join(5)
        assert not wait.is_alive()
    assert not ended
