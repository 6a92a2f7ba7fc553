"""--mode=evaluate: how good a trained classifier is on images that it has not seen."""

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from classify.figures import draw_figures
from classify.flags import ClassifyOptions
from classify.inference import BATCH, Inference, known_temperature, load_inference
from classify.operating_point import (
    YOUDEN,
    choose,
    findings,
    known_thresholds,
    read_wanted,
    scores_at,
)
from classify.outputs import Outputs
from classify.verdict import verdict
from common.data.findings import outputs_of
from common.data.prepared.prepared import Split
from common.program.errors import UserError
from common.program.log import log
from common.run_page.write import show_evaluation
from common.runs.evaluation import (
    EVALUATION,
    HeldOut,
    Unseen,
    average_of,
    evaluation_outputs,
    held_out,
    once_each,
    write_report,
    write_table,
)
from common.runs.workdir import Run
from common.scores.bootstrap import Score
from common.scores.classification import (
    Labels,
    Predicted,
    intervals,
    score_of_class,
    temperature,
)
from common.unlike.run import Unlike, distances_to_training, unlike_sentence, with_distances

SCORED = "scored_images.csv"
_FORMERLY = "predictions.csv"  # of evaluations by earlier versions
_FIGURES = "figures.png"
_NO_VALIDATION = "nothing: no validation images beside those that are scored"
_MOST_SHOWN = 5  # classes
_SHOWN_OF_EACH = ("f1", "sensitivity", "specificity")
_SHOWN = ("accuracy", "balanced_accuracy", "f1_macro", "roc_auc_macro", "pr_auc_macro", "ece")


def evaluate(run: Run, options: ClassifyOptions) -> None:
    """Writes evaluation.json, scored_images.csv and figures.png.

    It scores the run's split "test", or "val" if there is none; then it says so. With --split=val
    it scores "val", of an ensemble of folds that of all, each by its own members. With --input it
    scores the images of another folder, which may lack some of the run's classes: it names the
    scores that then have no value, and they are null in the file. Probabilities are those of the
    logits divided by a temperature, which is fitted on "val" and changes no decision; scores
    without it are reported, too. Each class has an operating point: a threshold that is chosen on
    "val", and the scores at it.

    Raises:
      UserError: nothing is held out, or the data, a folder or the checkpoint can't be used.
    """
    _check(run, options)
    with evaluation_outputs(run, options) as outputs:
        # Where this table is, the evaluation is whole.
        outputs.claim(dict.fromkeys((EVALUATION, _FIGURES, SCORED), ""))
        found = _evaluated(run, options, outputs.drafts)
    _print_summary(found, outputs.folder)
    show_evaluation(run, outputs.folder)


def _check(run: Run, options: ClassifyOptions) -> None:
    """Refuses invalid options."""
    read_wanted(options.operating_point)
    if options.operating_point and options.input:
        raise UserError(
            f"--operating_point={options.operating_point} is chosen on the run's validation images;"
            " run --mode=evaluate with it without --input first, and its thresholds are used here."
        )
    names = outputs_of(run.card.classes)
    if options.positive not in ("", *names):
        raise UserError(
            f"--positive is '{options.positive}'; the run's classes are {', '.join(names)}."
        )


class _Classified(NamedTuple):
    """The classifier's logits for images, and their true classes."""

    logits: Float[np.ndarray, "images classes"]
    labels: Labels


@dataclass(frozen=True)
class Point:
    """A class's operating point: the probability from which on it is found, and what follows."""

    threshold: float
    scores: Mapping[str, Score]


