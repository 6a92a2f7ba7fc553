"""What every task's --mode=evaluate shares: the images to score, and the place of the report."""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from common.data.prepared.joined import joined
from common.data.prepared.prepared import DataCard, Prepared, Split, prepare
from common.data.settings import DataSettings
from common.program.errors import GroupError, RetrainError, UserError
from common.program.files import csv_line, user_path, write_atomically
from common.program.json_files import conform, read_object
from common.program.log import log
from common.program.options import Options
from common.program.outputs import Outputs
from common.runs.workdir import Run, check_data

Loaded = TypeVar("Loaded")

EVALUATION = "evaluation.json"
FOLDER = "evaluation"  # in the workdir
_FEW = 10  # patients


@dataclass(frozen=True)
class Counts:
    """How many images a score is of, and of how many patients.

    Attributes:
      images: all of them.
      patients: how many are known; None if none is.
      images_of_unknown_patients: each counts as a patient.
      intervals_over: "patients", or "images" if no patient is known.
    """

    images: int
    patients: int | None
    images_of_unknown_patients: int
    intervals_over: str

    @property
    def told(self) -> str:
        """Returns them in words: "12 images of 3 patients"."""
        unknown = self.images_of_unknown_patients
        sentence = f"{self.images} image{'s' * (self.images != 1)} of "
        if self.patients is None:
            return f"{sentence}unknown patients, each counted as one"
        sentence += f"{self.patients} patient{'s' * (self.patients != 1)}"
        if unknown:
            sentence += f"; of {unknown} image{'s' * (unknown != 1)} the patient is unknown,"
            sentence += f" {'each of which' if unknown > 1 else 'which'} counts as one"
        return sentence


class Unseen(NamedTuple):
    """Images, and the run that was not trained on them: of an ensemble of folds, some members."""

    split: Split
    run: Run


class HeldOut(NamedTuple):
    """Images to score.

    Attributes:
      card: of their data.
      split: the images.
      name: of the split: "test", "val", or "all" of another folder.
      data: how they are read.
      parts: the same images, each with who scores it.
      validation: images to choose thresholds and temperatures on; () if there are none, if they are
        the scored images, or if the run's own evaluation has already chosen.
      train: the run's training images; None if those of another folder are scored.
    """

    card: DataCard
    split: Split
    name: str
    data: DataSettings
    parts: tuple[Unseen, ...]
    validation: tuple[Unseen, ...] = ()
    train: Split | None = None

    @property
    def facts(self) -> dict[str, object]:
        """Returns what a report says about them."""
        return {
            "data": self.card.name,
            "synthetic": self.card.synthetic,
            "split": self.name,
            "chose_the_checkpoint": self.chose_the_checkpoint,
            "cross_validated": self.cross_validated,
            **asdict(self.counts),
            "image_size": self.card.image_size,
        }

    @property
    def counts(self) -> Counts:
        """Returns how many images and patients there are."""
        return counts_of(self.split.groups)

    @property
    def cross_validated(self) -> bool:
        """Returns whether several runs score the images, each those that it has not seen."""
        return len(self.parts) > 1

    @property
    def chose_the_checkpoint(self) -> bool:
        """Returns whether the images chose the checkpoints that score them."""
        best = (part.run.settings.train.best_metric for part in self.parts)
        return self.name == "val" and all(best)

    @property
    def caveats(self) -> list[str]:
        """Returns sentences for a verdict: what keeps scores of these images from saying more."""
        counts, found = self.counts, []
        if self.chose_the_checkpoint:
            found.append("These images also chose the checkpoint, so the scores are too high.")
        if (counts.patients or counts.images) < _FEW:
            found.append(f"So few {counts.intervals_over} say little of others.")
        if self.card.synthetic:
            found.append("These are drawings, not patients.")
        return found

    def headline(self, step: int) -> str:
        """Returns the first line of what an evaluation at a step says."""
        counts = self.counts
        name = "val, cross-validated" if self.cross_validated else self.name
        return (
            f"{counts.told} ({self.card.name}, {name}), step {step}; 95 % intervals over"
            f" {counts.intervals_over}"
        )


