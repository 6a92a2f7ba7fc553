"""--mode=ablate: runs every cell of a sweep and compares the arms.

WORKDIR/cells/ARM/seed0            an ordinary run, trained and evaluated
WORKDIR/ensembles/ARM/seed0        the ensemble of its folds, if folds are swept
WORKDIR/ablation.html              the comparison; ablation.{md,csv,tex,png} and cells.csv
"""

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

from ml_collections import ConfigDict

from common.config import defaults as configs
from common.config.tasks import declaration_of, find_mode, rules_of
from common.data.prepared.prepared import prepare
from common.program.errors import UserError
from common.program.files import user_path
from common.program.log import log
from common.program.options import Command, Options
from common.program.settings import to_json
from common.program.words import counted
from common.runs.ensemble import ensemble_of
from common.runs.evaluation import EVALUATION, evaluation_folder
from common.runs.members import ENSEMBLE
from common.runs.rows import METRICS, read_rows
from common.runs.workdir import exclusive, open_run
from studies.ablation.page import write_page
from studies.ablation.summary import measured, summarise
from studies.ablation.sweep import Place, Sweep, config_of, folder_of, places, read_sweep
from studies.ablation.tables import conclusions, markdown, write_tables
from studies.cell import Cell, StoppedError
from studies.executors import output_to
from studies.finished import Figures
from studies.runner import CELLS, LOG, Outcome, executor_of, run_cells

ENSEMBLES = "ensembles"


def run_ablation(
    file: str,
    config: ConfigDict,
    command: Command,
    options: Options,
    workdir: Path,
) -> bool:
    """Runs the ablation, from where it was stopped, and writes its tables and its page.

    Returns whether it is complete; a signal may end it before.

    Args:
      file: of the config, with what follows its colon.
      config: of all cells, before the sweep changes it.
      command: what the command line varies, and where the cells run.
      options: the flags of the evaluation of each cell.
      workdir: of the ablation.

    Raises:
      UserError: the sweep or a setting is invalid, the workdir is in use, or a cell failed.
      DivergenceError, FaultError: a cell failed.
    """
    path, _, argument = file.partition(":")
    config_file = Path(path)
    sweep = read_sweep(config_file, config, command.sweep, argument)
    cells = _list_cells(sweep, config, options)
    workdir.mkdir(parents=True, exist_ok=True)
    _check_owner(workdir)
    with exclusive(workdir):
        print(
            f"{counted(len(sweep.arms), 'arm')}, {counted(len(cells), 'run')} in"
            f" {workdir}/{CELLS}; each logs to its own log.txt"
        )
        kept = user_path(command.results) if command.results else None
        data = prepare(config.data).card.fingerprint if kept else ""
        executor = executor_of(command, workdir)
        try:
            outcome = run_cells(list(cells.values()), workdir, kept, data, executor)
        except StoppedError:
            print("Stopped. Run the same command again to continue.")
            return False
        failed = {
            place: str(outcome.failed[cell.name])
            for place, cell in cells.items()
            if cell.name in outcome.failed
        }
        ensembles = _make_ensembles(sweep, cells, outcome, options, workdir)
        _write(workdir, config_file, config, sweep, cells, outcome, ensembles, failed)
    outcome.check()
    return True


def _list_cells(sweep: Sweep, config: ConfigDict, options: Options) -> dict[Place, Cell]:
    """Returns the cell of each place.

    Raises:
      UserError: a setting of an arm is invalid, or two arms are the same.
    """
    cells: dict[Place, Cell] = {}
    settings: dict[str, str] = {}
    for place in places(sweep):
        own = config_of(place, sweep, config)
        task = own.get("task", "")
        configs.check(own, rules_of(task))
        flags = options if task == config.get("task", "") else None
        cells[place] = Cell(folder_of(place, sweep), own, options=flags)
        if (twin := settings.setdefault(to_json(own), place.arm)) != place.arm:
            raise UserError(f"The arms {twin} and {place.arm} have the same settings; drop one.")
    return cells


def _check_owner(workdir: Path) -> None:
    """Refuses a folder that holds a run or another study."""
    if (workdir / "config.json").exists() or (workdir / ENSEMBLE).exists():
        raise UserError(f"{workdir} holds a run, not an ablation; name another --workdir.")


def _make_ensembles(
    sweep: Sweep,
    cells: Mapping[Place, Cell],
    outcome: Outcome,
    options: Options,
    workdir: Path,
) -> dict[Place, Figures]:
    """Makes and evaluates an ensemble of the folds of each arm and seed, if all are finished here.

    Returns what their evaluations found.
    """
    made: dict[Place, Figures] = {}
    if len(sweep.folds) < 2:
        return made
    for arm in sweep.arms:
        for seed in sweep.seeds:
            members = [cells[Place(arm, seed, fold)].name for fold in sweep.folds]
            here = [(workdir / CELLS / name).exists() for name in members]
            if not all(name in outcome.found for name in members) or not all(here):
                continue
            first = cells[Place(arm, seed, sweep.folds[0])]
            task = first.config.task
            if "predict" not in declaration_of(task).modes:
                continue
            folder = workdir / ENSEMBLES / Path(first.name).parent / f"seed{seed}"
            if not (folder / ENSEMBLE).exists():
                ensemble_of([workdir / CELLS / name for name in members], folder)
            if not (folder / evaluation_folder(options) / EVALUATION).exists():
                log.info("evaluating %s", folder)
                with output_to(workdir / LOG):
                    find_mode(task, "evaluate")(open_run(folder), options)
            made[Place(arm, seed, None)] = first.figures(folder)
    return made


def _write(
    workdir: Path,
    file: Path,
    config: ConfigDict,
    sweep: Sweep,
    cells: Mapping[Place, Cell],
    outcome: Outcome,
    ensembles: Mapping[Place, Figures],
    failed: Mapping[Place, str],
) -> None:
    """Writes the tables and the page, and prints the conclusion."""
    found = {
        place: outcome.found[cell.name]
        for place, cell in cells.items()
        if cell.name in outcome.found
    }
    declared = declaration_of(config.task)
    compared, shown = sweep.compared or declared.compared, declared.shown
    rows, of_ensembles = (
        summarise(measured(some, compared), list(sweep.arms)) for some in (found, ensembles)
    )
    if not rows:
        print(*conclusions(rows, failed), sep="\n")
        return
    write_tables(workdir, rows, of_ensembles, found, failed)
    curves = {place: read_rows(workdir / CELLS / cells[place].name / METRICS) for place in found}
    command = shlex.join(["python", *sys.argv])
    write_page(
        workdir, f"Ablation of {file.stem}", rows, of_ensembles, curves, shown, failed, command
    )
    print(markdown(rows))
    for sentence in conclusions(rows, failed):
        print(sentence)
    print(f"page, tables, curves: {workdir}/ablation.html, .md, .csv, .tex, .png and cells.csv")
