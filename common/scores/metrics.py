"""Metrics as CLU collections: sums and normalisers, never a mean of means.

Formulas of a class come from the confusion matrix of a whole set, and 0 / 0 has no value: a class
that is never predicted has no precision, an absent one no recall, and one that is neither present
nor predicted no IoU and no Dice (F1). A mean over classes includes those with a value; scores
without one are not logged. This is scikit-learn's `zero_division=np.nan` with all classes as
`labels`. (Its default differs only in precision and recall: there 0 / 0 counts as 0, with a
warning.)

For a single image or patient the scores of a segmentation are conventions if something is empty
(`by_convention`), since finding nothing where there is nothing is a success:

    truth      prediction   IoU, Dice (F1)   precision   recall
    empty      empty              1              1          1
    some       empty              0              0          0
    empty      some               0              0          0

Accuracy counts pixels (or images) of all classes and is always defined.
"""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from clu import metrics
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int, Integer, Num, Shaped

from common.devices.axis import AXIS
from common.program.files import identifiers

SCORES = ("iou", "dice", "precision", "recall")


Formula = Callable[[Any], Any]  # of a confusion matrix [classes, classes]
Formulas = tuple[tuple[str, Formula], ...]  # by name


@lru_cache  # one class per set of names, so that the metrics of two steps can be merged
def _collection_of(
    names: tuple[str, ...], scores: Formulas, classes: int
) -> type[metrics.Collection]:
    averaged = {name: metrics.Average.from_output(name) for name in names}
    pooled = {name: _pooled(score, classes) for name, score in scores}
    collection: type[metrics.Collection] = metrics.Collection.create(**averaged, **pooled)
    return collection


def averages(
    values: dict[str, Shaped[Array, "*_examples"]],
    mask: Bool[Array, " batch"] | None = None,
) -> metrics.Collection:
    """Returns the average of each named value over the examples of all devices.

    A value is one number per example, or one number for this device's whole share; their lengths
    may differ. Call it inside the parallel step. Nothing to average (a mask without True) is NaN.

    Args:
      values: name -> value.
      mask: False on examples that are padding; only for values per example.
    """
    outputs: dict[str, Any] = dict(values) if mask is None else {**values, "mask": mask}
    return _of_all_devices(_collection_of(tuple(sorted(values)), (), 0), outputs)


