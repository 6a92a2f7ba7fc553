"""A process that runs one cell: python -m studies.cell_process ORDERS.

The orders are a file, WORKDIR/cells/NAME/cell.json, so that any machine that sees it can run the
cell. The process ends with the process that started it: when its standard input is closed.
"""

import json
import os
import sys
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from common.config.tasks import folder_of, look_in, options_of
from common.program.accidents import told_in
from common.program.command_line import guarded
from common.program.files import write_atomically
from common.program.interrupts import finish, listen
from common.program.json_files import build, read_object
from common.program.settings import from_fields
from studies.cell import Cell

ORDERS = "cell.json"  # in the cell's workdir
LOG = "log.txt"  # in it: the output of its process
ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class _Orders:
    """What to run.

    Attributes:
      cell: its name.
      config: of the run.
      options: the flags of its evaluation; {} for their defaults.
      evaluated: whether it is.
      task_folder: where its task's package is found; "" if it is of this program.
    """

    cell: str
    config: Mapping[str, Any]
    options: Mapping[str, Any]
    evaluated: bool
    task_folder: str


def write_orders(cell: Cell, place: Path) -> Path:
    """Writes the orders of a cell to its workdir, and returns their file."""
    place.mkdir(parents=True, exist_ok=True)
    options = asdict(cell.options) if cell.options else {}
    config = cell.config.to_dict()
    folder = folder_of(cell.config.task)
    orders = _Orders(cell.name, config, options, cell.evaluated, folder)
    write_atomically(place / ORDERS, json.dumps(asdict(orders), indent=2, sort_keys=True) + "\n")
    return place / ORDERS


def run_orders(file: Path) -> None:
    """Runs the cell of an orders' file in the file's folder.

    Raises:
      UserError, DivergenceError, FaultError: it failed.
    """
    orders = build(_Orders, read_object(file, "run the study again"))
    if orders.task_folder:
        look_in(Path(orders.task_folder))
    config = from_fields(orders.config)
    options = options_of(config.task)(**orders.options) if orders.options else None
    from common.training.start import start_jax

    start_jax("", 1, 0)
    place = file.parent
    with told_in(place):
        Cell(orders.cell, config, options=options, evaluated=orders.evaluated).run(place)


def _end_with_parent() -> None:
    """Ends this process at once when the one that started it is gone."""

    def watch() -> None:
        while os.read(0, 1):  # not by sys.stdin, whose lock would abort the interpreter's end
            pass
        os._exit(1)

    threading.Thread(target=watch, name="parent", daemon=True).start()


def main() -> None:
    """Runs the cell of the command line."""
    listen("stopped; run the study again to resume.")
    _end_with_parent()
    guarded(lambda: run_orders(Path(sys.argv[1])))


if __name__ == "__main__":
    try:
        main()
    except SystemExit as leaving:
        finish(leaving.code)
