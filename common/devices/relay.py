"""The relay: JAX's connection to process 0, which does not break when that process is gone.

JAX aborts a process, with a stack of C++, as soon as this connection ends. Behind a relay it waits,
and `common.devices.watch` ends the process with a sentence.
"""

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress

_BYTES = 1 << 16


def relay_to(host: str, port: int) -> int:
    """Returns a port of this machine's own address behind which that one is."""
    listener = socket.create_server(("127.0.0.1", 0))
    _in_background(_serve, listener, (host, port))
    own_port: int = listener.getsockname()[1]
    return own_port


def _serve(listener: socket.socket, place: tuple[str, int]) -> None:
    kept = []  # a socket that nobody holds is closed
    while True:
        near, _ = listener.accept()
        far = _connected(place)
        kept += [near, far]
        _in_background(_carry, near, far, True)
        _in_background(_carry, far, near, False)


def _connected(place: tuple[str, int]) -> socket.socket:
    while True:
        try:
            return socket.create_connection(place)
        except OSError:  # process 0 is about to listen there; the watch ends a wait in vain
            time.sleep(0.1)


def _carry(source: socket.socket, sink: socket.socket, ends: bool) -> None:
    """Carries what comes; at its end the sink is told, or, unless it `ends`, never learns of it."""
    with suppress(OSError):
        while data := source.recv(_BYTES):
            sink.sendall(data)
        if ends:
            sink.shutdown(socket.SHUT_WR)


def _in_background(work: Callable[..., None], *arguments: object) -> None:
    threading.Thread(target=work, args=arguments, name="relay", daemon=True).start()
