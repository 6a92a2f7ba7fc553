"""--mode=evaluate: how good a trained segmentation network is on patients that it has not seen."""

import csv
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8
from ml_collections import ConfigDict

from common.data.prepared import Prepared, Split, prepare
from common.errors import UserError
from common.files import write_atomically
from common.log import log
from common.options import Options
from common.report.images import write_picture
from common.training.workdir import Run
from unet.panels import Case, panels
from unet.scores import (
    Scored,
    confusion_of,
    image_rows,
    patient_rows,
    readings,
    summary,
    surface_distances,
)
from unet.segment import Probabilities, Windows, load_windows, segment
from unet.state import make_segmenter

EVALUATION = "evaluation.json"
FOLDER = "evaluation"  # in the workdir
BATCH = 16
LEVELS = 100  # thresholds are multiples of 1 / LEVELS
_SHOWN = 4  # cases of each kind in the panels

Mask = UInt8[np.ndarray, "_height _width"]


def evaluate(run: Run, options: Options) -> None:
    """Writes evaluation.json, images.csv, patients.csv and panels of cases.

    The split "test" is scored, "val" where there is none; of a folder in --input, "test" or all of
    it. With two classes the threshold is the one with the best mean Dice over the patients of
    "val"; with more there is none, the likeliest class wins. Scores are of the prepared images, in
    `data.image_size`.

    Raises:
      UserError: nothing is held out, or a folder or the checkpoint can't be used.
    """
    output = Path(options.output) if options.output else run.workdir / FOLDER
    segmenter = make_segmenter(run.config, run.card)
    prepared = prepare(run.config.data)
    scored_set, name = _to_score(run, prepared, options.input)
    windows, step = load_windows(run, segmenter, BATCH)
    threshold, chosen_on = _threshold(prepared, windows)
    split = scored_set.splits[name]
    log.info(
        "scoring %d images of %s, %s, at step %d", len(split), scored_set.card.name, name, step
    )
    scored = score(split, windows, threshold)
    classes = segmenter.classes
    report = {
        "checkpoint_step": step,
        "data": scored_set.card.name,
        "synthetic": scored_set.card.synthetic,
        "split": name,
        "images": len(split),
        "patients": len(set(scored.owners)),
        "image_size": run.card.image_size,
        "classes": list(classes),
        "threshold": threshold,
        "threshold_chosen_on": chosen_on,
        "empty": _empty(scored, classes),
        "readings": readings(scored.confusion),
        "scores": summary(scored, classes),
    }
    _write(output, report, scored, classes)
    cases = _cases(scored, split, windows, threshold)
    for kind, listed in cases.items():
        write_picture(output / f"{kind}.png", panels(listed, scored_set.card))
    _say(report, output)


def to_mask(probabilities: Probabilities, threshold: float) -> Mask:
    """Returns the class of each pixel: foreground from a threshold on, or the likeliest of more."""
    if probabilities.shape[-1] == 2:
        return (probabilities[..., 1] >= threshold).astype(np.uint8)
    return probabilities.argmax(-1).astype(np.uint8)


def score(split: Split, windows: Windows, threshold: float) -> Scored:
    """Segments and scores every image of a split."""
    classes = windows.num_classes
    confusion, hd95, assd = [], [], []
    for truth, probabilities in _segmented(split, windows, range(len(split))):
        predicted = to_mask(probabilities, threshold)
        confusion.append(confusion_of(truth, predicted, classes))
        pairs = [surface_distances(truth == c, predicted == c) for c in range(1, classes)]
        hd95.append([farthest for farthest, _ in pairs])
        assd.append([mean for _, mean in pairs])
    return Scored(split.ids, split.groups, np.stack(confusion), np.array(hd95), np.array(assd))


