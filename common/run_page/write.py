"""WORKDIR/report.html and card.md: written again whenever there is more to say."""

from pathlib import Path

from common.program.accidents import is_fatal
from common.program.files import replaced
from common.program.log import log
from common.run_page.document import document
from common.run_page.files import read_run
from common.run_page.model_card import model_card
from common.runs.workdir import Run

REPORT = "report.html"
CARD = "card.md"


def write_page(run: Run) -> Path:
    """Writes the page and the card of a run from its files, and returns the path of the page.

    Raises:
      UserError: run.json is damaged.
    """
    files = read_run(run)
    for name, content in ((REPORT, document(files)), (CARD, model_card(files))):
        with replaced(run.workdir / name, durable=False) as scratch:
            scratch.write_text(content, encoding="utf-8")
    return run.workdir / REPORT


def show_evaluation(run: Run, folder: Path) -> None:
    """Writes the page of a run with a new evaluation, and prints where it is.

    An evaluation in a folder elsewhere is on no page.
    """
    if folder.resolve().parent == run.workdir.resolve():
        try_page(run)
        print(f"  report: {run.workdir / REPORT}")


def try_page(run: Run) -> None:
    """Writes the page of a run, or logs why not: training and evaluation go on without it.

    Raises:
      Exception: whatever no program survives, such as a full disk.
    """
    try:
        write_page(run)
    except Exception as error:
        if is_fatal(error):
            raise
        log.warning("%s could not be written: %s", run.workdir / REPORT, error)
