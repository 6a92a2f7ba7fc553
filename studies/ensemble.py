"""--mode=ensemble --config=FILE: trains the members of an ensemble, a run for each fold and seed.

WORKDIR/cells/fold0_seed0   an ordinary run, without an evaluation
WORKDIR/ensemble.json       its members, so that WORKDIR is used like a run
WORKDIR/evaluation_val      its cross-validated scores
"""

from pathlib import Path

from ml_collections import ConfigDict

from common.config import defaults as configs
from common.config.tasks import declaration_of, find_mode, options_of, rules_of
from common.program.errors import UserError
from common.program.options import Command
from common.program.words import counted
from common.runs.ensemble import checksums_of
from common.runs.members import ENSEMBLE, read_members, write_members
from common.runs.workdir import exclusive, open_run
from studies.cell import Cell, StoppedError
from studies.runner import CELLS, executor_of, run_cells


def train_ensemble(config: ConfigDict, command: Command, workdir: Path) -> bool:
    """Trains what is missing, writes ensemble.json, and scores the held-out images of all folds.

    Test images are in no fold, and are not read.

    Returns whether it is complete; a signal may end it before.

    Args:
      config: of all members; `data.folds` says how many parts take turns in being held out.
      command: `seeds`, and where the runs train.
      workdir: of the ensemble.

    Raises:
      UserError: a setting is invalid, the workdir is in use, or a run failed.
      DivergenceError, FaultError: a run failed.
    """
    cells = _members_of(config, command)
    places = [workdir / CELLS / cell.name for cell in cells]
    _check_owner(workdir)
    with exclusive(workdir):
        print(f"{counted(len(cells), 'run')} in {workdir}/{CELLS}; each logs to its own log.txt")
        try:
            run_cells(cells, workdir, executor=executor_of(command, workdir)).check()
        except StoppedError:
            print("Stopped. Run the same command again to continue.")
            return False
        write_members(workdir, checksums_of([open_run(place) for place in places]))
    if config.data.folds:
        options = options_of(config.task)(split="val")
        find_mode(config.task, "evaluate")(open_run(workdir), options)
    print(f"next: python launch.py --mode=evaluate --workdir={workdir}")
    return True


def _members_of(config: ConfigDict, command: Command) -> list[Cell]:
    """Returns a cell for each fold and seed.

    Raises:
      UserError: a setting is invalid, or there would be one run.
    """
    if command.members:
        raise UserError(
            "--members names trained runs, and --config trains new ones; leave one of them out."
        )
    configs.check(config, rules_of(config.get("task", "")))
    if "predict" not in declaration_of(config.task).modes:
        raise UserError(
            f"config.task is {config.task!r}, which predicts nothing that could be averaged."
        )
    cells = []
    for fold in range(max(config.data.folds, 1)):
        for seed in range(config.seed, config.seed + command.seeds):
            own = ConfigDict(config.to_dict())
            own.seed, own.data.fold = seed, fold
            cells.append(Cell(f"fold{fold}_seed{seed}", own, evaluated=False))
    if len(cells) == 1:
        raise UserError(
            "An ensemble needs several runs: set --config.data.folds=5, or --seeds=3, or both."
        )
    return cells


def _check_owner(workdir: Path) -> None:
    """Refuses the folder of a run, of an ablation, or of an ensemble of other runs."""
    others = [workdir / name for name in ("config.json", "cells.csv")]
    if (workdir / ENSEMBLE).exists():
        others += [place for place in read_members(workdir) if place.parent != workdir / CELLS]
    if any(path.exists() for path in others):
        raise UserError(f"The workdir {workdir} is in use; choose another --workdir.")
