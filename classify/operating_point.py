"""The probability from which on a class counts as found: how it is chosen, and the scores at it.

Each class in turn is looked for against all others. Its threshold is chosen on validation images,
kept with the evaluation and used for all later images.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from common.data.findings import outputs_of
from common.program.errors import UserError
from common.program.json_files import conform
from common.runs.evaluation import EVALUATION, FOLDER, stored_value
from common.runs.workdir import Run
from common.scores.bootstrap import OfDraws, Score
from common.scores.classification import (
    Draws,
    Labels,
    Predicted,
    Probabilities,
    intervals_of,
    rates,
    truth_of,
)

YOUDEN = "youden"
_KINDS = ("sensitivity", "specificity")
SCORES = ("sensitivity", "specificity", "ppv", "npv", "accuracy", "f1")

Shares = Float[np.ndarray, " images"]
Found = Bool[np.ndarray, " images"]


class Wanted(NamedTuple):
    """What a threshold must reach on validation: a measure and its minimum; "youden": the most."""

    measure: str = YOUDEN
    least: float = 0.0


def read_wanted(text: str) -> Wanted:
    """Reads --operating_point: "youden", "sensitivity=0.95" or "specificity=0.95"; "" is the first.

    Raises:
      UserError: it is something else.
    """
    measure, _, number = (part.strip() for part in (text or YOUDEN).partition("="))
    if measure == YOUDEN and not number:
        return Wanted()
    try:
        least = float(number)
    except ValueError:
        least = 0.0
    if measure not in _KINDS or not 0 < least <= 1:
        raise UserError(
            f"--operating_point is '{text}'; write {YOUDEN}, or the least sensitivity or"
            " specificity on the validation images, such as sensitivity=0.95."
        )
    return Wanted(measure, least)


def best_threshold(truth: Found, shares: Shares, wanted: Wanted) -> float | None:
    """Returns the best threshold on these images; None if all or none are of the class.

    Best is the greatest sensitivity + specificity - 1 (Youden 1950, "Index for rating diagnostic
    tests"); or, of the thresholds that reach the wanted sensitivity, the greatest specificity, and
    vice versa. Thresholds lie in the middle between two probabilities; of equally good ones it is
    the nearest to 1/2. 0 finds the class in every image, a little more than 1 in none.

    Args:
      truth: which images are of the class.
      shares: the probability of the class.
      wanted: what to reach.
    """
    if truth.all() or not truth.any():
        return None
    values = np.unique(shares)
    middles = (values[1:] + values[:-1]) / 2
    middles = np.where(middles > values[:-1], middles, values[1:])  # of two neighbouring floats
    thresholds = np.concatenate([[0.0], middles, [np.nextafter(1.0, 2.0)]])
    below = [np.searchsorted(np.sort(shares[some]), thresholds) for some in (truth, ~truth)]
    sensitivity, specificity = 1 - below[0] / truth.sum(), below[1] / (~truth).sum()
    youden = np.round(sensitivity + specificity, 12)
    goal, reached = youden, np.ones(len(thresholds))
    if wanted.measure != YOUDEN:
        pair = sensitivity, specificity
        must, goal = pair if wanted.measure == "sensitivity" else pair[::-1]
        reached = must >= wanted.least - 1e-12
    order = np.lexsort((-abs(thresholds - 0.5), youden, goal, reached))
    return float(thresholds[order[-1]])


def scores_at(predicted: Predicted, label: int, threshold: float) -> dict[str, Score]:
    """Returns the scores of a class at a threshold, by name.

    "sensitivity" and "specificity", "ppv" and "npv" (the shares of the images with and without a
    finding for which that is right), "accuracy" and "f1", each with its 95 % interval (see
    `intervals`; the threshold counts as fixed). NaN for 0 / 0.
    """
    truth = predicted.truth[:, label]
    called = predicted.probabilities[:, label] >= threshold

    def of_draws(draws: Draws) -> dict[str, OfDraws]:
        counts = [draws @ x[:, None].astype(float) for x in (truth & called, truth, called)]
        right, true, found = counts
        total = draws.sum(1, keepdims=True)
        of_class = rates(right, true, found, total)
        both = (total - true - found + 2 * right) / total
        named = {**of_class, "ppv": of_class["precision"], "accuracy": both}
        return {name: named[name][:, 0] for name in SCORES}

    return intervals_of(predicted, of_draws)


def choose(
    labels: Labels, probabilities: Probabilities, classes: tuple[str, ...], wanted: Wanted
) -> Mapping[str, float]:
    """Returns the threshold of each class that some, but not all validation images are of."""
    truth = truth_of(labels, len(classes))
    chosen = {
        name: best_threshold(truth[:, label], probabilities[:, label], wanted)
        for label, name in enumerate(classes)
    }
    return {name: threshold for name, threshold in chosen.items() if threshold is not None}


def known_thresholds(run: Run, step: int) -> Mapping[str, float]:
    """Returns the thresholds that the run's evaluation chose at this step, {} without one.

    Raises:
      UserError: evaluation.json is damaged.
    """
    found = stored_value(run, "operating_points", step, Any)
    try:
        points = conform(found or {}, Mapping[str, Mapping[str, Any]], "operating_points")
        if unknown := points.keys() - set(outputs_of(run.card.classes)):
            raise ValueError(f"the run has no class {min(unknown)!r}")
        return {name: conform(x.get("threshold"), float, "threshold") for name, x in points.items()}
    except ValueError as error:
        raise UserError(
            f"{run.workdir}/{FOLDER}/{EVALUATION} is damaged: {error}; remove it and run"
            f" --mode=evaluate --workdir={run.workdir} again."
        ) from error


def findings(
    shares: Float[np.ndarray, " classes"], classes: tuple[str, ...], thresholds: Mapping[str, float]
) -> dict[str, str]:
    """Returns an image's cells in a table: "found_COVID" is "yes" from the threshold on."""
    return {
        f"found_{name}": "yes" if shares[classes.index(name)] >= threshold else "no"
        for name, threshold in thresholds.items()
    }
