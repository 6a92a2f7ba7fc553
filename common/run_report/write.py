"""WORKDIR/report.html: written again whenever there is more to say."""

from pathlib import Path

from common.program.accidents import is_fatal
from common.program.files import replaced
from common.program.log import log
from common.run_report.document import document
from common.run_report.files import read_run

REPORT = "report.html"


def write_report(workdir: Path) -> Path:
    """Writes the page of a run from its files, and returns its path.

    Raises:
      UserError: the folder holds no run, or its files are damaged.
    """
    file = workdir / REPORT
    with replaced(file, durable=False) as scratch:
        scratch.write_text(document(read_run(workdir)), encoding="utf-8")
    return file


def report_evaluation(workdir: Path, folder: Path) -> None:
    """Writes the page of a run with a new evaluation, and prints where it is.

    An evaluation in a folder elsewhere is on no page.
    """
    if folder.resolve().parent == workdir.resolve():
        try_report(workdir)
        print(f"  report: {workdir / REPORT}")


def try_report(workdir: Path) -> None:
    """Writes the page of a run, or logs why not: training and evaluation go on without it.

    Raises:
      Exception: whatever no program survives, such as a full disk.
    """
    try:
        write_report(workdir)
    except Exception as error:
        if is_fatal(error):
            raise
        log.warning("%s could not be written: %s", workdir / REPORT, error)
