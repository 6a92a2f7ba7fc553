"""Metrics as CLU collections: sums and normalisers, never a mean of means.

Scores of a class come from a confusion matrix. What 0 / 0 gives:

    truth      prediction   IoU, Dice (F1)   precision   recall
    empty      empty              1              1          1
    some       empty              0              0          0
    empty      some               0              0          0

that is 1 where there was nothing to find and nothing was found, else 0. Accuracy counts pixels (or
images) of all classes and is always defined.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from clu import metrics
from jaxtyping import Array, Bool, Float, Integer, Num, Shaped

from common.axis import AXIS
from common.files import identifiers

SCORES = ("iou", "dice", "precision", "recall")


Score = Callable[[Any], Any]  # of a confusion matrix [classes, classes]
Scores = tuple[tuple[str, Score], ...]  # by name


@lru_cache  # one class per set of names, so that the metrics of two steps can be merged
def _collection_of(
    names: tuple[str, ...], scores: Scores, classes: int
) -> type[metrics.Collection]:
    averaged = {name: metrics.Average.from_output(name) for name in names}
    pooled = {name: _pooled(score, classes) for name, score in scores}
    return metrics.Collection.create(**averaged, **pooled)


def averages(
    values: dict[str, Shaped[Array, "*_examples"]],
    mask: Bool[Array, " batch"] | None = None,
) -> metrics.Collection:
    """Returns the average of each named value over the examples of all devices.

    A value is one number per example, or a number that already stands for this device's share;
    their lengths may differ.
    Call it inside the parallel step. Nothing to average (a mask without True) gives NaN.

    Args:
      values: name -> value.
      mask: False on examples that are padding; only for values per example.
    """
    outputs: dict[str, Any] = dict(values) if mask is None else {**values, "mask": mask}
    collection = _collection_of(tuple(sorted(values)), (), 0)
    return collection.gather_from_model_output(axis_name=AXIS, **outputs)


def averages_and_scores(
    values: dict[str, Shaped[Array, "*_examples"]],
    confusion: Float[Array, "batch classes classes"],
    scores: Scores,
    mask: Bool[Array, " batch"] | None = None,
) -> metrics.Collection:
    """Returns what `averages` does, and scores of the pooled confusion matrix.

    Args:
      values: name -> value.
      confusion: of each example, see `confusion_matrix`.
      scores: `segmentation_scores` or `classification_scores`.
      mask: False on examples that are padding.
    """
    outputs: dict[str, Any] = {**values, "confusion": confusion}
    if mask is not None:
        outputs |= {"mask": mask, "confusion": confusion * mask[:, None, None]}
    collection = _collection_of(tuple(sorted(values)), scores, confusion.shape[-1])
    return collection.gather_from_model_output(axis_name=AXIS, **outputs)


@lru_cache
def segmentation_scores(classes: tuple[str, ...]) -> Scores:
    """Returns the scores of a segmentation, by name.

    "iou", "dice", "precision", "recall", the means over all classes but the first, which is the
    background; "accuracy" over all pixels; of more than two classes also "dice_NAME" of each but
    the first (what is neither letter nor digit in a name becomes _).
    """

    def mean(name: str) -> Score:
        return lambda confusion: class_scores(confusion)[name][1:].mean()

    found = [*((name, mean(name)) for name in SCORES), ("accuracy", accuracy)]
    return tuple(found) + (_of_each("dice", classes, 1) if len(classes) > 2 else ())


@lru_cache
def classification_scores(classes: tuple[str, ...]) -> Scores:
    """Returns the scores of a classification, by name.

    "accuracy"; "balanced_accuracy", the mean recall of the classes that are there; "precision",
    "recall" and "f1", the means over classes; "f1_NAME" of each.
    """

    def mean(name: str) -> Score:
        return lambda confusion: class_scores(confusion)[name].mean()

    def balanced(confusion: Any) -> Any:
        there = confusion.sum(-1) > 0
        return (class_scores(confusion)["recall"] * there).sum() / there.sum()

    means = (("precision", "precision"), ("recall", "recall"), ("f1", "dice"))
    found = [(name, mean(score)) for name, score in means]
    return (
        ("accuracy", accuracy),
        ("balanced_accuracy", balanced),
        *found,
        *((f"f1_{name[5:]}", score) for name, score in _of_each("dice", classes, 0)),
    )


def confusion_matrix(
    truth: Integer[Array, "batch *pixels"], predicted: Integer[Array, "batch *pixels"], classes: int
) -> Float[Array, "batch {classes} {classes}"]:
    """Counts, in each example, the pixels of class i (row) that were taken for class j (column)."""
    rows, columns = (
        jax.nn.one_hot(x.reshape(len(x), -1), classes, dtype=jnp.float32)
        for x in (truth, predicted)
    )
    return jnp.einsum("bpi,bpj->bij", rows, columns)


def class_scores(confusion: Num[Any, "*sets classes classes"]) -> dict[str, Any]:
    """Returns IoU, Dice, precision and recall of each class, [*sets, classes], by name.

    With true positives TP, false positives FP and false negatives FN: IoU = TP / (TP + FP + FN)
    (Jaccard, 1912), Dice = F1 = 2 TP / (2 TP + FP + FN) (Dice, 1945), precision = TP / (TP + FP),
    recall = TP / (TP + FN). The module's docstring says what 0 / 0 gives.

    Args:
      confusion: rows are the truth; of NumPy or of JAX.
    """
    xp = confusion.__array_namespace__()
    hits = xp.diagonal(confusion, axis1=-2, axis2=-1)
    true, predicted = confusion.sum(-1), confusion.sum(-2)
    nothing = (true + predicted == 0) * 1.0

    def ratio(part: Any, whole: Any) -> Any:
        return xp.where(whole == 0, nothing, part / xp.maximum(whole, 1))

    return {
        "iou": ratio(hits, true + predicted - hits),
        "dice": ratio(2 * hits, true + predicted),
        "precision": ratio(hits, predicted),
        "recall": ratio(hits, true),
    }


def accuracy(confusion: Num[Any, "*sets classes classes"]) -> Any:
    """Returns the share of pixels of the right class, [*sets]; NaN without pixels."""
    xp = confusion.__array_namespace__()
    return xp.trace(confusion, axis1=-2, axis2=-1) / confusion.sum((-2, -1))


def _of_each(name: str, classes: tuple[str, ...], first: int) -> Scores:
    """Returns a score of each class from the first on."""

    def of_class(index: int) -> Score:
        return lambda confusion: class_scores(confusion)[name][index]

    named = list(enumerate(identifiers(classes)))[first:]
    return tuple((f"{name}_{known}", of_class(index)) for index, known in named)


def _pooled(score: Score, classes: int) -> type[metrics.Metric]:
    """Returns a metric: a score of all examples' confusion matrix."""

    @flax.struct.dataclass
    class Pooled(metrics.Metric):
        confusion: Any  # [classes, classes] (also a shape, where trees are traced)

        @classmethod
        def empty(cls) -> "Pooled":
            return cls(jnp.zeros((classes, classes)))

        @classmethod
        def from_model_output(cls, confusion: Array, **_: Any) -> "Pooled":
            return cls(confusion.sum(0))

        def merge(self, other: "Pooled") -> "Pooled":
            return type(self)(self.confusion + other.confusion)

        def compute(self) -> Any:
            return score(self.confusion)

    return Pooled
