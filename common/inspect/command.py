"""`--mode=inspect`: the table in the terminal, the page and the list of copies."""

import shutil
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

from ml_collections import ConfigDict

from common.config.defaults import RULES, check, default_config
from common.data.prepared.splits import check_division
from common.data.settings import DataSettings
from common.inspect.check_copies import COPIES_FILE
from common.inspect.document import document
from common.inspect.findings import verdict
from common.inspect.inspection import Inspection, inspect
from common.inspect.kept import KEPT_FILE, data_of, default_folder, write_findings
from common.inspect.tables import Cell, counts_table
from common.program.errors import UserError
from common.program.files import csv_line, user_path, write_atomically
from common.program.log import talk
from common.program.outputs import Outputs

PAGE_FILE = "inspect.html"
_WIDEST = 100  # columns of a line in the terminal


def run_inspect(
    config: ConfigDict | None, path: str, output: str, *, overwrite: bool = False
) -> int:
    """Inspects images, prints the findings and writes them to a folder.

    Args:
      config: an experiment, of which only `data` is used; None for the defaults.
      path: a folder or file to inspect instead of the experiment's data, or "".
      output: the folder to write to; "" for runs/inspect-NAME, where an inspection of the same data
        replaces the earlier one.
      overwrite: whether to replace an earlier inspection there.

    Returns:
      The exit code: 1 if results would be invalid or training would stop, else 0.

    Raises:
      UserError: neither is given, the data or a setting is invalid, or nothing can be written.
    """
    talk(this_process=True)
    settings = _settings(config, path)
    of_data = DataSettings.of(settings)
    folder = Path(output) if output else default_folder(of_data)
    data = user_path(settings.dir) if settings.dir else None
    with Outputs(
        folder,
        "inspect",
        of=data_of(of_data),
        overwrite=overwrite,
        again=not output,
        inputs=[data] if data else [],
    ) as outputs:
        outputs.claim(dict.fromkeys((COPIES_FILE, KEPT_FILE, PAGE_FILE), ""))
        inspection = inspect(settings)
        write_findings(outputs.draft(KEPT_FILE), of_data, inspection.findings)
        write_atomically(outputs.draft(COPIES_FILE), _copies_table(inspection))
        write_atomically(outputs.draft(PAGE_FILE), document(inspection))
    sys.stdout.write(summary(inspection) + f"\n{outputs.folder / PAGE_FILE}\n")
    return int(inspection.invalid)


def summary(inspection: Inspection) -> str:
    """Returns the table and the findings as plain text."""
    survey = inspection.survey
    header, rows = counts_table(survey)
    width = min(_WIDEST, shutil.get_terminal_size((_WIDEST, 24)).columns)
    lines = [survey.name, "", *_aligned([header, *rows]), ""]
    level = None
    for finding in inspection.findings:
        if finding.level != level:
            level = finding.level
            lines += [f"{level.title.upper()} ({level.meaning})"]
        lines += textwrap.wrap(finding.sentence, width, initial_indent="- ", subsequent_indent="  ")
        lines += _wrapped(finding.remedy, width)
        lines.append("")
    return "\n".join([*lines, verdict(inspection.findings)])


def _settings(config: ConfigDict | None, path: str) -> ConfigDict:
    if config is None and not path:
        raise UserError(
            "--mode=inspect needs --input=PATH, a folder or file of images, or --config=FILE, an"
            " experiment whose data to inspect."
        )
    whole = default_config() if config is None else config
    check(ConfigDict({"data": whole.data}), RULES)
    settings = ConfigDict(whole.data)
    if path:
        if not user_path(path).exists():
            raise UserError(f"{path} does not exist; check --input.")
        settings.update(dir=path, url="", sha256="")
        if settings.name.startswith("tfds:"):
            settings.name = ""
    check_division(DataSettings.of(settings))
    return settings


def _copies_table(inspection: Inspection) -> str:
    """Returns a CSV table of every image with copies; equal numbers mean the same picture."""
    survey = inspection.survey
    rows: list[tuple[object, ...]] = [("picture", "kind", "split", "class", "image")]
    for number, group in enumerate(survey.copies, start=1):
        for row in group.rows:
            image = survey.images[row]
            name = survey.classes[image.record.label]
            rows.append((number, group.kind, image.split, name, image.record.id))
    return "".join(map(csv_line, rows))


def _aligned(rows: Sequence[Sequence[Cell]]) -> list[str]:
    """Returns the lines of a table, the first column left-aligned, the others right-aligned."""
    cells = [[f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in cells
    ]


def _wrapped(remedy: str, width: int) -> list[str]:
    return textwrap.wrap(
        remedy,
        width,
        initial_indent="  > ",
        subsequent_indent="    ",
        break_long_words=False,
        break_on_hyphens=False,
    )
