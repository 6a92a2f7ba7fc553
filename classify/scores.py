"""How good predicted classes and probabilities are, with intervals over patients.

scikit-learn computes what it knows. What has no value (an area under a curve where all images are
of one class, a precision where nothing was predicted) is NaN, and null in a file, rather than a
convention; a mean over classes is over those that have one.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from sklearn import metrics

_BINS = 15  # of the expected calibration error, as in its publication
_RESAMPLES = 2000
_INTERVAL = (2.5, 97.5)  # percentiles
_COLDEST, _HOTTEST = 0.05, 20.0  # temperatures

Probabilities = Float[np.ndarray, "images classes"]
Labels = Int[np.ndarray, " images"]


@dataclass(frozen=True)
class Predicted:
    """What a classifier said of images.

    Attributes:
      ids: their names.
      groups: whom each is of; "" is nobody, a group of its own.
      labels: the true classes.
      probabilities: of every class.
    """

    ids: tuple[str, ...]
    groups: tuple[str, ...]
    labels: Labels
    probabilities: Probabilities


def scores(
    labels: Labels, probabilities: Probabilities, classes: Sequence[str]
) -> dict[str, float]:
    """Returns every score by name; the class that is predicted is the likeliest, the first of ties.

    "accuracy"; "balanced_accuracy", the mean recall of the classes that are there; "precision",
    "recall" and "f1" of each class ("f1_COVID"), their "macro" mean over classes and, micro-
    averaged, the accuracy again; "roc_auc" and "pr_auc" (average precision) of each class against
    the others and their macro mean; "brier", the mean squared distance from the truth summed over
    classes (Brier, 1950: 0 to 2); "log_loss"; "ece", the expected calibration error.
    """
    predicted = probabilities.argmax(-1)
    indices = np.arange(len(classes))
    truth = labels[:, None] == indices
    found: dict[str, float] = {"accuracy": float((predicted == labels).mean())}
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(
        labels, predicted, labels=indices, zero_division=np.nan
    )
    present = truth.any(0)
    recall = np.where(present, recall, np.nan)
    f1 = np.where(present | (predicted[:, None] == indices).any(0), f1, np.nan)
    found["balanced_accuracy"] = _mean(recall)
    areas = {"roc_auc": metrics.roc_auc_score, "pr_auc": metrics.average_precision_score}
    of_classes: dict[str, Any] = {"precision": precision, "recall": recall, "f1": f1}
    for name, area in areas.items():
        of_classes[name] = np.array(
            [_area(area, truth[:, index], probabilities[:, index]) for index in indices]
        )
    for name, values in of_classes.items():
        found[f"{name}_macro"] = _mean(values)
        found |= {f"{name}_{known}": float(v) for known, v in zip(classes, values, strict=True)}
    found["f1_micro"] = found["accuracy"]  # of one label an image, so are precision and recall
    found["brier"] = float(((probabilities - truth) ** 2).sum(-1).mean())
    chosen = probabilities[np.arange(len(labels)), labels]
    found["log_loss"] = float(-np.log(np.maximum(chosen, np.finfo(float).tiny)).mean())
    found["ece"] = calibration_error(labels, probabilities)
    return found


def calibration_error(labels: Labels, probabilities: Probabilities) -> float:
    """Returns the expected calibration error: the mean gap between confidence and accuracy.

    Images are sorted into fifteen bins of equal width by the probability of the predicted class.
    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", equation 3.
    """
    confidence, accuracy, share = reliability(labels, probabilities)
    return float(np.nansum(share * np.abs(confidence - accuracy)))


def reliability(
    labels: Labels, probabilities: Probabilities
) -> tuple[Float[np.ndarray, " bins"], Float[np.ndarray, " bins"], Float[np.ndarray, " bins"]]:
    """Returns, of each bin, the mean confidence, the accuracy (NaN if empty) and its share."""
    confidence = probabilities.max(-1)
    right = probabilities.argmax(-1) == labels
    place = np.clip(np.ceil(confidence * _BINS).astype(int) - 1, 0, _BINS - 1)
    count = np.bincount(place, minlength=_BINS)
    with np.errstate(invalid="ignore"):
        means = [np.bincount(place, x, minlength=_BINS) / count for x in (confidence, right)]
    return means[0], means[1], count / len(labels)


def temperature(logits: Float[np.ndarray, "images classes"], labels: Labels) -> float:
    """Returns the T for which softmax(logits / T) has the least log loss (Guo et al. 2017).

    It changes no decision and no area under a curve of two classes. To be fitted on validation
    images. It lies between 0.05 and 20; images that are all right would have it go to 0.
    """

    def loss(log_temperature: float) -> float:
        scaled = log_softmax(logits / math.exp(log_temperature), axis=-1)
        return float(-scaled[np.arange(len(labels)), labels].mean())

    bounds = math.log(_COLDEST), math.log(_HOTTEST)
    return math.exp(float(minimize_scalar(loss, bounds=bounds, method="bounded").x))


def intervals(
    predicted: Predicted, classes: Sequence[str], resamples: int = _RESAMPLES
) -> dict[str, dict[str, float]]:
    """Returns each score with its 95 % interval: `{score: {"value", "low", "high"}}`.

    The percentiles of a bootstrap (Efron, 1979) over groups: images of one patient are drawn
    together, as they are not independent.
    """
    owners = [g or name for g, name in zip(predicted.groups, predicted.ids, strict=True)]
    _, owner = np.unique(owners, return_inverse=True)
    members = np.split(np.argsort(owner, kind="stable"), np.cumsum(np.bincount(owner))[:-1])
    rng = np.random.default_rng(0)
    value = scores(predicted.labels, predicted.probabilities, classes)
    drawn: dict[str, list[float]] = {name: [] for name in value}
    for _ in range(resamples):
        chosen = rng.integers(len(members), size=len(members))
        rows = np.concatenate([members[group] for group in chosen])
        some = scores(predicted.labels[rows], predicted.probabilities[rows], classes)
        for name, number in some.items():
            drawn[name].append(number)
    found = {}
    for name, number in value.items():
        known = np.array(drawn[name])[np.isfinite(drawn[name])]
        low, high = np.percentile(known, _INTERVAL) if len(known) else (math.nan, math.nan)
        found[name] = {"value": number, "low": float(low), "high": float(high)}
    return found


def _mean(values: Float[np.ndarray, " classes"]) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else math.nan


def _area(area: Callable[..., float], truth: Any, score: Float[np.ndarray, " images"]) -> float:
    """Returns an area under a curve, NaN where all images are of one class."""
    return float(area(truth, score)) if truth.any() and not truth.all() else math.nan
