"""The cells of a study as jobs of Slurm, sent through submitit.

All cells that can start are sent as one array. A job that Slurm preempts, or that reaches its time
limit, saves and goes on in the queue; one that was cancelled or lost its node is sent again, at
most twice.
"""

import os
import shlex
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.program.errors import FaultError, UserError
from common.program.files import write_atomically
from common.program.interrupts import StopRequest
from common.program.log import log
from studies.cell import Cell, StoppedError
from studies.cell_process import LOG, ROOT, write_orders
from studies.executors import Job, begin, ended

FOLDER = "slurm"  # in the study's workdir: submitit's files
_LOOK_SECONDS = 2.0  # between two looks at the queue
_MOST_TRIES = 3
_MOST_JOBS = 1000  # of an array, as Slurm is usually set up
_MINUTES = 24 * 60  # of a job, if the command line names no time
_MOST_TIMEOUTS = 1000  # a long run takes many jobs, one after another
_JOB = "slurm.txt"  # in a cell's workdir: its job


class CellJob:
    """What a job does: it runs the process of a cell, and lets it save if the job must end."""

    def __call__(self, orders: str) -> int:
        """Runs the cell; returns the exit code of its process."""
        # Slurm sends this signal to all processes of a job; this one tells the cell.
        with _ignored(signal.SIGUSR2):
            self._process = begin(Path(orders))
        return self._process.wait()

    def checkpoint(self, orders: str) -> Any:
        """Lets the cell save; submitit sends what is returned to the queue again."""
        from submitit.helpers import DelayedSubmission

        self._process.send_signal(signal.SIGTERM)
        self._process.wait()
        return DelayedSubmission(CellJob(), orders)


@contextmanager
def _ignored(number: signal.Signals) -> Iterator[None]:
    """Lets a process that is started within ignore a signal."""
    before = signal.signal(number, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(number, before)


@dataclass
class _Sent:
    """A cell in the queue.

    Attributes:
      cell: it.
      place: its workdir.
      job: that of submitit.
      tries: how often it was sent.
    """

    cell: Cell
    place: Path
    job: Any
    tries: int = 1


class Slurm:
    """Jobs of Slurm."""

    def __init__(self, workdir: Path, parameters: str, at_once: int) -> None:
        """Finds Slurm.

        Args:
          workdir: of the study; all machines must see it.
          parameters: what each job asks for: "partition=gpu,time=240".
          at_once: how many run side by side.

        Raises:
          UserError: submitit or Slurm is missing, or a parameter is not one.
        """
        self.at_once, self.holds, self._folder = at_once, _MOST_JOBS, workdir / FOLDER
        self._sent: dict[Future[bool], _Sent] = {}
        self._stop = StopRequest()
        try:
            import submitit
        except ImportError as error:
            raise UserError(
                "--executor=slurm needs submitit; install it with pip install -e '.[slurm]'."
            ) from error
        try:
            self._queue = submitit.SlurmExecutor(self._folder, max_num_timeout=_MOST_TIMEOUTS)
        except RuntimeError as error:
            raise UserError(
                "--executor=slurm finds no Slurm (no srun) on this machine; start the command on"
                " one from which jobs are sent."
            ) from error
        paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
        setup = [f"export PYTHONPATH={shlex.quote(os.pathsep.join(filter(None, paths)))}"]
        try:
            self._queue.update_parameters(
                array_parallelism=at_once,
                job_name="triptych",
                setup=setup,
                **{"time": _MINUTES, **asked(parameters)},
            )
        except (NameError, ValueError, TypeError) as error:
            raise UserError(
                f"--slurm={parameters!r} is refused: {str(error).splitlines()[0]}."
            ) from error

    def __enter__(self) -> None:
        """Notes signals from now on."""
        self._stop.begin()

    def __exit__(self, *_: object) -> None:
        """Cancels what still runs or waits; the cells save."""
        for sent in self._sent.values():
            sent.job.cancel(check=False)
        self._stop.end()

    def start(self, jobs: Sequence[Job]) -> Sequence[Future[bool]]:
        """Sends cells as one array; a cell that an earlier command sent is waited for."""
        from submitit import SlurmJob

        queued = _queued()
        earlier = {place: _read(place / _JOB) for _, place in jobs}
        new = [(cell, place) for cell, place in jobs if earlier[place] not in queued]
        sent = dict(zip((place for _, place in new), self._send(new), strict=True))
        futures: list[Future[bool]] = []
        for cell, place in jobs:
            job = sent.get(place) or SlurmJob(self._folder, earlier[place])
            futures.append(Future())
            self._sent[futures[-1]] = _Sent(cell, place, job)
        return futures

    def wait(self, running: Iterable[Future[bool]]) -> Iterable[Future[bool]]:
        """Returns the futures that are done.

        Raises:
          StoppedError: a signal came.
        """
        running = list(running)
        while True:
            queued = _queued()
            for future in [one for one in running if self._sent[one].job.job_id not in queued]:
                self._end(future)
            if done := [future for future in running if future.done()]:
                return done
            if self._stop.requested:
                raise StoppedError
            time.sleep(_LOOK_SECONDS)

    def _send(self, jobs: Sequence[Job]) -> list[Any]:
        """Returns the jobs of submitit."""
        if not jobs:
            return []
        orders = [str(write_orders(cell, place)) for cell, place in jobs]
        with self._queue.batch():
            sent = [self._queue.submit(CellJob(), each) for each in orders]
        for job, (_, place) in zip(sent, jobs, strict=True):
            write_atomically(place / _JOB, job.job_id)
        return sent

    def _end(self, future: Future[bool]) -> None:
        """Notes how a cell ended that has left the queue; one without an end is sent again."""
        sent = self._sent[future]
        try:
            if not sent.cell.is_finished(sent.place):
                code = sent.job.result() if sent.job.paths.result_pickle.exists() else 0
                if not ended(sent.cell, sent.place, code):
                    self._again(future)
                    return
            future.set_result(True)
        except (UserError, FaultError) as error:
            future.set_exception(error)
        del self._sent[future]

    def _again(self, future: Future[bool]) -> None:
        """Sends a cell again whose job was cancelled or lost.

        Raises:
          UserError: that was the last try.
        """
        sent = self._sent[future]
        if sent.tries == _MOST_TRIES:
            raise UserError(
                f"Slurm ended its job {sent.tries} times; {sent.job.paths.stderr} and"
                f" {sent.place / LOG} have the output."
            )
        log.warning(
            "job %s of %s left the queue unfinished; sent again", sent.job.job_id, sent.cell.name
        )
        (sent.job,), sent.tries = self._send([(sent.cell, sent.place)]), sent.tries + 1


def asked(parameters: str) -> dict[str, int | str]:
    """Returns the parameters of a job by name."""
    asked: dict[str, int | str] = {}
    for part in filter(None, parameters.split(",")):
        name, equals, value = (text.strip() for text in part.partition("="))
        if not equals or not value:
            raise ValueError(f"{part!r} must be NAME=VALUE")
        asked[name] = int(value) if value.isdigit() else value
    return asked


def _queued() -> set[str]:
    """Returns the jobs that wait or run, array elements by themselves: "12", "13_0"."""
    while True:
        told = subprocess.run(
            ["squeue", "--noheader", "--array", "--format=%i"],
            check=False,
            capture_output=True,
            text=True,
        )
        if told.returncode == 0:
            return set(told.stdout.split())
        log.warning("squeue does not answer (%s); asked again", told.stderr.strip())
        time.sleep(_LOOK_SECONDS * 5)


def _read(file: Path) -> str:
    return file.read_text() if file.exists() else ""
