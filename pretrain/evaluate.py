"""--mode=evaluate: do images with like features show the same, and did training make it so?"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from common.data.findings import may_be_several, outputs_of, shown_by
from common.data.prepared.prepared import Split
from common.data.records import UNLABELLED
from common.devices import placement
from common.devices.apply import in_batches
from common.learning.network import SupervisedState
from common.program.log import log
from common.report.images import write_picture
from common.run_page.write import show_evaluation
from common.runs.evaluation import EVALUATION, HeldOut, evaluation_outputs, held_out, write_report
from common.runs.workdir import Run
from common.scores.bootstrap import Score
from common.scores.classification import Predicted, intervals
from common.training import validation
from common.training.task import Task, make_task, new_state
from pretrain.config import PretrainSettings
from pretrain.flags import PretrainOptions
from pretrain.nearest import Features, Stored, nearest, picture_of_rows, votes
from pretrain.patients import with_patients
from pretrain.state import features_of, make_pretraining

_PICTURE = "nearest.png"
_AT_ONCE = 256  # images in memory
_BATCH = 32  # images whose features are computed at once
_SHOWN, _NEAREST_SHOWN = 8, 6
_PRINTED = ("roc_auc_macro", "accuracy", "balanced_accuracy", "f1_macro")


FeaturesOf = Callable[[Stored], Features]


class Both(NamedTuple):
    """The features of the training images, and of the held-out ones."""

    train: Features
    held_out: Features


@dataclass(frozen=True)
class Probe:
    """What the nearest training images say of held-out ones.

    Attributes:
      number: of nearest images.
      classes: that were told apart.
      images: training images with a label.
      scores: by name.
      untrained: the same scores, of the network as `config.model` makes it.
    """

    number: int
    classes: tuple[str, ...]
    images: int
    scores: Mapping[str, Score]
    untrained: Mapping[str, Score]


@dataclass(frozen=True)
class Evaluation:
    """What is known of a pretraining at a step.

    Attributes:
      step: of its checkpoint.
      held: the images that were scored.
      losses: the loss and its terms.
      probe: None if there are no classes to tell apart.
    """

    step: int
    held: HeldOut
    losses: Mapping[str, float]
    probe: Probe | None

    @property
    def verdict(self) -> str:
        """Returns it in words."""
        return " ".join((self._finding, *self.held.caveats))

    @property
    def _finding(self) -> str:
        if self.probe is None:
            return (
                f"The loss is {self.losses['loss']:.4g}; what the features are good for is not"
                " measured, as the training images with a label are not of several classes."
            )
        by_area = self.probe.scores["roc_auc_macro"].is_known
        score, words = ("roc_auc_macro", "AUC") if by_area else ("accuracy", "accuracy")
        return (
            f"The {self.probe.number} nearest training images tell the classes apart with"
            f" {words} {_told(self.probe.scores[score])}; by the features of the untrained network"
            f" {_told(self.probe.untrained[score])}."
        )

    def report(self) -> dict[str, object]:
        """Returns the content of evaluation.json."""
        return {
            "verdict": self.verdict,
            "checkpoint_step": self.step,
            **self.held.facts,
            "losses": self.losses,
            "nearest": self.probe,
        }


def evaluate(run: Run, options: PretrainOptions) -> None:
    """Writes evaluation.json and a picture of nearest images.

    It scores the run's split "test", or "val" if there is none or with --split=val: the loss, and
    how well the labels of the nearest training images tell those of the held-out ones.

    Raises:
      UserError: nothing is held out, or the data, a folder or the checkpoint can't be used.
    """
    with evaluation_outputs(run, options) as outputs:
        outputs.claim(dict.fromkeys((EVALUATION, _PICTURE), ""))
        found = _evaluated(run, options, outputs.drafts)
    _print_summary(found, outputs.folder)
    show_evaluation(run, outputs.folder)


def _evaluated(run: Run, options: PretrainOptions, output: Path) -> Evaluation:
    """Scores the images; writes all files into a folder."""
    task = make_task(run.config, run.card)
    untrained: SupervisedState = task.warm_start(new_state(task, run.settings.seed))
    step, state = run.best_state(untrained)
    held = held_out(run, options)
    assert held.train is not None  # those of another folder are never scored
    log.info("scoring %d images, %s, at step %d", len(held.split), held.name, step)
    compute = partial(features_of, make_pretraining(PretrainSettings.of(run.config), run.card))
    before, now = (in_batches(compute, each.average, _BATCH) for each in (untrained, state))
    losses, features = _losses(run, task, held.split, state), _of_both(held, now)
    found = Evaluation(step, held, losses, _probe(held, features, before, options.nearest))
    write_report(output, found.report())
    picture = _picture(held.split, held.train, features, held.card.caption)
    write_picture(output / _PICTURE, picture)
    return found


def _losses(
    run: Run, task: Task[SupervisedState], split: Split, state: SupervisedState
) -> dict[str, float]:
    """Returns the loss and its terms, by name."""
    placed = placement.replicate(state)
    losses = validation.HeldOut(run.settings, with_patients(split), task, placed)
    return {name.removeprefix("val/"): value for name, value in losses.measure(placed).items()}


def _probe(held: HeldOut, now: Both, before: FeaturesOf, number: int) -> Probe | None:
    """Returns what the nearest say, by the features of now and of before training."""
    assert held.train is not None
    card, train = held.card, held.train
    labels = _labels(train)
    labelled = np.flatnonzero(labels != UNLABELLED)
    if len(np.unique(labels[labelled])) < 2:
        return None
    shown, classes = shown_by(card.classes), outputs_of(card.classes)
    truth = _labels(held.split)
    scores = []
    for features in (now, _of_both(held, before)):
        found = nearest(features.held_out, features.train[labelled], number)
        shares = votes(found, shown[labels[labelled]])
        told = shown[truth] if may_be_several(card.classes) else truth
        predicted = Predicted(held.split.ids, held.split.groups, told, shares)
        scores.append(intervals(predicted, classes))
    return Probe(min(number, len(labelled)), classes, len(labelled), *scores)


def _labels(split: Split) -> Int[np.ndarray, " images"]:
    return np.array(
        split.labels or [split.read([place])["label"][0] for place in range(len(split))]
    )


def _of_both(held: HeldOut, compute: FeaturesOf) -> Both:
    assert held.train is not None
    return Both(*(_features(split, compute) for split in (held.train, held.split)))


def _features(split: Split, compute: FeaturesOf) -> Features:
    """Returns the features of a split, some images at a time in memory."""
    starts = range(0, len(split), _AT_ONCE)
    blocks = (range(start, min(start + _AT_ONCE, len(split))) for start in starts)
    return np.concatenate([compute(split.read(block)["image"]) for block in blocks])


def _picture(split: Split, train: Split, features: Both, caption: str) -> np.ndarray:
    """Returns held-out images, each beside the training images most like it."""
    some = np.linspace(0, len(split) - 1, min(_SHOWN, len(split)), dtype=int).tolist()
    images = split.read(some)["image"]
    found = nearest(features.held_out[some], features.train, _NEAREST_SHOWN)
    others = [train.read(places)["image"] for places in found.places.T.tolist()]
    title = f"an image of {caption}, and the training images most like it"
    return picture_of_rows([images, *others], title)


def _print_summary(found: Evaluation, output: Path) -> None:
    print(found.held.headline(found.step))
    print(f"  {found.verdict}")
    for name, value in found.losses.items():
        print(f"  {name:<28} {value:.4g}")
    if found.probe:
        for name in _PRINTED:
            if found.probe.scores[name].is_known:
                print(f"  {name:<28} {found.probe.scores[name]}")
    print(f"  written to {output}")


def _told(score: Score) -> str:
    return f"{score.value:.2f} [{score.low:.2f}, {score.high:.2f}]"
