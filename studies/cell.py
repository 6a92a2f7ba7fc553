"""A cell: one ordinary run of a study, trained and evaluated in its own workdir."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from ml_collections import ConfigDict

from common.config.tasks import find_mode, options_of, with_defaults
from common.program.errors import DivergenceError
from common.program.files import write_atomically
from common.program.json_files import read_object
from common.program.options import Options
from common.program.settings import flatten, to_json
from common.runs.evaluation import EVALUATION, evaluation_folder
from common.runs.workdir import open_run
from common.training.train import train
from studies.finished import Figures

_FINISHED = "finished"  # in a cell's workdir, if `Cell.run` has come to its end: its options
# Settings that do not change what a run finds.
_WITHOUT_EFFECT = (
    *("data.dir", "data.cache_dir", "data.resident_limit_mb"),
    *("train.low_memory", "train.trackers", "train.replicas"),
)
# Settings of a task that are younger than the first files of finished cells, or their sections. At
# their defaults, with which a run is as before there were any, they count for nothing: such files
# stay valid.
_OF_ALL = (
    *("train.on_divergence", "train.rollbacks", "train.init_from", "train.batch_norm"),
    *("data.balance", "data.take", "data.equal_pairs", "data.train_images", "data.neighbours"),
    *("data.labels_per_class", "data.labels_seed", "data.unlabelled", "data.labelled_patients"),
)
_YOUNGER = {
    "gan": (
        *("adaptive_augment.", "consistency_augment.", "optimizer.accumulate"),
        *("optimizer.generator.freeze", "optimizer.discriminator.freeze"),
        *("loss.class_loss", "loss.class_of_generated", "loss.class_weight_rise"),
        *("loss.consistency_", "loss.decoding"),
        *("loss.feature_matching", "loss.generator_weight"),
        *("loss.lecam", "loss.orthogonality", "loss.r2", "loss.spread"),
    ),
    "unet": (
        *("optimizer.accumulate", "optimizer.frozen"),
        *("model.encoder", "model.weights"),
        *("model.residual_blocks", "model.deep_supervision"),
    ),
}


class StoppedError(Exception):
    """A signal ended a cell before its end."""


@dataclass(frozen=True)
class Cell:
    """A run of a study; a study whose runs do more derives a class of its own for them.

    Attributes:
      name: of its workdir in WORKDIR/cells: "64_0/gan".
      config: of the run.
      requires: names of cells whose files it needs.
      options: the flags of its evaluation; None for their defaults.
      evaluated: whether it is; a member of an ensemble is not.
    """

    name: str
    config: ConfigDict
    requires: tuple[str, ...] = ()
    options: Options | None = None
    evaluated: bool = True

    @property
    def title(self) -> str:
        """Returns what the log calls it."""
        return self.name

    @property
    def flags(self) -> Mapping[str, object]:
        """Returns the flags of its evaluation that are not at their defaults."""
        if self.options is None:
            return {}
        given, before = asdict(self.options), asdict(options_of(self.config.task)())
        return {name: value for name, value in given.items() if value != before.get(name)}

    def run(self, workdir: Path) -> bool:
        """Trains and, if it is to be, evaluates, from where it was stopped.

        Returns whether it came to its end; a signal may end it before.

        Raises:
          UserError, DivergenceError: a setting or the data is invalid, or training failed.
        """
        mark = workdir / _FINISHED
        mark.unlink(missing_ok=True)
        try:
            if not train(self.config, workdir):
                return False
        except DivergenceError as error:
            raise DivergenceError(error.what, "Give these runs other settings.") from error
        if self.evaluated:
            evaluate = find_mode(self.config.task, "evaluate")
            evaluate(open_run(workdir), self._options)
        write_atomically(mark, self._done)
        return True

    def is_finished(self, workdir: Path) -> bool:
        """Returns whether `run` has come to its end with this config.

        Raises:
          UserError: a file of the run is damaged.
        """
        mark = workdir / _FINISHED
        if not mark.exists() or (self.evaluated and not self._report(workdir).exists()):
            return False
        same = effective(open_run(workdir).config) == effective(self.config)
        return same and mark.read_text() == self._done

    @property
    def _options(self) -> Options:
        """Returns the flags of its evaluation."""
        return self.options or options_of(self.config.task)()

    @property
    def _done(self) -> str:
        """Returns what a finished cell is marked with: the flags of its evaluation as JSON."""
        if not self.evaluated:
            return "trained"
        return json.dumps(asdict(self.options) if self.options else {}, sort_keys=True)

    def _report(self, workdir: Path) -> Path:
        """Returns the file of its evaluation."""
        return workdir / evaluation_folder(self._options) / EVALUATION

    def figures(self, workdir: Path) -> Figures:
        """Returns the numbers of the evaluation: {"scores.accuracy.value": 0.9}; {} without one.

        Raises:
          UserError: it is damaged.
        """
        if not self.evaluated:
            return {}
        report = read_object(self._report(workdir), "remove it and run the same command again")
        return {name: x for name, x in flatten(report) if type(x) in (int, float)}


def effective(config: ConfigDict) -> Mapping[str, object]:
    """Returns the settings that what a run finds depends on, as read from JSON."""
    task = config.get("task")
    settings, before = _settings(config), _settings(ConfigDict({"task": task}))
    younger = (*_OF_ALL, *_YOUNGER.get(task, ()))
    return {
        name: value
        for name, value in settings.items()
        if name not in _WITHOUT_EFFECT
        and not (name.startswith(younger) and value == before.get(name))
    }


def _settings(config: ConfigDict) -> Mapping[str, object]:
    return dict(flatten(json.loads(to_json(with_defaults(config)))))