@dataclass(frozen=True)
class Evaluation:
    """What is known of a classifier at a step.

    Attributes:
      step: of its checkpoint.
      held: the images that were scored.
      classes: their names.
      average: the views of each image that were averaged over.
      temperature: that logits are divided by.
      fitted_on: what the temperature was fitted on.
      goal: of the operating points, as --operating_point has it.
      points: by class.
      chosen_on: what the points were chosen on.
      predicted: the predictions.
      scores: by name.
      plain_scores: without the temperature.
      unlike: how far the images are outside those of the training; None if that is unknown.
    """

    step: int
    held: HeldOut
    classes: tuple[str, ...]
    average: str
    temperature: float
    fitted_on: str
    goal: str
    points: Mapping[str, Point]
    chosen_on: str
    predicted: Predicted
    scores: Mapping[str, Score]
    plain_scores: Mapping[str, Score]
    unlike: Unlike | None

    @property
    def images_of_classes(self) -> list[int]:
        """Returns how many images each class has."""
        return list(map(int, self.predicted.truth.sum(0)))

    @property
    def verdict(self) -> str:
        """Returns it in words."""
        return verdict(self.scores, self.predicted, self.classes, self.held)

    def report(self) -> dict[str, object]:
        """Returns the content of evaluation.json."""
        return {
            "verdict": self.verdict,
            "checkpoint_step": self.step,
            **self.held.facts,
            "classes": self.classes,
            "images_of_classes": self.images_of_classes,
            "average": self.average,
            "temperature": self.temperature,
            "temperature_fitted_on": self.fitted_on,
            "operating_point": self.goal,
            "operating_points_chosen_on": self.chosen_on,
            "operating_points": {
                name: {"threshold": point.threshold, **point.scores}
                for name, point in self.points.items()
            },
            "confusion": self.predicted.confusion(len(self.classes)).tolist(),
            "scores": self.scores,
            "scores_without_temperature": self.plain_scores,
            "unlike": self.unlike,
        }


def _evaluated(run: Run, options: ClassifyOptions, output: Path) -> Evaluation:
    """Scores the images; writes all files into a folder."""
    average = average_of(run, options.average) if options.input else options.average
    loaded = once_each(partial(load_inference, average=average))
    (inference, step), held = loaded(run), held_out(run, options)
    split, outputs = held.split, inference.outputs
    classes = outputs.names
    label_of = outputs.labels_for(held.card.name, held.card.classes)
    log.info("scoring %d images of %s, %s, at step %d", len(split), held.card.name, held.name, step)
    validation = _classified(held.validation, loaded, label_of) if held.validation else None
    fitted, fitted_on = _temperature(run, options, validation, step)
    thresholds, chosen_on = _thresholds(run, options, validation, outputs, fitted, step)
    logits, labels = _classified(held.parts, loaded, label_of)
    distances = distances_to_training(held.parts)
    predicted, plain = (
        Predicted(split.ids, split.groups, labels, outputs.probabilities(logits, one))
        for one in (fitted, 1.0)
    )
    found = Evaluation(
        step=step,
        held=held,
        classes=classes,
        average=average,
        temperature=fitted,
        fitted_on=fitted_on,
        goal=options.operating_point or YOUDEN,
        points={
            name: Point(value, scores_at(predicted, classes.index(name), value))
            for name, value in thresholds.items()
        },
        chosen_on=chosen_on,
        predicted=predicted,
        scores=intervals(predicted, classes),
        plain_scores=intervals(plain, classes),
        unlike=Unlike.of(distances),
    )
    write_report(output, found.report())
    draw_figures(predicted, plain, classes, output / _FIGURES, held.card.caption)
    rows = scored_rows(predicted, classes, thresholds)
    write_table(output / SCORED, with_distances(rows, split.ids, distances))
    return found


def _classified(
    parts: Sequence[Unseen],
    loaded: Callable[[Run], tuple[Inference, int]],
    label_of: np.ndarray,
) -> _Classified:
    """Classifies images, each by the run that has not seen it.

    Args:
      parts: the images.
      loaded: returns the classifier of a run.
      label_of: what the images of each class of the data show.
    """
    found = [logits_of(split, loaded(run)[0]) for split, run in parts]
    logits, labels = (np.concatenate(values) for values in zip(*found, strict=True))
    return _Classified(logits, label_of[labels])


def logits_of(split: Split, inference: Inference) -> _Classified:
    """Returns the logits and the labels of a split, some images at a time in memory."""
    logits, labels = [], []
    for start in range(0, len(split), 8 * BATCH):
        examples = split.read(range(start, min(start + 8 * BATCH, len(split))))
        logits.append(inference.logits(examples["image"]))
        labels.append(examples["label"])
    return _Classified(np.concatenate(logits), np.concatenate(labels).astype(np.int64))


