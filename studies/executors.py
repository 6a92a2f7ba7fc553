"""Where the cells of a study run: in this process, in processes of their own, or on a cluster."""

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Protocol, runtime_checkable

from common.program.accidents import told_in
from common.program.errors import DivergenceError, FaultError, UserError
from common.program.interrupts import StopRequest
from common.program.log import log
from studies.cell import Cell, StoppedError
from studies.cell_process import LOG, ROOT, write_orders

Job = tuple[Cell, Path]  # a cell and its workdir
_LOOK_SECONDS = 0.5  # between two looks for a signal
_ENDINGS = {1: FaultError, 2: UserError}  # what exit codes mean; see `run_app`


@runtime_checkable
class Executor(Protocol):
    """Runs cells; left by `with`, it has ended those that still ran.

    Attributes:
      at_once: how many run side by side.
      holds: how many it takes: those that run, and those that wait in a queue of its own.
    """

    at_once: int
    holds: int

    def __enter__(self) -> None:
        """Begins."""

    def __exit__(self, *_: object) -> None:
        """Ends what still runs."""

    def start(self, jobs: Sequence[Job]) -> Sequence[Future[bool]]:
        """Starts cells; each future says whether the cell came to its end, or raises its error."""

    def wait(self, running: Iterable[Future[bool]]) -> Iterable[Future[bool]]:
        """Returns the futures that are done, at least one of those that run.

        Raises:
          StoppedError: a signal came.
        """


class Here:
    """This process: one cell after another, their output in a file."""

    at_once = holds = 1

    def __init__(self, file: Path) -> None:
        """Takes the file."""
        self._file = file

    def __enter__(self) -> None:
        """Does nothing."""

    def __exit__(self, *_: object) -> None:
        """Does nothing: nothing runs."""

    def start(self, jobs: Sequence[Job]) -> Sequence[Future[bool]]:
        """Runs the cells."""
        futures = []
        for cell, place in jobs:
            future: Future[bool] = Future()
            try:
                with output_to(self._file), told_in(place):
                    future.set_result(cell.run(place))
            except (UserError, DivergenceError, FaultError) as error:
                future.set_exception(error)
            futures.append(future)
        return futures

    def wait(self, running: Iterable[Future[bool]]) -> Iterable[Future[bool]]:
        """Returns all: they are done."""
        return list(running)


class Processes:
    """A process for each cell, some side by side: none can take others with it."""

    def __init__(self, at_once: int) -> None:
        """Takes how many run side by side."""
        self.at_once = self.holds = at_once
        self._pool = ThreadPoolExecutor(at_once)
        self._stop = StopRequest()
        self._alive: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> None:
        """Notes signals from now on."""
        self._stop.begin()

    def __exit__(self, *_: object) -> None:
        """Lets the cells that run save, and waits for them."""
        for process in self._alive:
            process.send_signal(signal.SIGTERM)
        self._pool.shutdown(cancel_futures=True)
        self._stop.end()

    def start(self, jobs: Sequence[Job]) -> Sequence[Future[bool]]:
        """Starts a process for each cell."""
        return [self._pool.submit(self._run, cell, place) for cell, place in jobs]

    def wait(self, running: Iterable[Future[bool]]) -> Iterable[Future[bool]]:
        """Returns the futures that are done.

        Raises:
          StoppedError: a signal came.
        """
        done: set[Future[bool]] = set()
        while not done:
            if self._stop.requested:
                raise StoppedError
            done = wait(running, _LOOK_SECONDS, FIRST_COMPLETED).done
        return done

    def _run(self, cell: Cell, place: Path) -> bool:
        """Runs a cell; returns whether it came to its end."""
        process = begin(write_orders(cell, place))
        self._alive.append(process)
        try:
            return ended(cell, place, process.wait())
        finally:
            self._alive.remove(process)


def begin(orders: Path) -> subprocess.Popen[bytes]:
    """Starts the process of a cell; it ends itself when this one is gone."""
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    with (orders.parent / LOG).open("ab") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "studies.cell_process", str(orders)],
            stdin=subprocess.PIPE,
            stdout=file,
            stderr=file,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
            start_new_session=True,  # Ctrl-C comes to this process alone, which tells the others
        )


def ended(cell: Cell, place: Path, code: int) -> bool:
    """Returns whether a cell came to its end, by the exit code of its process.

    Raises:
      UserError, FaultError: it failed.
    """
    if code == 0:
        return cell.is_finished(place)
    told = _last_line(place / LOG)
    if code in _ENDINGS:
        raise _ENDINGS[code](told)
    if code < 0:
        name = signal.Signals(-code).name
        raise UserError(
            f"{name} ended its process, as happens where memory is short; {place / LOG} has its"
            " output."
        )
    raise FaultError(f"Its process ended with code {code}: {told}")


def _last_line(file: Path) -> str:
    """Returns what the program said last, without its name."""
    lines = file.read_text(errors="replace").strip().splitlines() or [""]
    return lines[-1].partition("cell_process.py: ")[2] or lines[-1]


@contextmanager
def output_to(file: Path) -> Iterator[None]:
    """Sends the output of runs to a file: the study itself reports the progress."""
    handlers = log.handlers
    with file.open("a") as stream, redirect_stdout(stream), redirect_stderr(stream):
        log.handlers = [logging.StreamHandler(stream)]
        try:
            yield
        finally:
            log.handlers = handlers
