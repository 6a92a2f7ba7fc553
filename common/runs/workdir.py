"""The workdir of a run: its files, its owner and its record (run.json)."""

import fcntl
import json
import math
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from ml_collections import ConfigDict

from common.config.defaults import RunSettings
from common.config.tasks import folder_of, is_task, rules_of, task_in, with_defaults
from common.config.trusted import trust
from common.data.prepared.prepared import DataCard
from common.program.errors import RetrainError, UserError
from common.program.files import remove_leftovers, user_path, write_atomically
from common.program.json_files import conform, read_object
from common.program.log import log
from common.program.rules import rule_of
from common.program.settings import flatten, from_fields, to_json
from common.runs.changes import differences, told
from common.runs.checkpoints import Checkpoints
from common.runs.environment import environment
from common.runs.members import ENSEMBLE, check_member, checksum_of, read_members

State = TypeVar("State")
Changes: TypeAlias = dict[str, tuple[Any, Any]]  # differing settings: before, now

RECORD = "run.json"
_WRITTEN = (  # what runs and studies write after the config
    *(RECORD, "metrics.jsonl", "metrics", "pictures", "checkpoints", "profile"),
    *("training_images.npz", "parameters.txt", "trackers.json", "report.html", "card.md"),
    *("images", "cells", "log.txt", "report.md", "utility.csv", "utility.json", "utility.png"),
)
_PART_OF_STEP = re.compile(r"\s*(\d+\.\d+)\s*(?:steps?)?\s*")
# Whole-number settings that earlier versions allowed more values of; others shape arrays.
_LOOSE = ("data.split_seed", "data.resident_limit_mb")
_HUGE = 1e9  # no version has trained with such a number, nor with NaN
_RESTORE = "restore it from a copy, or name another --workdir"
# Fields of the record that are read again, with their types.
_RECORDED = {
    "wall_seconds": float,
    "images_per_second": float,
    "flops_per_second_and_device": float,
    "idle_share": float,
    "data_wait_share": float,
    "metrics": Mapping[str, float],
    "warnings": tuple[str, ...],
    "utilisation": float,
    "step": int,
    "saved_step": int,
    "num_steps": int,
    "command": str,
    "config_changes": tuple[Mapping[str, Any], ...],
    "rollbacks": tuple[Mapping[str, Any], ...],
    "diverged": str,
    "pictures": tuple[str, ...],
    "numbers_bytes": int,
    "numbers_sha256": str,
}


@dataclass(frozen=True)
class Run:
    """An opened workdir: the input of all modes other than training.

    Attributes:
      workdir: its folder.
      config: its settings; of an ensemble, those of the first member.
      card: of its data, likewise.
      ensemble: the members of an ensemble; () for a run of its own.
      step: of the one checkpoint that may be used; None for the best.
    """

    workdir: Path
    config: ConfigDict
    card: DataCard
    ensemble: tuple["Run", ...] = ()
    step: int | None = None

    @cached_property
    def settings(self) -> RunSettings:
        """The settings that every run has; a task reads its own from the config."""
        return RunSettings.of(self.config)

    @property
    def members(self) -> tuple["Run", ...]:
        """Returns the runs whose predictions are averaged; a run of its own is the only one."""
        return self.ensemble or (self,)

    @property
    def checkpoints(self) -> Checkpoints:
        """The run's checkpoints; only training writes them."""
        train = self.settings.train
        return Checkpoints(
            self.workdir / "checkpoints", train.keep_last, train.best_metric, train.best_is
        )

    def best_state(self, like: State) -> tuple[int, State]:
        """Returns step and state of the best intact checkpoint, else of the newest.

        Raises:
          UserError: there is none, it does not fit `like`, or this is an ensemble.
        """
        if self.ensemble:
            raise UserError(
                f"{self.workdir} is an ensemble, which this mode does not take; name a member."
            )
        if self.step is not None:
            return self.step, self.checkpoints.restore(self.step, like)
        found = self.checkpoints.best(like)
        if found is None:
            raise UserError(f"{self.workdir} has no checkpoint yet; train it first.")
        return found


def open_run(workdir: Path) -> Run:
    """Opens a run that training has started, or an ensemble of such.

    Raises:
      UserError: the folder is neither, its files are damaged, or a member has changed.
    """
    workdir = user_path(workdir)
    if (workdir / ENSEMBLE).exists():
        return _open_ensemble(workdir)
    config_file, record_file = workdir / "config.json", workdir / RECORD
    if not config_file.exists() or not record_file.exists():
        if replicas := sorted(workdir.glob(f"seed*/{RECORD}")):
            raise UserError(
                f"{workdir} holds {len(replicas)} replicas, each with a run of its own; name the"
                f" --workdir of one, such as {replicas[0].parent}."
            )
        raise UserError(
            f"{workdir} holds no run (no config.json and run.json); name the --workdir of a run,"
            " or train one first with --config=FILE."
        )
    config = _config(workdir)
    _check_rules(config, config_file)
    card = _card(workdir, config)
    return Run(workdir, config, card)


