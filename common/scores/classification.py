"""How good predicted classes and probabilities are, with intervals over patients.

Every score is computed for many draws of the images at once, a draw being how often it has each
image: the intervals need thousands, for each of which scikit-learn (with which the tests compare)
would check its arguments anew. A score without a value (an area under a curve where all images are
of one class, a precision where nothing was predicted) is NaN, and null in a file, not a convention;
a mean over classes is over those with a value. In scikit-learn's words: all classes are the
`labels`, and `zero_division` is NaN. So it is in the log of training (common/scores/metrics.py).
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Num
from scipy.optimize import minimize_scalar
from scipy.special import log_expit, log_softmax

from common.data.grouping import owners_of
from common.scores import bootstrap
from common.scores.areas import areas_of_draws
from common.scores.bootstrap import OfDraws, Score
from common.scores.metrics import confusion_of, mean_of_known, scores_of_counts

_MEANS = ("macro", "micro")  # over classes, in the names of scores
_BINS = 15  # of the expected calibration error, as in its publication
_AT_ONCE = 2_000_000  # counts of images
_LEAST = float(np.finfo(float).eps)  # lowest probability in a logarithm
_COLDEST, _HOTTEST = 0.05, 20.0  # temperatures

Probabilities = Float[np.ndarray, "images classes"]
# The true class; or, where an image may show several findings, which it shows.
Labels = Int[np.ndarray, " images"] | Bool[np.ndarray, "images classes"]
Truth = Bool[np.ndarray, "images classes"]
Draws = Num[np.ndarray, "draws images"]
Counts = Float[np.ndarray, "draws #classes"]
Measure = Callable[[Draws], dict[str, OfDraws]]


@dataclass(frozen=True)
class Predicted:
    """A classifier's predictions for images.

    Attributes:
      ids: their names.
      groups: the group of each; "" if unknown: a group of its own.
      labels: the true classes, or which findings each image shows.
      probabilities: of every class.
    """

    ids: tuple[str, ...]
    groups: tuple[str, ...]
    labels: Labels
    probabilities: Probabilities

    @property
    def truth(self) -> Truth:
        """Returns which classes, or findings, each image shows."""
        return truth_of(self.labels, self.probabilities.shape[1])

    @property
    def choice(self) -> Truth:
        """Returns which are found in each image."""
        return choice_of(self.labels, self.probabilities)

    def confusion(self, classes: int) -> Int[np.ndarray, "classes classes"]:
        """Counts the images of class i (row) that were taken for class j (column).

        Of findings: the images that show i, and in which j is found.
        """
        if self.labels.ndim == 2:
            counts: np.ndarray = self.truth.T.astype(int) @ self.choice.astype(int)
            return counts
        return confusion_of(self.labels, self.probabilities.argmax(-1), classes)


def truth_of(labels: Labels, classes: int) -> Truth:
    """Returns which classes, or findings, each image shows."""
    truth: Truth = labels if labels.ndim == 2 else labels[:, None] == np.arange(classes)
    return truth


def choice_of(labels: Labels, probabilities: Probabilities) -> Truth:
    """Returns which are found: the likeliest class, the first of ties; all findings from 1/2 on."""
    likeliest = probabilities.argmax(-1)[:, None] == np.arange(probabilities.shape[1])
    choice: Truth = probabilities >= 0.5 if labels.ndim == 2 else likeliest
    return choice


def scores(
    labels: Labels, probabilities: Probabilities, classes: Sequence[str]
) -> dict[str, float]:
    """Returns every score by name; the predicted class is the likeliest, the first of ties.

    "accuracy"; "precision", "recall" and "f1" of each class ("f1_COVID"), their "macro" mean over
    classes and, micro-averaged, the accuracy again; "balanced_accuracy", which is "recall_macro";
    "sensitivity" of each class, which is its recall, and "specificity", the share of the images of
    other classes that are not predicted as it; "roc_auc" and "pr_auc" (average precision) of each
    class against the others and their macro mean; "brier", the mean squared distance from the truth
    summed over classes (Brier, 1950: 0 to 2); "log_loss", where a probability counts as 2.2e-16 at
    least, as in scikit-learn; "ece", the expected calibration error, the mean gap between
    confidence and accuracy in fifteen bins of equal width (Guo et al. 2017, "On Calibration of
    Modern Neural Networks", equation 3).

    Where an image may show several findings, those with a probability from 1/2 on are found.
    "accuracy", "balanced_accuracy" (the mean of sensitivity and specificity), "brier" and
    "log_loss" are means over findings, and "ece" is of all images' findings together.
    """
    once = np.ones((1, len(labels)))
    found = scores_of_draws(once, labels, probabilities, classes)
    return {name: float(values[0]) for name, values in found.items()}


def score_of_class(score: str, name: str) -> str:
    """Returns what a class's score is called: "f1_COVID", but "f1_class_macro", no mean."""
    return f"{score}_class_{name}" if name in _MEANS else f"{score}_{name}"


def scores_of_draws(
    draws: Draws, labels: Labels, probabilities: Probabilities, classes: Sequence[str]
) -> dict[str, OfDraws]:
    """Returns every score of each draw: all are ratios of sums over its images.

    Args:
      draws: how often each draw has each image.
      labels: the true classes.
      probabilities: of every class.
      classes: their names.
    """
    number = len(classes)
    truth, choice = truth_of(labels, number), choice_of(labels, probabilities)
    right, true, called = (draws @ x.astype(float) for x in (truth & choice, truth, choice))
    total = draws.sum(1)
    of_classes = rates(right, true, called, total[:, None])
    areas = [areas_of_draws(draws, probabilities[:, i], truth[:, i]) for i in range(number)]
    of_classes["roc_auc"], of_classes["pr_auc"] = (np.stack(x, 1) for x in zip(*areas, strict=True))
    found: dict[str, OfDraws] = {}
    for name, values in of_classes.items():
        found[f"{name}_macro"] = mean_of_known(values)
        found |= {score_of_class(name, known): values[:, i] for i, known in enumerate(classes)}
    found["f1_micro"] = 2 * right.sum(1) / (true.sum(1) + called.sum(1))
    found["brier"] = draws @ ((probabilities - truth) ** 2).sum(-1) / total
    # Of one class per image, precision and recall are micro-averaged the accuracy, as is F1.
    found["accuracy"], found["balanced_accuracy"] = found["f1_micro"], found["recall_macro"]
    likely = truth
    if labels.ndim == 2:
        likely = np.ones_like(truth)
        found["accuracy"] = 1 - (true + called - 2 * right).sum(1) / (total * number)
        both = of_classes["recall"], of_classes["specificity"]
        found["balanced_accuracy"] = mean_of_known((both[0] + both[1]) / 2)
        found["brier"] /= number
    # The probability of what is so.
    of_truth = np.where(truth, probabilities, 1 - probabilities)
    logs = -np.log(np.clip(of_truth, _LEAST, 1 - _LEAST))
    found["log_loss"] = draws @ ((logs * likely).sum(1) / likely.sum(1)) / total
    found["ece"] = np.abs(draws @ _gaps(labels, probabilities)).sum(1) / total
    return found


def _gaps(labels: Labels, probabilities: Probabilities) -> Float[np.ndarray, "images bins"]:
    """Returns confidence minus accuracy, of each image in its bin; of findings the mean of all."""
    if labels.ndim == 2:
        confidence, right = probabilities, labels
    else:
        confidence = probabilities.max(-1, keepdims=True)
        right = (probabilities.argmax(-1) == labels)[:, None]
    gaps: np.ndarray = np.eye(_BINS)[_bin_of(confidence)] * (confidence - right)[..., None]
    mean: np.ndarray = gaps.mean(1)
    return mean


def rates(right: Counts, true: Counts, called: Counts, total: Counts) -> dict[str, Counts]:
    """Returns the scores that follow from counts of images, by name; NaN for 0 / 0.

    Args:
      right: images of the class that are predicted as it.
      true: images of the class.
      called: images that are predicted as it.
      total: all images.
    """
    of_class = scores_of_counts(right, true, called)
    of_others = scores_of_counts(total - true - called + right, total - true, total - called)
    return {
        "precision": of_class["precision"],
        "recall": of_class["recall"],
        "f1": of_class["dice"],
        "sensitivity": of_class["recall"],
        "specificity": of_others["recall"],
        "npv": of_others["precision"],
    }


def reliability(
    labels: Labels, probabilities: Probabilities
) -> tuple[Float[np.ndarray, " bins"], Float[np.ndarray, " bins"], Float[np.ndarray, " bins"]]:
    """Returns, for each bin, the mean confidence, the accuracy (NaN if empty) and its share."""
    if labels.ndim == 2:  # every finding of every image
        labels = labels.ravel() * 1
        probabilities = np.stack([1 - probabilities.ravel(), probabilities.ravel()], 1)
    confidence = probabilities.max(-1)
    right = probabilities.argmax(-1) == labels
    place = _bin_of(confidence)
    count = np.bincount(place, minlength=_BINS)
    with np.errstate(invalid="ignore"):
        means = [np.bincount(place, x, minlength=_BINS) / count for x in (confidence, right)]
    return means[0], means[1], count / len(probabilities)


def _bin_of(confidence: Float[np.ndarray, "*shape"]) -> Int[np.ndarray, "*shape"]:
    """Returns the bin of each probability."""
    bins: np.ndarray = np.ceil(confidence * _BINS).astype(int) - 1
    return bins.clip(0, _BINS - 1)


def temperature(logits: Float[np.ndarray, "images classes"], labels: Labels) -> float:
    """Returns the T for which logits / T have the least log loss (Guo et al. 2017).

    It changes no decision and no area under a curve of two classes. Fit it on validation images. It
    lies between 0.05 and 20; without errors it would go to 0.
    """

    def loss(log_temperature: float) -> float:
        scaled = logits / math.exp(log_temperature)
        if labels.ndim == 2:
            return float(-log_expit(np.where(labels, scaled, -scaled)).mean())
        scaled = log_softmax(scaled, axis=-1)
        return float(-scaled[np.arange(len(labels)), labels].mean())

    bounds = math.log(_COLDEST), math.log(_HOTTEST)
    return math.exp(float(minimize_scalar(loss, bounds=bounds, method="bounded").x))


def intervals(
    predicted: Predicted, classes: Sequence[str], resamples: int = bootstrap.RESAMPLES
) -> dict[str, Score]:
    """Returns each score by name, with its 95 % interval.

    The percentiles of a bootstrap (Efron, 1979) over groups: images of one patient are drawn
    together, as they are not independent.
    """
    return intervals_of(predicted, _measure(predicted, classes), resamples)


def intervals_of(
    predicted: Predicted, measure: Measure, resamples: int = bootstrap.RESAMPLES
) -> dict[str, Score]:
    """Returns a measure of the images with 95 % intervals, as `intervals` does."""
    owner = owners(predicted)
    groups = int(owner.max()) + 1
    return bootstrap.intervals(
        _of_images(measure, owner), groups, _draws(groups, len(owner), resamples)
    )


def scores_of_resamples(
    predicted: Predicted, classes: Sequence[str], resamples: int, part: int = 0
) -> dict[str, OfDraws]:
    """Returns every score of each draw of groups, see `common.scores.bootstrap`.

    Predictions for other groups are another part: their draws are independent of these.
    """
    owner = owners(predicted)
    draws = _draws(int(owner.max()) + 1, len(owner), resamples, part)
    return bootstrap.of_draws(_of_images(_measure(predicted, classes), owner), draws)


def _measure(predicted: Predicted, classes: Sequence[str]) -> Measure:
    return lambda draws: scores_of_draws(draws, predicted.labels, predicted.probabilities, classes)


def _of_images(measure: Measure, owner: Int[np.ndarray, " images"]) -> bootstrap.Measure[str]:
    """Returns a measure of draws of images as one of draws of groups."""
    return lambda draws: measure(draws[:, owner].astype(float))


def _draws(groups: int, images: int, resamples: int, part: int = 0) -> Iterator[bootstrap.Draws]:
    return bootstrap.drawn_one_by_one(groups, resamples, max(_AT_ONCE // images, 1), part)


def owners(predicted: Predicted) -> Int[np.ndarray, " images"]:
    """Returns the number of each image's group; an unknown one is a group of its own."""
    return np.unique(owners_of(predicted.ids, predicted.groups), return_inverse=True)[1]
