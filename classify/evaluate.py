"""--mode=evaluate: how good a trained classifier is on patients that it has not seen."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from classify.figures import draw_figures
from classify.inference import BATCH, Inference, known_temperature, load_inference, softmax
from classify.scores import Predicted, intervals, temperature
from common.data.prepared import Split
from common.errors import UserError
from common.log import log
from common.options import Options
from common.training.evaluation import (
    EVALUATION,
    HeldOut,
    evaluation_outputs,
    held_out,
    write_report,
    write_table,
)
from common.training.workdir import Run
from common.unlike.run import (
    distances_of,
    known_reference,
    unlike_facts,
    unlike_sentence,
    with_distances,
)

PREDICTIONS = "predictions.csv"
_FIGURES = "figures.png"
_TOLD = ("accuracy", "balanced_accuracy", "f1_macro", "roc_auc_macro", "pr_auc_macro", "ece")


def evaluate(run: Run, options: Options) -> None:
    """Writes evaluation.json, predictions.csv and figures.png.

    Scored is the run's split "test", or "val" where there is none, which is said; with --input the
    images of another folder. Probabilities are those of the logits divided by a temperature, which
    is fitted on "val" and changes no decision; scores without it stand beside.

    Raises:
      UserError: nothing is held out, or the data, a folder or the checkpoint can't be used.
    """
    with evaluation_outputs(run, options) as outputs:
        # Where the predictions are, the evaluation is whole.
        outputs.claim(dict.fromkeys((EVALUATION, _FIGURES, PREDICTIONS), ""))
        report = _report(run, options, outputs.drafts)
    _say(report, outputs.folder)


def _report(run: Run, options: Options, output: Path) -> dict[str, Any]:
    """Scores the images, and writes what `evaluate` writes into a folder."""
    inference, step = load_inference(run)
    held = held_out(run, options)
    if held.card.classes != run.card.classes:
        raise UserError(
            f"The classes of {held.card.name} are {', '.join(held.card.classes)}, the run's are"
            f" {', '.join(run.card.classes)}; both must have the same."
        )
    split, classes = held.split, run.card.classes
    log.info("scoring %d images of %s, %s, at step %d", len(split), held.card.name, held.name, step)
    hot, fitted_on = _temperature(run, options, held, inference, step)
    logits, labels = logits_of(split, inference)
    distances = distances_of(known_reference(run), split)
    predicted = Predicted(split.ids, split.groups, labels, softmax(logits, hot))
    plain = Predicted(split.ids, split.groups, labels, softmax(logits, 1.0))
    report = {
        "checkpoint_step": step,
        **held.facts,
        "patients": len(set(split.owners)),
        "classes": list(classes),
        "images_of_classes": np.bincount(labels, minlength=len(classes)).tolist(),
        "temperature": hot,
        "temperature_fitted_on": fitted_on,
        "confusion": confusion_of(predicted, len(classes)).tolist(),
        "scores": intervals(predicted, classes),
        "scores_without_temperature": intervals(plain, classes),
        "unlike": unlike_facts(distances),
    }
    write_report(output, report)
    draw_figures(predicted, plain, classes, output / _FIGURES, held.card.caption)
    rows = with_distances(prediction_rows(predicted, classes), split.ids, distances)
    write_table(output / PREDICTIONS, rows)
    return report


def logits_of(
    split: Split, inference: Inference
) -> tuple[Float[np.ndarray, "images classes"], Int[np.ndarray, " images"]]:
    """Returns the logits and the labels of a split, some images at a time in memory."""
    logits, labels = [], []
    for start in range(0, len(split), 8 * BATCH):
        examples = split.read(range(start, min(start + 8 * BATCH, len(split))))
        logits.append(inference.logits(examples["image"]))
        labels.append(examples["label"])
    return np.concatenate(logits), np.concatenate(labels).astype(np.int64)


def confusion_of(predicted: Predicted, classes: int) -> Int[np.ndarray, "classes classes"]:
    """Counts the images of class i (row) that were taken for class j (column)."""
    pairs = predicted.labels * classes + predicted.probabilities.argmax(-1)
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def prediction_rows(predicted: Predicted, classes: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """Yields a row of a table for each image; its probabilities are read back as they are."""
    chosen = predicted.probabilities.argmax(-1)
    for i, name in enumerate(predicted.ids):
        yield {
            "image": name,
            "patient": predicted.groups[i],
            "truth": classes[predicted.labels[i]],
            "label": classes[chosen[i]],
            **{
                f"probability_{known}": share
                for known, share in zip(classes, predicted.probabilities[i].tolist(), strict=True)
            },
        }


def read_predictions(file: Path, classes: tuple[str, ...]) -> Predicted:
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
    run: Run, options: Options, held: HeldOut, inference: Inference, step: int
) -> tuple[float, str]:
    """Returns the temperature and what it was fitted on."""
    if options.input:
        known = known_temperature(run, step)
        return (known, "the run's own evaluation") if known else (1.0, "nothing")
    if held.validation is None:
        return 1.0, "nothing: no validation images beside those that are scored"
    return temperature(*logits_of(held.validation, inference)), "val"


def _say(report: dict[str, Any], output: Path) -> None:
    print(
        f"{report['images']} images of {report['patients']} patients ({report['data']},"
        f" {report['split']}), step {report['checkpoint_step']}"
    )
    f1 = [f"f1_{name}" for name in report["classes"]] if len(report["classes"]) < 6 else []
    for name in (*_TOLD, *f1):
        entry = report["scores"][name]
        print(f"  {name:<20} {entry['value']:.4f} [{entry['low']:.4f}, {entry['high']:.4f}]")
    print(
        f"  temperature {report['temperature']:.3f} (fitted on {report['temperature_fitted_on']})"
    )
    print(f"  {unlike_sentence(report['unlike'])}")
    print(f"  written to {output}")