def counts_of(groups: Sequence[str]) -> Counts:
    """Counts images and patients.

    Args:
      groups: the group of each image; "" is unknown and counts as one patient.
    """
    known = [group for group in groups if group]
    return Counts(
        images=len(groups),
        patients=len(set(known)) if known else None,
        images_of_unknown_patients=len(groups) - len(known),
        intervals_over="patients" if known else "images",
    )


def evaluation_outputs(run: Run, options: Options) -> Outputs:
    """Returns the outputs of an evaluation, by default in the workdir; other data need a folder.

    An evaluation of the same data replaces the earlier one. Results are published together: a
    command that fails leaves the earlier ones.
    """
    data = run.settings.data
    read = [user_path(path) for path in (options.input, data.dir, data.unlabelled_dir) if path]
    return Outputs(
        Path(options.output) if options.output else run.workdir / evaluation_folder(options),
        "evaluate",
        of=str(read[0].resolve()) if options.input else "",
        overwrite=options.overwrite,
        again=not options.output,
        inputs=read,
    )


def evaluation_folder(options: Options) -> str:
    """Returns the name of an evaluation's folder in the workdir."""
    if options.input:
        return f"{FOLDER}-{user_path(options.input).resolve().name}"
    return FOLDER if options.split == "test" else f"{FOLDER}_{options.split}"


def held_out(run: Run, options: Options) -> HeldOut:
    """Returns the images to score: the run's "test", else or by --split "val"; or those of --input.

    The validation images of an ensemble of folds are those of all folds; each is scored by the
    members that were not trained on it.

    Raises:
      UserError: nothing is held out, the data has changed, or it can't be read.
    """
    if options.input:
        if options.split != "test":
            raise UserError("--split names images of the run's own data; leave it or --input out.")
        return _other(run, options.input)
    folds = [(_prepared(some.members[0]), some) for some in _by_data(run)]
    test, validation = _test_of(folds, run), _validation_of(folds)
    card, splits = folds[0][0].card, folds[0][0].splits
    data = run.settings.data
    if test and options.split == "test":
        return HeldOut(card, test, "test", data, (Unseen(test, run),), validation, splits["train"])
    if validation:
        if options.split == "test":
            log.warning(
                "There is no test split: the scores are of the validation images, which also chose"
                " the checkpoint, so they are too high."
            )
        split = joined([part.split for part in validation])
        return HeldOut(card, split, "val", data, validation, train=splits["train"])
    if test:
        raise RetrainError(f"{run.workdir} has no validation images; leave out --split=val.")
    raise RetrainError(
        f"{card.name} has nothing held out: all images are for training; train with"
        " --config.data.splits=70,15,15, or name a folder of other images with --input=DIR."
    )


def once_each(load: Callable[[Run], Loaded]) -> Callable[[Run], Loaded]:
    """Returns `load`, which then loads each run, or some members of an ensemble, only once."""
    known: dict[tuple[Path, ...], Loaded] = {}

    def loaded(run: Run) -> Loaded:
        members = tuple(member.workdir for member in run.members)
        if members not in known:
            known[members] = load(run)
        return known[members]

    return loaded


def _by_data(run: Run) -> list[Run]:
    """Returns an ensemble's members that have the same splits as one run each; a run as it is."""
    by_data: dict[str, list[Run]] = {}
    for member in run.members:
        by_data.setdefault(member.card.fingerprint, []).append(member)
    if len(by_data) == 1:
        return [run]
    return [
        Run(run.workdir, some[0].config, some[0].card, tuple(some)) for some in by_data.values()
    ]


def _prepared(run: Run) -> Prepared:
    """Returns the data of a run, which must be those that it was trained on."""
    prepared = prepare(run.config.data)
    check_data(Run(run.workdir, run.config, prepared.card))
    return prepared


