"""What the files of a workdir say about a run, finished or not."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.config.tasks import declared_of
from common.inspect.kept import KeptInspection, read_inspection
from common.program.errors import UserError
from common.program.json_files import read_object
from common.program.settings import flatten
from common.report.series import drawn
from common.runs.evaluation import EVALUATION, FOLDER
from common.runs.rows import METRICS, read_rows
from common.runs.workdir import Run, read_record


@dataclass(frozen=True)
class Evaluated:
    """A folder with what --mode=evaluate found.

    Attributes:
      folder: in the workdir.
      found: the content of evaluation.json; {} if it is damaged.
      problem: what is wrong with it, or "".
    """

    folder: Path
    found: Mapping[str, Any]
    problem: str

    @property
    def verdict(self) -> str:
        """Returns it in words; "" in evaluations of earlier versions."""
        return str(self.found.get("verdict", ""))

    @property
    def words(self) -> str:
        """Returns what there is to say: the verdict, or why there is none."""
        if self.problem or self.verdict:
            return self.problem or self.verdict
        return "An earlier version evaluated it, without words."

    @property
    def where(self) -> str:
        """Returns the name of what was evaluated; "" for the run's own data."""
        return self.folder.name.removeprefix(FOLDER).lstrip("-_")


@dataclass(frozen=True)
class RunFiles:
    """What is known of a run.

    Attributes:
      run: the run, or the ensemble.
      record: run.json; {} of an ensemble.
      rows: of metrics.jsonl.
      pictures: of training, by series and by step.
      evaluations: the run's own first.
      inspection: of its data; None if none is found.
    """

    run: Run
    record: Mapping[str, Any]
    rows: tuple[Mapping[str, int | float], ...]
    pictures: Mapping[str, Mapping[int, Path]]
    evaluations: tuple[Evaluated, ...]
    inspection: KeptInspection | None

    @property
    def name(self) -> str:
        """Returns what people call it: the name of its folder."""
        return self.run.workdir.resolve().name

    @property
    def step(self) -> int:
        """Returns the last step of which anything is known."""
        return int(max([self.record.get("step", 0), *(row["step"] for row in self.rows)]))

    @property
    def settings(self) -> dict[str, Any]:
        """Returns every setting by its name."""
        return dict(flatten(self.run.config))

    @property
    def defaults(self) -> dict[str, Any]:
        """Returns the defaults of its task; {} if that is unknown."""
        declared = declared_of(self.run.config.task)
        return dict(flatten(declared.defaults())) if declared else {}

    @property
    def changed(self) -> dict[str, Any]:
        """Returns the settings that differ from the default of the task."""
        defaults = self.defaults
        return {
            name: value
            for name, value in self.settings.items()
            if plain(value) != plain(defaults.get(name))
        }

    @property
    def captions(self) -> Mapping[str, str]:
        """Returns what the pictures of an evaluation show, by their files, in order."""
        declared = declared_of(self.run.config.task)
        return declared.captions if declared else {}


def read_run(run: Run) -> RunFiles:
    """Reads the files of a run.

    Raises:
      UserError: run.json is damaged.
    """
    record = read_record(run.workdir)
    return RunFiles(
        run=run,
        record=record,
        rows=tuple(read_rows(run.workdir / METRICS)),
        pictures=_pictures(run.workdir / "pictures", record),
        evaluations=tuple(map(_evaluated, _evaluations(run.workdir))),
        inspection=read_inspection(run.settings.data, run.workdir.parent),
    )


def plain(value: object) -> object:
    """Returns a setting as JSON has it, where 1 is 1.0 and a tuple a list."""
    return list(value) if isinstance(value, tuple) else value


def _pictures(folder: Path, record: Mapping[str, Any]) -> Mapping[str, Mapping[int, Path]]:
    """Returns the pictures that the run recorded; of an early version, all that look like it."""
    if not folder.is_dir():
        return {}
    all_names = (file.stem.partition("_")[2] for file in folder.glob("*_*.png"))
    return drawn(folder, record.get("pictures") or set(all_names))


def _evaluations(workdir: Path) -> list[Path]:
    """Returns the folders of evaluations: "evaluation", then those of other data."""
    return sorted(file.parent for file in workdir.glob(f"{FOLDER}*/{EVALUATION}"))


def _evaluated(folder: Path) -> Evaluated:
    try:
        return Evaluated(folder, read_object(folder / EVALUATION, "evaluate again"), "")
    except UserError as error:
        return Evaluated(folder, {}, str(error))