def _open_ensemble(workdir: Path) -> Run:
    members = []
    for place, expected in read_members(workdir).items():
        member, checksum = pinned(open_run(place))
        check_member(place, checksum, expected, workdir)
        members.append(member)
    return Run(workdir, members[0].config, members[0].card, tuple(members))


def pinned(run: Run) -> tuple[Run, str]:
    """Returns a run that uses the checkpoint chosen now and no other, and its checksum.

    Raises:
      UserError: there is no checkpoint, or it has no checksums.
    """
    step = run.checkpoints.chosen_step()
    if step is None:
        raise UserError(f"{run.workdir} has no checkpoint that can be used; train it first.")
    return replace(run, step=step), checksum_of(run.workdir, run.config, run.card, step)


def _check_rules(config: ConfigDict, file: Path) -> None:
    """Warns of settings that are refused today; an earlier version trained with them.

    Fractions of steps are rounded up, as they were then: "2.5" is "3".

    Raises:
      UserError: no version did: the file is damaged.
    """
    rules = rules_of(config.task)
    for name, value in flatten(config):
        rule = rule_of(name, value, rules)
        try:
            rule.check(f"config.{name}", value)
        except UserError as error:
            match = _PART_OF_STEP.fullmatch(value) if isinstance(value, str) else None
            if match and rule.holds(steps := str(math.ceil(float(match[1])))):
                config.update_from_flattened_dict({name: steps})
            elif not (name in _LOOSE or (isinstance(value, float) and abs(value) < _HUGE)):
                raise UserError(f"{file} is damaged: {error}") from error
            log.warning(
                "%s: %s A new run would be refused; this one is used unchanged.", file, error
            )


@contextmanager
def advised(workdir: Path, mode: str) -> Iterator[None]:
    """Adds to an error that advises a setting where to set it: only training takes --config.

    Raises:
      UserError: with that addition.
    """
    try:
        yield
    except UserError as error:
        if isinstance(error, RetrainError) or not error.advises_setting:
            raise
        message = str(error).rstrip(".")
        place = "MEMBER" if (workdir / ENSEMBLE).exists() else workdir
        raise UserError(
            f"{message} (--mode={mode} takes no --config: set it in {place}/config.json)."
        ) from error


def _config(workdir: Path) -> ConfigDict:
    """Returns the config in config.json.

    Raises:
      UserError: it is damaged.
    """
    file = workdir / "config.json"
    fields = read_object(file, _RESTORE)
    task_in(workdir)
    if not isinstance(fields.get("task"), str):
        raise UserError(f"{file} is damaged: it names no task; {_RESTORE}.")
    try:
        return with_defaults(from_fields(fields))
    except (ValueError, KeyError, TypeError, AttributeError, UserError) as error:
        raise UserError(f"{file} is damaged: {str(error).rstrip('.')}; {_RESTORE}.") from error


def _card(workdir: Path, config: ConfigDict) -> DataCard:
    """Returns the data card in run.json.

    Raises:
      UserError: it is damaged.
    """
    data = read_record(workdir).get("data")
    try:
        card = DataCard.from_dict(conform(data, Mapping[str, Any], "data"))
        for name, found in (("image_size", card.image_size), ("channels", card.slice_channels)):
            if config.data[name] not in (0, found):
                raise ValueError(f"{name!r} is {found}, but config.json differs")
    except ValueError as error:
        raise UserError(f"{workdir / RECORD} is damaged: {error}; {_RESTORE}.") from error
    return card


def claim(run: Run, step: int = 0, changed: Changes | None = None) -> None:
    """Writes the config and the first record of a run; call it after all checks.

    Args:
      run: the run.
      step: where it resumes.
      changed: settings that change; they are recorded once, before config.json has them.
    """
    record = {"data": run.card.to_dict(), **environment()}
    if folder := folder_of(run.config.task):
        record["task_folder"] = folder  # where the task is found again
        trust(Path(folder))
    if changed:
        earlier = read_record(run.workdir).get("config_changes", [])
        settings = json.loads(json.dumps(changed))  # as read back
        change = {"step": step, "settings": settings}
        record["config_changes"] = [*(x for x in earlier if x != change), change]
    update_record(run.workdir, record)
    config = ConfigDict(run.config.to_dict())
    for name in ("dir", "unlabelled_dir", "cache_dir"):  # absolute: found from anywhere
        if config.data.get(name) and "://" not in config.data[name]:
            config.data[name] = str(user_path(config.data[name]).absolute())
    write_atomically(run.workdir / "config.json", to_json(config))


