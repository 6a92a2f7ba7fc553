"""`--mode=report`: the page of a run, or one page that compares several."""

import re
from pathlib import Path

from common.program.errors import UserError
from common.program.files import user_path, write_atomically
from common.program.log import talk
from common.program.outputs import Outputs
from common.program.stores import address
from common.run_page.comparison import comparison
from common.run_page.files import read_run
from common.run_page.write import REPORT, write_page
from common.runs.workdir import open_run


def run_report(workdirs: str, output: str, *, overwrite: bool = False) -> int:
    """Writes report.html and prints where it is.

    Args:
      workdirs: of a run, whose page goes into its workdir; or of several, separated by commas.
      output: the folder for the page of several; "" for runs/compare-NAMES.
      overwrite: whether to replace an earlier page there.

    Returns:
      The exit code, 0.

    Raises:
      UserError: none is given, one holds no run, files are damaged, or nothing can be written.
    """
    talk(this_process=True)
    places = [user_path(part) for part in workdirs.split(",") if part]
    if not places:
        raise UserError("--mode=report needs --workdir=RUN, or --workdir=RUN1,RUN2 to compare.")
    if len(places) == 1:
        if output:
            raise UserError(
                f"The report of one run is written into its workdir, {places[0]}; leave out"
                " --output."
            )
        write_page(open_run(places[0]))
        print(f"{address(places[0])}/{REPORT}")
        return 0
    if len({place.resolve() for place in places}) < len(places):
        raise UserError(f"--workdir={workdirs} names a run twice; name each once.")
    runs = [read_run(open_run(place)) for place in places]
    folder = Path(output) if output else _default_folder(places)
    of = ",".join(str(place.resolve()) for place in places)
    with Outputs(folder, "report", of=of, overwrite=overwrite, again=not output) as outputs:
        outputs.claim({REPORT: ""})
        write_atomically(outputs.draft(REPORT), comparison(runs))
    print(outputs.folder / REPORT)
    return 0


def _default_folder(places: list[Path]) -> Path:
    """Returns runs/compare-NAMES."""
    names = "-".join(place.resolve().name for place in places)
    return Path("runs") / ("compare-" + re.sub(r"[^\w.-]+", "-", names)[:120])
