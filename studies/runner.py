"""The runner of studies: it computes what is missing, cell by cell.

A study lists cells. Each is one ordinary run, whose workdir is WORKDIR/cells/NAME. Finished cells
are not run again, interrupted ones go on, and a cell that fails stops only those that require it.
"""

import hashlib
import json
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from ml_collections import ConfigDict

from common.config.tasks import find_mode, options_of, with_defaults
from common.program.accidents import told_in
from common.program.errors import DivergenceError, FaultError, UserError
from common.program.json_files import read_object
from common.program.log import log
from common.program.settings import flatten, to_json
from common.program.words import counted
from common.runs.evaluation import EVALUATION, FOLDER
from common.runs.workdir import open_run
from common.training.train import train
from studies.finished import Figures, Finished
from studies.progress import Progress

LOG = "log.txt"  # in the study's workdir: the output of its cells
CELLS = "cells"  # in it: the workdirs of its cells
_FINISHED = "finished"  # in a cell's workdir, if `Cell.run` has come to its end
# Settings that do not change what a run finds.
_WITHOUT_EFFECT = (
    *("data.dir", "data.cache_dir", "data.resident_limit_mb"),
    *("train.low_memory", "train.trackers"),
)


class StoppedError(Exception):
    """A signal ended a cell before its end."""


@dataclass(frozen=True)
class Cell:
    """A run of a study; a study whose runs do more derives a class of its own for them.

    Attributes:
      name: of its workdir in WORKDIR/cells: "64_0/gan".
      config: of the run.
      requires: names of cells whose files it needs.
    """

    name: str
    config: ConfigDict
    requires: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """Returns what the log calls it."""
        return self.name

    def run(self, workdir: Path) -> bool:
        """Trains and evaluates, from where it was stopped.

        Returns whether it came to its end; a signal may end it before.

        Raises:
          UserError, DivergenceError: a setting or the data is invalid, or training failed.
        """
        mark = workdir / _FINISHED
        mark.unlink(missing_ok=True)
        if not train(self.config, workdir):
            return False
        evaluate = find_mode(self.config.task, "evaluate")
        evaluate(open_run(workdir), options_of(self.config.task)())
        mark.touch()
        return True

    def is_finished(self, workdir: Path) -> bool:
        """Returns whether `run` has come to its end with this config.

        Raises:
          UserError: a file of the run is damaged.
        """
        if not (workdir / _FINISHED).exists() or not (workdir / FOLDER / EVALUATION).exists():
            return False
        return _effective(open_run(workdir).config) == _effective(self.config)

    def figures(self, workdir: Path) -> Figures:
        """Returns the numbers of the evaluation: {"scores.accuracy.value": 0.9}.

        Raises:
          UserError: it is damaged.
        """
        advice = "remove it and run the same command again"
        report = read_object(workdir / FOLDER / EVALUATION, advice)
        return {name: x for name, x in flatten(report) if type(x) in (int, float)}


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
    cells: Sequence[Cell], workdir: Path, results: Path | None = None, data: str = ""
) -> Outcome:
    """Runs the cells that are not finished, and logs the progress before each.

    Args:
      cells: each after those that it requires.
      workdir: of the study.
      results: a file of finished cells (see `Finished`). Those that it has are not run, unless
        another needs their files; those that are finished here are added.
      data: the fingerprint of the study's data.

    Raises:
      StoppedError: a signal ended a cell; the next call goes on.
      UserError: the file of finished cells can't be used.
    """
    hashes, kept = _hashes(cells, data), Finished(results)
    waiting, taken = _waiting(cells, workdir, kept, hashes)
    if taken:
        log.info("taken from %s: %s", results, counted(len(taken), "finished cell"))
    progress = Progress([cell.config.task for cell in cells if cell.name in waiting])
    found: dict[str, Figures] = {}
    failed: dict[str, Exception] = {}
    skipped: list[str] = []
    for number, cell in enumerate(cells, 1):
        name, place = cell.name, _place(cell, workdir)
        if name in waiting and not {*failed, *skipped}.isdisjoint(cell.requires):
            skipped.append(name)
            progress.skip(cell.config.task)
            continue
        try:
            if name in waiting:
                what = f"cell {number} of {len(cells)} ({cell.title})"
                timed = progress.timed(cell.config.task, what)
                with timed, _output_to(workdir / LOG), told_in(place):
                    whole = cell.run(place)
                if not whole:
                    raise StoppedError
            found[name] = taken[name] if name in taken else cell.figures(place)
        except (UserError, DivergenceError, FaultError) as error:
            failed[name] = error
            log.error("cell %s failed: %s", name, error)
        else:
            kept.add(name, hashes[name], found[name])
    return Outcome(found, failed, skipped)


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
    """Returns for each cell a hash of its config, of those that it requires, and of the data."""
    hashes: dict[str, str] = {}
    for cell in cells:
        parts = [_effective(cell.config), data, [hashes[name] for name in cell.requires]]
        hashes[cell.name] = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
    return hashes


def _effective(config: ConfigDict) -> Mapping[str, object]:
    """Returns the settings that what a run finds depends on, as read from JSON."""
    settings = flatten(json.loads(to_json(with_defaults(config))))
    return {name: value for name, value in settings if name not in _WITHOUT_EFFECT}


@contextmanager
def _output_to(file: Path) -> Iterator[None]:
    """Sends the output of runs to a file: the study itself reports the progress."""
    handlers = log.handlers
    with file.open("a") as stream, redirect_stdout(stream), redirect_stderr(stream):
        log.handlers = [logging.StreamHandler(stream)]
        try:
            yield
        finally:
            log.handlers = handlers
