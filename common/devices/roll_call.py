"""The roll call: the processes of a run meet at process 0 before JAX connects them.

JAX aborts a process, with a stack of C++, if another one is missing, the coordinator's address is
wrong or its port is taken. Here each of these is a sentence. The connections stay open, for
`common.devices.watch`.
"""

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

from common.program.errors import UserError
from common.program.words import counted

_FIND_SECONDS = 25.0  # in which process 0 must be found
_GATHER_SECONDS = 50.0  # in which all must have come
_GREET_SECONDS = 5.0
_MOST_BYTES = 1 << 16  # of what another process says


class Link:
    """A connection to another process, over which each says words, with a text or without.

    Attributes:
      name: of the other process, for messages: "process 1 (node7, pid 4012)".
    """

    def __init__(self, connection: socket.socket, name: str = "process 0") -> None:
        self.name = name
        self._connection, self._heard = connection, b""
        self._words: list[tuple[str, str]] = []  # that have come and are not taken
        connection.setblocking(False)

    def say(self, word: str, text: str = "") -> None:
        """Sends a word; if the other one is gone, hearing from it will tell."""
        with suppress(OSError):
            self._connection.send(json.dumps([word, text]).encode() + b"\n")

    def hear(self) -> list[tuple[str, str]] | None:
        """Returns the words that have come, without waiting; None at the end of the connection."""
        try:
            while more := self._connection.recv(_MOST_BYTES):
                self._heard += more
            ended = True
        except BlockingIOError:
            ended = False
        except OSError:
            ended = True
        *lines, self._heard = self._heard.split(b"\n")
        self._words += [_parsed(line) for line in lines]
        words, self._words = self._words, []
        return None if ended and not words else words

    def wait(self, seconds: float) -> tuple[str, str]:
        """Returns the next word; ("", "") if none comes in time or the connection ends."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and len(self._heard) < _MOST_BYTES:
            words = self.hear()
            if words is None:
                break
            if words:
                self._words = words[1:]
                return words[0]
            time.sleep(0.02)
        return "", ""

    def close(self) -> None:
        """Ends the connection."""
        self._connection.close()


class Meeting(NamedTuple):
    """Who has come.

    Attributes:
      links: of process 0 to all others, of another one to process 0, by their numbers.
      names: of all processes, in their order.
      jax_port: where JAX's own service is to be, on the machine of process 0.
    """

    links: dict[int, Link]
    names: list[str]
    jax_port: int


def meet(coordinator: str, count: int, number: int) -> Meeting:
    """Waits until all processes of a run are there.

    Args:
      coordinator: HOST:PORT at which process 0 listens.
      count: how many processes there are.
      number: of this one.

    Raises:
      UserError: one is missing, process 0 is not at this address, or they disagree.
    """
    host, _, port = coordinator.rpartition(":")
    host = host.strip("[]")  # of an IPv6 address
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise UserError(f"--coordinator={coordinator} is not HOST:PORT, as in node1:8476.")
    if number:
        return _come(host, int(port), count, number)
    return _gather(host, int(port), count)


def _gather(host: str, port: int, count: int) -> Meeting:
    """Waits, as process 0, for the others, and tells them where JAX will be."""
    names, links = {0: _own_name(0)}, dict[int, Link]()
    with _listening(host, port) as listener, _told_to(links):
        end = time.monotonic() + _GATHER_SECONDS
        while len(links) < count - 1:
            listener.settimeout(max(0.01, end - time.monotonic()))
            try:
                link = Link(listener.accept()[0])
            except TimeoutError as error:
                missing = ", ".join(str(i) for i in range(count) if i not in names)
                raise UserError(
                    f"Of {count} processes, these have not come to {host}:{port} within"
                    f" {_GATHER_SECONDS:.0f} seconds: {missing}; start them with the same"
                    " --coordinator and --num_processes."
                ) from error
            word, text = link.wait(_GREET_SECONDS)
            if word != "here":  # somebody else's program
                link.close()
                continue
            link.say("welcome")
            other, its_count, link.name = json.loads(text)
            links[-1] = link  # told of a refusal, too
            _check(other, its_count, count, names, link.name)
            links[other], names[other] = links.pop(-1), link.name
        jax_port = _free_port()
        ordered = [names[i] for i in range(count)]
        for link in links.values():
            link.say("begin", json.dumps([jax_port, ordered]))
    return Meeting(links, ordered, jax_port)


def _come(host: str, port: int, count: int, number: int) -> Meeting:
    """Finds process 0, and waits until it has found all others."""
    end = time.monotonic() + _FIND_SECONDS
    link = Link(_connected(host, port, end))
    link.say("here", json.dumps([number, count, _own_name(number)]))
    word, text = link.wait(max(_GREET_SECONDS, end - time.monotonic()))
    if word == "welcome":
        word, text = link.wait(_GATHER_SECONDS + _GREET_SECONDS)
    if word != "begin":
        link.close()
        raise UserError(
            text
            if word == "failed"
            else f"What answers at --coordinator={host}:{port} is not process 0 of this run, or it"
            " has ended; see its message, or correct the address."
        )
    jax_port, names = json.loads(text)
    link.name = names[0]
    return Meeting({0: link}, names, jax_port)


def _check(number: int, its_count: int, count: int, names: dict[int, str], name: str) -> None:
    """Refuses a process that has come if it does not fit the others."""
    if its_count != count:
        raise UserError(
            f"{name} was started as one of {its_count}, process 0 as one of"
            f" {counted(count, 'process', 'processes')}; give all the same --num_processes."
        )
    if number in names:
        raise UserError(
            f"{name} and {names[number]} have the same number; give each process a --process_id"
            " of its own."
        )


def _connected(host: str, port: int, end: float) -> socket.socket:
    """Returns a connection, which is tried until a time of `time.monotonic`."""
    while True:
        try:
            return socket.create_connection((host, port), timeout=max(1.0, end - time.monotonic()))
        except OSError as error:
            if time.monotonic() > end - 1:
                raise UserError(
                    f"Process 0 was not found at --coordinator={host}:{port} within"
                    f" {_FIND_SECONDS:.0f} seconds ({error.strerror or error}); check the address,"
                    " and that process 0 was started there."
                ) from error
            time.sleep(0.2)


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    """Yields a socket that listens at a port, on all addresses of this machine."""
    try:
        listener = (
            socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
            if socket.has_dualstack_ipv6()
            else socket.create_server(("", port))
        )
    except OSError as error:
        raise UserError(
            f"Process 0 can't listen at --coordinator={host}:{port} ({error.strerror}); name"
            " another port."
        ) from error
    with listener:
        yield listener


@contextmanager
def _told_to(links: dict[int, Link]) -> Iterator[None]:
    """Tells those who have come if the meeting fails."""
    try:
        yield
    except UserError as error:
        for link in links.values():
            link.say("failed", str(error))
            link.close()
        raise


def _free_port() -> int:
    """Returns a port that is free on this machine now."""
    with socket.create_server(("", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def _own_name(number: int) -> str:
    return f"process {number} ({socket.gethostname()}, pid {os.getpid()})"


def _parsed(line: bytes) -> tuple[str, str]:
    """Returns a word and its text; what is no word is ("", "")."""
    try:
        word, text = json.loads(line)
    except (ValueError, TypeError):
        return "", ""
    return str(word), str(text)