def best_threshold(split: Split, windows: Windows) -> float:
    """Returns the threshold with the best mean Dice over patients, the middle one of several."""
    counts = np.stack(
        [
            _counts_by_threshold(truth, probabilities[..., 1])
            for truth, probabilities in _segmented(split, windows, range(len(split)))
        ]
    )
    owners = [group or name for group, name in zip(split.groups, split.ids, strict=True)]
    patients, owner = np.unique(owners, return_inverse=True)
    pooled = np.zeros((len(patients), *counts.shape[1:]))
    np.add.at(pooled, owner, counts)
    hits, predicted, true = pooled.swapaxes(0, 1)
    whole = predicted + true
    dice = np.where(whole == 0, 1.0, 2 * hits / np.maximum(whole, 1)).mean(0)
    best = np.flatnonzero(dice >= dice.max() - 1e-12)
    return float(best[len(best) // 2] + 1) / LEVELS


def _counts_by_threshold(
    truth: Mask, foreground: Float[np.ndarray, "height width"]
) -> Int[np.ndarray, "3 thresholds"]:
    """Returns hits, predicted and true pixels at the thresholds 1/100, 2/100, ..., 99/100."""
    levels = np.arange(1, LEVELS) / LEVELS
    passed = np.searchsorted(levels, foreground.ravel(), side="right")  # thresholds that it passes
    of_truth = np.bincount(passed[truth.ravel() > 0], minlength=LEVELS)
    of_all = np.bincount(passed, minlength=LEVELS)
    hits, predicted = (np.cumsum(counts[::-1])[::-1][1:] for counts in (of_truth, of_all))
    return np.stack([hits, predicted, np.full_like(hits, (truth > 0).sum())])


def _segmented(
    split: Split, windows: Windows, places: Iterable[int]
) -> Iterator[tuple[Mask, Probabilities]]:
    """Yields the mask and the probabilities of these images, a few at a time in memory."""
    waiting = iter(places)
    while several := list(islice(waiting, 8 * windows.batch)):
        examples = split.read(several)
        yield from zip(examples["mask"], segment(examples["image"], windows), strict=True)


def _to_score(run: Run, prepared: Prepared, folder: str) -> tuple[Prepared, str]:
    """Returns the set to score, and which split of it."""
    if folder:
        data = ConfigDict(run.config.data.to_dict())
        data.update(dir=folder, url="", splits="", folds=0)
        other = prepare(data)
        if other.card.mask_classes != run.card.mask_classes:
            raise UserError(
                f"The masks of {folder} have the classes {', '.join(other.card.mask_classes)}, the"
                f" run's are {', '.join(run.card.mask_classes)}; both must have the same."
            )
        return other, "test" if "test" in other.splits else "train"
    for name in ("test", "val"):
        if name in prepared.splits:
            return prepared, name
    raise UserError(
        f"{run.card.name} holds nothing out: all images are for training; train with"
        " --config.data.splits=70,15,15, or name a folder of other images with --input=DIR."
    )


def _threshold(prepared: Prepared, windows: Windows) -> tuple[float, str]:
    """Returns the threshold and what it was chosen on."""
    if windows.num_classes > 2:
        return 0.5, "nothing: the likeliest class wins"
    if "val" not in prepared.splits:
        return 0.5, "nothing: there is no val split"
    return best_threshold(prepared.splits["val"], windows), "val"


def _empty(scored: Scored, classes: tuple[str, ...]) -> dict[str, dict[str, int]]:
    """Counts images with nothing to find or nothing found, whose scores are conventions."""
    found = {}
    for index, name in enumerate(classes[1:], 1):
        true = scored.confusion[:, index].sum(-1) > 0
        predicted = scored.confusion[:, :, index].sum(-1) > 0
        found[name] = {
            "both": int((~true & ~predicted).sum()),
            "truth_only": int((~true & predicted).sum()),
            "prediction_only": int((true & ~predicted).sum()),
        }
    return found


def _write(
    output: Path, report: Mapping[str, Any], scored: Scored, classes: tuple[str, ...]
) -> None:
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--output={output} cannot be written: {error.strerror}.") from error
    write_atomically(output / EVALUATION, json.dumps(_finite(report), indent=2) + "\n")
    for name, rows in (("images", image_rows), ("patients", patient_rows)):
        with (output / f"{name}.csv").open("w", newline="") as stream:
            table = list(rows(scored, classes))
            writer = csv.DictWriter(stream, list(table[0]))
            writer.writeheader()
            writer.writerows(table)


def _finite(value: Any) -> Any:
    """Returns a tree with null where a number is none: JSON has no NaN."""
    if isinstance(value, Mapping):
        return {name: _finite(entry) for name, entry in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _cases(
    scored: Scored, split: Split, windows: Windows, threshold: float
) -> dict[str, list[Case]]:
    """Returns the worst, median, best and some random cases among the images with truth."""
    confusion = scored.confusion
    true = confusion[:, 1:].sum((1, 2))
    hits = np.trace(confusion[:, 1:, 1:], axis1=1, axis2=2)
    dice = 2 * hits / np.maximum(true + confusion[:, :, 1:].sum((1, 2)), 1)
    order = np.flatnonzero(true)[np.argsort(dice[true > 0], kind="stable")]
    if not len(order):
        return {}
    shown = min(_SHOWN, len(order))
    middle = (len(order) - shown) // 2
    kinds = {
        "worst": order[:shown],
        "median": order[middle : middle + shown],
        "best": order[::-1][:shown],
        "random": np.random.default_rng(0).choice(order, shown, replace=False),
    }
    cases = {}
    for kind, places in kinds.items():
        images = split.read(places.tolist())["image"]
        found = _segmented(split, windows, places.tolist())
        cases[kind] = [
            Case(
                image,
                truth,
                to_mask(probabilities, threshold),
                f"{split.ids[i]}  Dice {dice[i]:.3f}",
            )
            for i, image, (truth, probabilities) in zip(places, images, found, strict=True)
        ]
    return cases


def _say(report: Mapping[str, Any], output: Path) -> None:
    """Prints the scores that a reader asks for first."""
    print(
        f"{report['images']} images of {report['patients']} patients ({report['data']},"
        f" {report['split']}), step {report['checkpoint_step']}"
    )
    if len(report["classes"]) == 2:
        print(f"threshold {report['threshold']} (chosen on {report['threshold_chosen_on']})")
    for name, views in report["scores"].items():
        print(f"{name}:")
        for view, scores in views.items():
            told = [
                f"{score} {entry['value']:.4f} [{entry['low']:.4f}, {entry['high']:.4f}]"
                for score, entry in scores.items()
                if score in ("dice", "iou", "hd95")
            ]
            print(f"  {view:<24} {'  '.join(told)}")
    print(f"  written to {output}")
