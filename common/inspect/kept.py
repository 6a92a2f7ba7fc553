"""What an inspection keeps for pages about the same data: its verdict and its findings."""

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.data.settings import DataSettings
from common.inspect.findings import Finding, Level, verdict
from common.program.errors import UserError
from common.program.files import user_path, write_atomically
from common.program.json_files import conform, read_object

KEPT_FILE = "findings.json"
_RUNS = Path("runs")


@dataclass(frozen=True)
class KeptInspection:
    """An inspection that was made before.

    Attributes:
      folder: that has its page.
      verdict: in one sentence.
      findings: the worst first.
    """

    folder: Path
    verdict: str
    findings: tuple[Finding, ...]


def data_of(settings: DataSettings) -> str:
    """Returns what is inspected: the folder, the URL or the name of the data."""
    return str(user_path(settings.dir).resolve()) if settings.dir else settings.url or settings.name


def default_folder(settings: DataSettings) -> Path:
    """Returns runs/inspect-NAME, named after what was inspected."""
    place = settings.dir or settings.url.rsplit("/", 1)[-1] or settings.name
    name = re.sub(r"[^\w.-]+", "-", user_path(place).resolve().name) or "data"
    return _RUNS / f"inspect-{name}"


def write_findings(file: Path, settings: DataSettings, findings: tuple[Finding, ...]) -> None:
    """Writes what `read_inspection` reads."""
    listed = [
        {"level": each.level.name, "sentence": each.sentence, "remedy": each.remedy}
        for each in findings
    ]
    whole = {"data": data_of(settings), "verdict": verdict(findings), "findings": listed}
    write_atomically(file, json.dumps(whole, indent=2) + "\n")


def read_inspection(settings: DataSettings, runs: Path) -> KeptInspection | None:
    """Returns the inspection of some data, None if there is none that can be read.

    It is looked for where --mode=inspect writes by itself, and in the folder of other runs.
    """
    for folder in dict.fromkeys((runs / default_folder(settings).name, default_folder(settings))):
        with suppress(UserError, ValueError, KeyError):
            kept = read_object(folder / KEPT_FILE, "inspect again")
            if kept.get("data") == data_of(settings):
                listed = conform(kept.get("findings"), tuple[Mapping[str, Any], ...], "findings")
                findings = tuple(map(_finding, listed))
                return KeptInspection(folder, str(kept.get("verdict", "")), findings)
    return None


def _finding(kept: Mapping[str, Any]) -> Finding:
    return Finding(Level[kept["level"]], str(kept["sentence"]), str(kept["remedy"]))
