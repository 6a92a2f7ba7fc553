"""The roll call: who is there, and one sentence for each way in which somebody is not."""

import re
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from common.devices import roll_call
from common.devices.roll_call import Meeting, meet
from common.program.errors import UserError


@pytest.fixture(autouse=True)
def short_limits(monkeypatch):
    monkeypatch.setattr(roll_call, "_FIND_SECONDS", 2.0)
    monkeypatch.setattr(roll_call, "_GREET_SECONDS", 0.2)
    monkeypatch.setattr(roll_call, "_GATHER_SECONDS", 3.0)


@pytest.fixture
def coordinator():
    return f"127.0.0.1:{roll_call._free_port()}"


@pytest.fixture
def outcomes():
    """Returns a function: the meetings, or the sentences they end with, of (count, number)s."""
    opened = []
    yield partial(_outcomes, opened)
    for link in opened:
        link.close()


def _outcomes(opened, coordinator, *processes):
    def come(process):
        try:
            return meet(coordinator, *process)
        except UserError as error:
            return str(error)

    with ThreadPoolExecutor(len(processes)) as pool:
        found = list(pool.map(come, processes))
    opened.extend(link for x in found if isinstance(x, Meeting) for link in x.links.values())
    return found


def test_all_know_all(outcomes, coordinator):
    meetings = outcomes(coordinator, (3, 0), (3, 1), (3, 2))
    first, *others = meetings
    assert sorted(first.links) == [1, 2] and [sorted(x.links) for x in others] == [[0], [0]]
    for meeting in meetings:
        assert [name.split(" (")[0] for name in meeting.names] == [f"process {i}" for i in range(3)]
        assert meeting.jax_port == first.jax_port
    first.links[2].say("hello", "there")
    assert others[1].links[0].wait(1.0) == ("hello", "there")


def test_process_0_is_not_at_the_address(outcomes, coordinator):
    (said,) = outcomes(coordinator, (2, 1))
    assert re.fullmatch(
        rf"Process 0 was not found at --coordinator={coordinator} within 2 seconds"
        r" \(Connection refused\); check the address, and that process 0 was started there\.",
        said,
    )


def test_no_machine_has_the_name(outcomes):
    (said,) = outcomes("no-such-host.invalid:8476", (2, 1))
    assert "Process 0 was not found at --coordinator=no-such-host.invalid:8476" in said


def test_another_program_answers(outcomes):
    with socket.create_server(("127.0.0.1", 0)) as server:
        (said,) = outcomes(f"127.0.0.1:{server.getsockname()[1]}", (2, 1))
    assert "is not process 0 of this run" in said


def test_the_port_is_taken(outcomes):
    with socket.create_server(("", 0)) as server:
        (said,) = outcomes(f"127.0.0.1:{server.getsockname()[1]}", (2, 0))
    assert "can't listen" in said and said.endswith("name another port.")


def test_some_do_not_come(outcomes, coordinator):
    first, other = outcomes(coordinator, (4, 0), (4, 2))
    assert first == other and "these have not come" in first and ": 1, 3; start them" in first


def test_two_have_one_number(outcomes, coordinator):
    first, *others = outcomes(coordinator, (3, 0), (3, 1), (3, 1))
    assert {first} == set(others) and "the same number" in first


def test_they_disagree_on_how_many_they_are(outcomes, coordinator):
    first, other = outcomes(coordinator, (2, 0), (3, 1))
    assert first == other and "one of 3, process 0 as one of 2 processes" in first


def test_a_stranger_at_the_port_does_not_disturb_them(outcomes, coordinator):
    host, port = coordinator.split(":")
    with ThreadPoolExecutor() as pool:
        first = pool.submit(outcomes, coordinator, (2, 0))
        with roll_call._connected(host, int(port), time.monotonic() + 5) as stranger:
            stranger.send(b"GET / HTTP/1.1\n7\n")
            (other,) = outcomes(coordinator, (2, 1))
    assert sorted(other.links) == [0] and sorted(first.result()[0].links) == [1]


@pytest.mark.parametrize("address", ["node1", "node1:", ":8476", "node1:http", "node1:70000"])
def test_an_address_is_a_host_and_a_port(address):
    with pytest.raises(UserError, match="is not HOST:PORT"):
        meet(address, 2, 1)