def scored_rows(
    predicted: Predicted, classes: tuple[str, ...], thresholds: Mapping[str, float]
) -> Iterator[dict[str, object]]:
    """Yields a row of a table for each image; its probabilities are read back exactly."""
    outputs = Outputs(classes, predicted.labels.ndim == 2, np.eye(len(classes), dtype=bool))
    for i, name in enumerate(predicted.ids):
        yield {
            "image": name,
            "patient": predicted.groups[i],
            "truth": outputs.label_of(predicted.truth[i]),
            "label": outputs.label_of(predicted.probabilities[i]),
            **{
                f"probability_{known}": share
                for known, share in zip(classes, predicted.probabilities[i].tolist(), strict=True)
            },
            **findings(predicted.probabilities[i], classes, thresholds),
        }


def scored_images(folder: Path) -> Path:
    """Returns the table in the folder of an evaluation, which earlier versions named otherwise."""
    file, former = folder / SCORED, folder / _FORMERLY
    return former if former.exists() and not file.exists() else file


def read_scored_images(file: Path, classes: tuple[str, ...]) -> Predicted:
    """Reads the table that `evaluate` wrote.

    Raises:
      UserError: it is damaged.
    """
    try:
        with file.open(newline="") as stream:
            rows = list(csv.DictReader(stream))
        return Predicted(
            tuple(row["image"] for row in rows),
            tuple(row["patient"] for row in rows),
            np.array([classes.index(row["truth"]) for row in rows]),
            np.array([[float(row[f"probability_{name}"]) for name in classes] for row in rows]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{file} is damaged ({error}); remove it and run the same command again."
        ) from error


def _temperature(
    run: Run, options: ClassifyOptions, validation: _Classified | None, step: int
) -> tuple[float, str]:
    """Returns the temperature and what it was fitted on."""
    if options.input:
        known = known_temperature(run, step)
        return (known, "the run's own evaluation") if known else (1.0, "nothing")
    if validation is None:
        return 1.0, _NO_VALIDATION
    return temperature(validation.logits, validation.labels), "val"


def _thresholds(
    run: Run,
    options: ClassifyOptions,
    validation: _Classified | None,
    outputs: Outputs,
    fitted: float,
    step: int,
) -> tuple[Mapping[str, float], str]:
    """Returns the probability from which on each class is found, and what it was chosen on."""
    if options.input:
        found = known_thresholds(run, step)
        chosen_on = (
            "the run's own evaluation" if found else "nothing: evaluate without --input first"
        )
    elif validation is None:
        found, chosen_on = {}, _NO_VALIDATION
    else:
        shares = outputs.probabilities(validation.logits, fitted)
        wanted = read_wanted(options.operating_point)
        found, chosen_on = choose(validation.labels, shares, outputs.names, wanted), "val"
    return {x: t for x, t in found.items() if options.positive in ("", x)}, chosen_on


def _print_summary(found: Evaluation, output: Path) -> None:
    print(found.held.headline(found.step))
    print(f"  {found.verdict}")
    shown = list(_SHOWN)
    if len(found.classes) <= _MOST_SHOWN:
        shown += [score_of_class(score, name) for score in _SHOWN_OF_EACH for name in found.classes]
    missing = [name for name in shown if not found.scores[name].is_known]
    for name in shown:
        if name not in missing:
            print(f"  {name:<28} {found.scores[name]}")
    for name, point in found.points.items():
        print(
            f"  {name} from a probability of {point.threshold:.4f} on"
            f" ({found.goal}, chosen on {found.chosen_on}):"
        )
        for score in ("sensitivity", "specificity"):
            if point.scores[score].is_known:
                print(f"    {score:<26} {point.scores[score]}")
    if not found.points:
        print(f"  no operating point (chosen on {found.chosen_on})")
    if missing:
        counts = zip(found.classes, found.images_of_classes, strict=True)
        absent = [name for name, images in counts if not images]
        why = f", as no image is of {' or '.join(absent)}" if absent else ""
        print(f"  without a value{why}: {', '.join(missing)}")
    print(f"  temperature {found.temperature:.3f} (fitted on {found.fitted_on})")
    print(f"  {unlike_sentence(found.unlike)}")
    print(f"  written to {output}")
