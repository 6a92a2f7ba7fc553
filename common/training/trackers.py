"""MLflow and Weights & Biases: `config.train.trackers` names where a run is followed, too.

Both write into the workdir; nothing is sent anywhere unless the user's environment names a server.
A tracker that fails is dropped, and training goes on.
"""

import importlib.util
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Protocol, runtime_checkable

from common.program.errors import UserError
from common.program.files import write_atomically
from common.program.json_files import conform, read_object
from common.program.log import log
from common.program.settings import flatten
from common.report.images import Picture
from common.runs.manifest import reason_of
from common.runs.workdir import Run
from common.training.event_files import MetricWriter
from common.training.followed import Followed
from common.training.mlflow_tracker import MLflowTracker
from common.training.wandb_tracker import WandbTracker

_ADVICE = "remove it, and a tracker begins anew"
_KNOWN = Mapping[str, Mapping[str, str]]
FILE = "trackers.json"  # in the workdir: under which identifier each tracker knows the run


@runtime_checkable
class Tracker(MetricWriter, Protocol):
    """A run in a tracker; closing it ends this session of the run.

    Attributes:
      identifier: of the run, under which the next session goes on.
      where: how people see it.
    """

    identifier: str
    where: str


# Each opens a tracker; its package is imported then.
OPENERS: dict[str, Callable[[Followed], Tracker]] = {
    "mlflow": MLflowTracker,
    "wandb": WandbTracker,
}


def named_trackers(setting: str) -> list[str]:
    """Returns the names in `config.train.trackers`, each once."""
    return list(dict.fromkeys(name for name in setting.split(",") if name))


def check_installed(setting: str) -> None:
    """Refuses a tracker whose package is missing; imports none.

    Raises:
      UserError: naming it, and how to install it.
    """
    for name in named_trackers(setting):
        found = importlib.util.find_spec(name)
        if found is None or found.origin is None:  # or a folder of that name, as W&B makes one
            raise UserError(
                f"config.train.trackers names {name}, which is not installed; install it with"
                f" pip install -e '.[{name}]', or set --config.train.trackers=''."
            )


class Trackers:
    """The trackers of a run as one writer; each is opened at the first write.

    Attributes:
      warnings: a sentence for each that failed.
    """

    def __init__(self, workdir: Path, settings: Mapping[str, object], names: list[str]) -> None:
        """Opens nothing yet.

        Args:
          workdir: of the run.
          settings: of the run, by name.
          names: of the trackers.
        """
        self.warnings: list[str] = []
        self._workdir, self._settings = workdir, settings
        self._waiting, self._open = list(names), dict[str, Tracker]()

    def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        """Writes numbers at a step."""
        self._open_all()
        self._each(lambda tracker: tracker.write_scalars(step, scalars))

    def write_images(self, step: int, images: Mapping[str, Picture]) -> None:
        """Writes pictures at a step."""
        self._open_all()
        self._each(lambda tracker: tracker.write_images(step, images))

    def close(self) -> None:
        """Closes those that are open."""
        self._each(lambda tracker: tracker.close())

    def _open_all(self) -> None:
        while self._waiting:
            name = self._waiting.pop(0)
            try:
                self._open[name] = self._opened(name)
            except Exception as error:
                self._warn(name, error)

    def _opened(self, name: str) -> Tracker:
        known = _known(self._workdir)
        identifier = known.get(name, {}).get("identifier", "")
        tracker = OPENERS[name](Followed(self._workdir, self._settings, identifier))
        known[name] = {"identifier": tracker.identifier, "where": tracker.where}
        write_atomically(self._workdir / FILE, json.dumps(known, indent=2) + "\n")
        return tracker

    def _each(self, work: Callable[[Tracker], None]) -> None:
        for name, tracker in [*self._open.items()]:
            try:
                work(tracker)
            except Exception as error:
                del self._open[name]
                self._warn(name, error)

    def _warn(self, name: str, error: Exception) -> None:
        sentence = f"The tracker {name} failed ({reason_of(error)}); the run goes on without it."
        log.warning("%s", sentence)
        self.warnings.append(sentence)


def trackers_of(run: Run) -> Trackers:
    """Returns the trackers that a run's settings name."""
    names = named_trackers(run.settings.train.trackers)
    return Trackers(run.workdir, dict(flatten(run.config)), names)


def places_of(workdir: Path, setting: str) -> dict[str, str]:
    """Returns where to look at a run in each tracker that the setting names, by its name."""
    known: dict[str, dict[str, str]] = {}
    with suppress(UserError):  # a warning has said it
        known = _known(workdir)
    return {name: known[name]["where"] for name in named_trackers(setting) if name in known}


def _known(workdir: Path) -> dict[str, dict[str, str]]:
    """Returns identifier and place of the run in each tracker that has followed it.

    Raises:
      UserError: the file is damaged.
    """
    file = workdir / FILE
    if not file.exists():
        return {}
    try:
        known: dict[str, dict[str, str]] = conform(read_object(file, _ADVICE), _KNOWN, "trackers")
    except ValueError as error:
        raise UserError(f"{file} is damaged: {error}; {_ADVICE}.") from error
    return known