@contextmanager
def exclusive(workdir: Path) -> Iterator[None]:
    """Creates the workdir if it is missing, and locks it against a second training run.

    The lock ends with the process, however that ends.

    Raises:
      UserError: it can't be written, or another run is using it.
    """
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        stream = (workdir / ".lock").open("a")
    except OSError as error:
        raise UserError(f"The workdir {workdir} can't be written: {error.strerror}.") from error
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(
                f"Another run is training in {workdir}; wait for it, or stop it."
            ) from error
        for folder in (workdir, workdir / "pictures"):
            remove_leftovers(folder)
        yield


def check_data(run: Run) -> None:
    """Refuses to resume a run whose data has changed.

    Raises:
      UserError: the pixels, labels or file names have changed.
    """
    if not (run.workdir / RECORD).exists():
        return
    # A study's config is not a run's, and not checked as one.
    earlier = _config(run.workdir)
    if _card(run.workdir, earlier).fingerprint != run.card.fingerprint:
        before, now = (config.data.get("copies") for config in (earlier, run.config))
        copies = (
            f" (config.data.copies was {before!r} and is now {now!r}: try"
            f" --config.data.copies={before})"
            if before != now
            else ""
        )
        raise UserError(
            f"The data of {run.card.name}, or how config.data reads and splits it, has changed"
            f" since the run in {run.workdir} began{copies}; choose another --workdir, or undo the"
            " change."
        )


def check_owner(
    workdir: Path, config: ConfigDict, *, restart: bool = False, allow_change: bool = False
) -> Changes:
    """Refuses a folder that another experiment has written to; reads no data.

    With `restart` a damaged config.json is ignored: everything is moved away.

    Returns:
      The settings that differ, if they may, by name: before and now.

    Raises:
      UserError: naming the differing fields, or files without a config.
    """
    if workdir.exists() and not workdir.is_dir():
        raise UserError(f"The workdir {workdir} is a file; choose another --workdir.")
    if (workdir / ENSEMBLE).exists():
        raise UserError(f"The workdir {workdir} is of an ensemble; choose another --workdir.")
    if not (workdir / "config.json").exists():
        if found := written_in(workdir):
            raise UserError(
                f"The workdir {workdir} has {', '.join(found)} but no config.json, so this"
                " program may not have written them; choose another --workdir."
            )
        return {}
    try:
        earlier = _config(workdir)
    except UserError:
        if restart:
            return {}
        raise
    now = with_defaults(config)
    changed = differences(earlier, now)
    if changed and not (allow_change and earlier.task == now.task):
        may = earlier.task == now.task and is_task(now.task)  # a study may not
        go_on = ", or resume with --allow_config_change" if may else ""
        raise UserError(
            f"The workdir {workdir} belongs to another config, which differs in"
            f" {told(changed)}; choose another --workdir{go_on}."
        )
    return changed


def written_in(workdir: Path) -> list[str]:
    """Returns the names of what a run or a study has written to a folder."""
    return [name for name in ("config.json", *_WRITTEN) if _holds_something(workdir / name)]


def _holds_something(path: Path) -> bool:
    """Returns whether a path is a non-empty file or folder."""
    return any(path.iterdir()) if path.is_dir() else path.exists() and path.stat().st_size > 0


def read_record(workdir: Path) -> dict[str, Any]:
    """Returns run.json, {} if there is none.

    Raises:
      UserError: it is damaged.
    """
    file = workdir / RECORD
    if not file.exists():
        return {}
    record = read_object(file, _RESTORE)
    try:
        return {
            name: conform(value, _RECORDED[name], name) if name in _RECORDED else value
            for name, value in record.items()
        }
    except ValueError as error:
        raise UserError(f"{file} is damaged: {error}; {_RESTORE}.") from error


def update_record(
    workdir: Path, fields: Mapping[str, object], without: Collection[str] = ()
) -> None:
    """Sets fields of run.json, removes those of `without`, and keeps the others."""
    kept = {name: x for name, x in read_record(workdir).items() if name not in without}
    record = {**kept, **fields}
    write_atomically(workdir / RECORD, json.dumps(record, indent=2) + "\n")