def averages_and_scores(
    values: dict[str, Shaped[Array, "*_examples"]],
    confusion: Float[Array, "batch classes classes"],
    scores: Formulas,
    mask: Bool[Array, " batch"] | None = None,
) -> metrics.Collection:
    """Returns what `averages` returns, and scores of the pooled confusion matrix.

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
    return _of_all_devices(collection, outputs)


def _of_all_devices(
    collection: type[metrics.Collection], outputs: dict[str, Any]
) -> metrics.Collection:
    """Returns CLU's `gather_from_model_output`, with all numbers in one exchange.

    It is one array, of floats: counts of examples stay exact up to 2**24.
    """
    numbers, from_numbers = ravel_pytree(collection.single_from_model_output(**outputs))
    gathered: metrics.Collection = jax.vmap(from_numbers)(jax.lax.all_gather(numbers, AXIS))
    return gathered.reduce()


def known_values(collection: metrics.Collection) -> dict[str, float]:
    """Returns the values of a collection, by name, without scores that have no value."""
    return {
        name: float(value)
        for name, value in sorted(collection.compute().items())
        if not (isinstance(getattr(collection, name), _OfConfusion) and math.isnan(value))
    }


@lru_cache
def segmentation_scores(classes: tuple[str, ...]) -> Formulas:
    """Returns the scores of a segmentation, by name.

    "iou", "dice", "precision", "recall", the means over all classes but the first, which is the
    background; "accuracy" over all pixels; for more than two classes also "dice_NAME" of each but
    the first (characters other than letters and digits in a name become _).
    """

    def mean(name: str) -> Formula:
        return lambda confusion: mean_of_known(class_scores(confusion)[name][1:])

    found = [*((name, mean(name)) for name in SCORES), ("accuracy", accuracy)]
    return tuple(found) + (_of_each("dice", classes, 1) if len(classes) > 2 else ())


@lru_cache
def classification_scores(classes: tuple[str, ...]) -> Formulas:
    """Returns the scores of a classification, by name.

    "accuracy"; "precision", "recall" and "f1", the means over classes; "balanced_accuracy", which
    is the mean recall; "f1_NAME" of each class.
    """

    def mean(name: str) -> Formula:
        return lambda confusion: mean_of_known(class_scores(confusion)[name])

    means = {"balanced_accuracy": "recall", "precision": "precision", "recall": "recall"}
    return (
        ("accuracy", accuracy),
        *((name, mean(score)) for name, score in {**means, "f1": "dice"}.items()),
        *((f"f1_{name[5:]}", score) for name, score in _of_each("dice", classes, 0)),
    )


def confusion_matrix(
    truth: Integer[Array, "batch *pixels"], predicted: Integer[Array, "batch *pixels"], classes: int
) -> Float[Array, "batch {classes} {classes}"]:
    """Returns, for each example, the number of pixels of class i (row) predicted as j (column).

    For use in a compiled step; `confusion_of` is for arrays on the host.
    """
    rows, columns = (
        jax.nn.one_hot(x.reshape(len(x), -1), classes, dtype=jnp.float32)
        for x in (truth, predicted)
    )
    return jnp.einsum("bpi,bpj->bij", rows, columns)


def confusion_of(
    truth: Integer[np.ndarray, "*pixels"], predicted: Integer[np.ndarray, "*pixels"], classes: int
) -> Int[np.ndarray, "{classes} {classes}"]:
    """Returns the number of pixels, or images, of class i (row) predicted as j (column).

    Args:
      truth: the class of each pixel of a set, or of each image; on the host.
      predicted: likewise.
      classes: their number.
    """
    pairs = truth.astype(np.int64) * classes + predicted
    return np.bincount(pairs.ravel(), minlength=classes**2).reshape(classes, classes)


def class_scores(confusion: Num[Any, "*sets classes classes"]) -> dict[str, Any]:
    """Returns IoU, Dice, precision and recall of each class, [*sets, classes], by name.

    See `scores_of_counts`.

    Args:
      confusion: rows are the truth; of NumPy or of JAX.
    """
    xp = confusion.__array_namespace__()
    hits = xp.diagonal(confusion, axis1=-2, axis2=-1)
    return scores_of_counts(hits, confusion.sum(-1), confusion.sum(-2))


def scores_of_counts(
    hits: Num[Any, "*sets classes"],
    true: Num[Any, "*sets classes"],
    predicted: Num[Any, "*sets classes"],
) -> dict[str, Any]:
    """Returns IoU, Dice, precision and recall of each class, [*sets, classes], by name.

    With true positives TP, false positives FP and false negatives FN: IoU = TP / (TP + FP + FN)
    (Jaccard, 1912), Dice = F1 = 2 TP / (2 TP + FP + FN) (Dice, 1945), precision = TP / (TP + FP),
    recall = TP / (TP + FN). NaN for 0 / 0.

    Args:
      hits: number of pixels or images of each class predicted as it.
      true: number of each class.
      predicted: number predicted as each class.
    """
    xp = hits.__array_namespace__()

    def ratio(part: Any, whole: Any) -> Any:
        return xp.where(whole == 0, xp.nan, part / xp.maximum(whole, 1))

    return {
        "iou": ratio(hits, true + predicted - hits),
        "dice": ratio(2 * hits, true + predicted),
        "precision": ratio(hits, predicted),
        "recall": ratio(hits, true),
    }


def by_convention(confusion: Num[Any, "*sets classes classes"]) -> dict[str, Any]:
    """Returns IoU, Dice, precision and recall as `class_scores`, but never NaN.

    The module's docstring says what 0 / 0 gives. For sets of one image or patient each.
    """
    xp = confusion.__array_namespace__()
    nothing = (confusion.sum(-1) + confusion.sum(-2) == 0) * 1.0
    scores = class_scores(confusion)
    return {name: xp.where(xp.isnan(scores[name]), nothing, scores[name]) for name in SCORES}


def mean_of_known(values: Float[Any, "*sets classes"]) -> Any:
    """Returns the mean over the classes that have a value, [*sets], NaN if none has."""
    xp = values.__array_namespace__()
    known = ~xp.isnan(values)
    number = known.sum(-1)
    mean = xp.where(known, values, 0.0).sum(-1) / xp.maximum(number, 1)
    return xp.where(number == 0, xp.nan, mean)


def accuracy(confusion: Num[Any, "*sets classes classes"]) -> Any:
    """Returns the share of correctly classified pixels, [*sets]; NaN without pixels."""
    xp = confusion.__array_namespace__()
    return xp.trace(confusion, axis1=-2, axis2=-1) / confusion.sum((-2, -1))


def _of_each(name: str, classes: tuple[str, ...], first: int) -> Formulas:
    """Returns a score of each class from the first on."""

    def of_class(index: int) -> Formula:
        return lambda confusion: class_scores(confusion)[name][index]

    named = list(enumerate(identifiers(classes)))[first:]
    return tuple((f"{name}_{known}", of_class(index)) for index, known in named)


class _OfConfusion(metrics.Metric):  # type: ignore[misc]  # CLU has no types
    """A metric that is a score of all examples' confusion matrix, NaN if it is 0 / 0."""


def _pooled(score: Formula, classes: int) -> type[metrics.Metric]:
    """Returns a metric: a score of all examples' confusion matrix."""

    @flax.struct.dataclass
    class Pooled(_OfConfusion):
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
