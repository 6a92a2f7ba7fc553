"""The runner of studies: it computes what is missing, cell by cell.

A study lists cells (studies/cell.py). The workdir of each is WORKDIR/cells/NAME. Finished cells are
not run again, interrupted ones go on, and a cell that fails stops only those that require it.
studies/executors.py has where they run.
"""

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.program.errors import DivergenceError, FaultError, UserError
from common.program.log import log
from common.program.options import Command
from common.program.words import counted
from common.training.replicas import check_one
from studies.cell import Cell, StoppedError, effective
from studies.executors import Executor, Here, Processes
from studies.finished import Figures, Finished
from studies.progress import Progress

LOG = "log.txt"  # in the study's workdir: the output of its cells
CELLS = "cells"  # in it: the workdirs of its cells


@dataclass(frozen=True)
class Outcome:
    """What became of the cells.

    Attributes:
      found: the figures of those that are finished.
      failed: why others failed.
      skipped: those that require a failed one.
    """

    found: Mapping[str, Figures]
    failed: Mapping[str, Exception]
    skipped: Sequence[str]

    def check(self) -> None:
        """Does nothing if all cells are finished.

        Raises:
          UserError, DivergenceError, FaultError: saying which cells failed and why.
        """
        for kind in (FaultError, DivergenceError, UserError):  # the gravest first
            if any(isinstance(error, kind) for error in self.failed.values()):
                raise kind(self._told())

    def _told(self) -> str:
        total = len(self.found) + len(self.failed) + len(self.skipped)
        reasons = "; ".join(f"{name}: {str(e).rstrip('.')}" for name, e in self.failed.items())
        skipped = f", and {', '.join(self.skipped)} did not run for that" if self.skipped else ""
        return (
            f"{len(self.failed)} of {counted(total, 'cell')} failed ({reasons}){skipped}; the same"
            " command runs them again."
        )


def run_cells(
    cells: Sequence[Cell],
    workdir: Path,
    results: Path | None = None,
    data: str = "",
    executor: Executor | None = None,
) -> Outcome:
    """Runs the cells that are not finished, and logs the progress before each.

    Args:
      cells: each after those that it requires.
      workdir: of the study.
      results: a file of finished cells (see `Finished`). Those that it has are not run, unless
        another needs their files; those that are finished here are added.
      data: the fingerprint of the study's data.
      executor: where they run; None is one after another in this process.

    Raises:
      StoppedError: a signal ended a cell; the next call goes on.
      UserError: the file of finished cells can't be used, or a cell has replicas.
    """
    for cell in cells:
        check_one(cell.config)
    hashes, kept = _hashes(cells, data), Finished(results)
    waiting, taken = _waiting(cells, workdir, kept, hashes)
    if taken:
        log.info("taken from %s: %s", results, counted(len(taken), "finished cell"))
    book = _Book(workdir, kept, hashes, taken)
    executor = executor or Here(workdir / LOG)
    kinds = [cell.config.task for cell in cells if cell.name in waiting]
    progress = Progress(kinds, executor.at_once)
    pending = []
    for cell in cells:
        if cell.name in waiting:
            pending.append(cell)
        else:
            book.note(cell)
    running: dict[Future[bool], tuple[Cell, float]] = {}
    with executor:
        while pending or running:
            for cell in [cell for cell in pending if book.has_lost(cell)]:
                pending.remove(cell)
                book.skipped.append(cell.name)
                progress.skip(cell.config.task)
            unfinished = {cell.name for cell in (*pending, *(one for one, _ in running.values()))}
            ready = [cell for cell in pending if unfinished.isdisjoint(cell.requires)]
            ready = ready[: executor.holds - len(running)]
            starts = [
                progress.begin(f"cell {cells.index(cell) + 1} of {len(cells)} ({cell.title})")
                for cell in ready
            ]
            futures = executor.start([(cell, _place(cell, workdir)) for cell in ready])
            for future, cell, start in zip(futures, ready, starts, strict=True):
                pending.remove(cell)
                running[future] = cell, start
            for future in executor.wait(running):
                cell, start = running.pop(future)
                progress.end(cell.config.task, start)
                book.note(cell, future)
    return Outcome(book.found, book.failed, book.skipped)


def executor_of(command: Command, workdir: Path) -> Executor:
    """Returns what the command line asks for.

    Args:
      command: its flags.
      workdir: of the study.

    Raises:
      UserError: Slurm's client or its parameters are missing or invalid.
    """
    if command.executor == "slurm":
        from studies.slurm import Slurm

        return Slurm(workdir, command.slurm, command.at_once)
    return Processes(command.at_once)


@dataclass
class _Book:
    """What became of the cells of a study until now; `Outcome` has the fields without comment."""

    workdir: Path
    kept: Finished
    hashes: Mapping[str, str]
    taken: Mapping[str, Figures]  # those that are finished elsewhere only
    found: dict[str, Figures] = field(default_factory=dict)
    failed: dict[str, Exception] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)

    def has_lost(self, cell: Cell) -> bool:
        """Returns whether a cell that this one requires failed, or did not run for that."""
        return not {*self.failed, *self.skipped}.isdisjoint(cell.requires)

    def note(self, cell: Cell, run: Future[bool] | None = None) -> None:
        """Notes what a cell found, or why it failed.

        Raises:
          StoppedError: a signal ended it.
        """
        name = cell.name
        try:
            if run and not run.result():
                raise StoppedError
            taken = self.taken.get(name) if run is None else None
            place = _place(cell, self.workdir)
            self.found[name] = cell.figures(place) if taken is None else taken
        except (UserError, DivergenceError, FaultError) as error:
            self.failed[name] = error
            log.error("cell %s failed: %s", name, error)
        else:
            self.kept.add(name, self.hashes[name], self.found[name])


def _place(cell: Cell, workdir: Path) -> Path:
    """Returns a cell's workdir in that of its study."""
    return workdir / CELLS / cell.name


def _waiting(
    cells: Sequence[Cell], workdir: Path, kept: Finished, hashes: Mapping[str, str]
) -> tuple[Collection[str], Mapping[str, Figures]]:
    """Returns the cells to run, and the figures of those that are finished elsewhere only."""
    waiting: set[str] = set()
    taken: dict[str, Figures] = {}
    needed: set[str] = set()
    for cell in reversed(cells):
        if _is_finished(cell, _place(cell, workdir)):
            continue
        figures = kept.figures(cell.name, hashes[cell.name])
        if figures is not None:
            taken[cell.name] = figures
        if figures is None or cell.name in needed:
            waiting.add(cell.name)
            needed.update(cell.requires)
    return waiting, taken


def _is_finished(cell: Cell, place: Path) -> bool:
    try:
        return cell.is_finished(place)
    except UserError:  # it is raised again when the cell runs, and then told
        return False


def _hashes(cells: Sequence[Cell], data: str) -> Mapping[str, str]:
    """Returns for each cell a hash of its config, of those that it requires, and of the data.

    The flags of its evaluation that are not at their defaults count, too.
    """
    hashes: dict[str, str] = {}
    for cell in cells:
        parts: list[Any] = [effective(cell.config), data, [hashes[name] for name in cell.requires]]
        if flags := cell.flags:
            parts.append(flags)
        hashes[cell.name] = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
    return hashes