def _test_of(folds: Sequence[tuple[Prepared, Run]], run: Run) -> Split | None:
    """Returns the test images, which must be new to all members."""
    first, *others = (prepared.splits.get("test") for prepared, _ in folds)
    ids = {frozenset(test.ids if test else ()) for test in (first, *others)}
    if len(ids) > 1:
        raise UserError(
            f"The members of {run.workdir} have not held out the same test images; name a folder"
            " of other images with --input=DIR."
        )
    return first


def _validation_of(folds: Sequence[tuple[Prepared, Run]]) -> tuple[Unseen, ...]:
    """Returns the validation images of each fold; () if some are of several folds."""
    parts = [(prepared.splits.get("val"), run) for prepared, run in folds]
    found = tuple(Unseen(split, run) for split, run in parts if split is not None)
    ids = [name for part in found for name in part.split.ids]
    if len(set(ids)) < len(ids):
        log.warning("The members' validation images overlap: nothing is chosen on them.")
        return ()
    return found


def _other(run: Run, folder: str) -> HeldOut:
    """Returns the images of another folder, read like the run's: its "test", or all of them."""
    data = replace(run.settings.data, dir=folder, url="", name="", classes="", only="")
    data = replace(data, splits="", held_out="", folds=0, fold=0, copies="keep")
    data = replace(data, channels=run.card.slice_channels)
    prepared = _prepared_by_group(data)
    if "test" in prepared.splits:
        test = prepared.splits["test"]
        return HeldOut(prepared.card, test, "test", data, (Unseen(test, run),))
    everything = joined(list(prepared.splits.values()))
    return HeldOut(prepared.card, everything, "all", data, (Unseen(everything, run),))


def _prepared_by_group(data: DataSettings) -> Prepared:
    """Prepares data whose files may be named differently, by patient if possible."""
    try:
        return prepare(data.section)
    except GroupError as error:
        log.warning("Patients are unknown, so every image counts as one: %s", error)
        return prepare(replace(data, group="").section)


def write_report(output: Path, report: Mapping[str, object], name: str = EVALUATION) -> None:
    """Writes a report as JSON: a dataclass as an object, and NaN, which JSON lacks, as null."""
    write_atomically(output / name, json.dumps(_json(report), indent=2) + "\n")


def write_table(file: Path, rows: Iterable[Mapping[str, object]]) -> None:
    """Writes rows with equal columns as CSV, the whole file or nothing."""
    table = list(rows)
    lines = [csv_line(table[0]), *(csv_line(row.values()) for row in table)]
    write_atomically(file, "".join(lines))


def average_of(run: Run, given: str) -> str:
    """Returns --average, else that of the run's own evaluation, else "".

    Raises:
      UserError: evaluation.json is damaged.
    """
    return given or str(stored_value(run, "average", None, Any) or "")


def stored_value(run: Run, name: str, step: int | None, kind: Any) -> Any:
    """Returns a value of the run's own evaluation at this step, None if there is none.

    Args:
      run: the run.
      name: of the value in evaluation.json; "outer.inner" for one in an object.
      step: of the checkpoint; None if the value does not depend on it.
      kind: its type, as `conform` takes it.

    Raises:
      UserError: evaluation.json is damaged.
    """
    file = run.workdir / FOLDER / EVALUATION
    if not file.exists():
        return None
    advice = f"remove it and run --mode=evaluate --workdir={run.workdir} again"
    report = read_object(file, advice)
    try:
        known = conform(report.get("checkpoint_step"), int, "checkpoint_step")
        if step is not None and known != step:
            return None
        *outer, last = name.split(".")
        for part in outer:
            report = conform(report.get(part), Mapping[str, Any], part)
        return conform(report.get(last), kind, name)
    except ValueError as error:
        raise UserError(f"{file} is damaged: {error}; {advice}.") from error


def _json(value: object) -> object:
    if is_dataclass(value):
        return {field.name: _json(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {name: _json(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_json(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
