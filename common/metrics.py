"""Metrics as CLU collections: sums and normalisers, never a mean of means.

Scores of a class come from a confusion matrix. What 0 / 0 gives:

    truth      prediction   IoU, Dice (F1)   precision   recall
    empty      empty              1              1          1
    some       empty              0              0          0
    empty      some               0              0          0

that is 1 where there was nothing to find and nothing was found, else 0. Accuracy counts pixels (or
images) of all classes and is always defined.
"""

from functools import lru_cache
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from clu import metrics
from jaxtyping import Array, Bool, Float, Integer, Num, Shaped

from common.axis import AXIS
from common.files import identifier

SCORES = ("iou", "dice", "precision", "recall")


@lru_cache  # one class per set of names, so that the metrics of two steps can be merged
def _collection_of(names: tuple[str, ...], classes: tuple[str, ...]) -> type[metrics.Collection]:
    averaged = {name: metrics.Average.from_output(name) for name in names}
    return metrics.Collection.create(**averaged, **_pooled_scores(classes))


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
    collection = _collection_of(tuple(sorted(values)), ())
    return collection.gather_from_model_output(axis_name=AXIS, **outputs)


def averages_and_scores(
    values: dict[str, Shaped[Array, "*_examples"]],
    confusion: Float[Array, "batch classes classes"],
    classes: tuple[str, ...],
    mask: Bool[Array, " batch"] | None = None,
) -> metrics.Collection:
    """Returns what `averages` does, and the scores of the pooled confusion matrix.

    They are "iou", "dice", "precision", "recall", the means over all classes but the first, which
    is the background, "accuracy" over all pixels and, of more than two classes, "dice_NAME" of each
    but the first (what is neither letter nor digit in a name becomes _).

    Args:
      values: name -> value.
      confusion: of each example, see `confusion_matrix`.
      classes: their names.
      mask: False on examples that are padding.
    """
    outputs: dict[str, Any] = {**values, "confusion": confusion}
    if mask is not None:
        outputs |= {"mask": mask, "confusion": confusion * mask[:, None, None]}
    collection = _collection_of(tuple(sorted(values)), classes)
    return collection.gather_from_model_output(axis_name=AXIS, **outputs)


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


def _pooled_scores(classes: tuple[str, ...]) -> dict[str, type[metrics.Metric]]:
    """Returns a metric for each score that the pooled confusion matrix gives."""
    if not classes:
        return {}
    found = {name: _score(len(classes), name) for name in (*SCORES, "accuracy")}
    if len(classes) > 2:
        named = enumerate(classes[1:], 1)
        found |= {
            f"dice_{identifier(name)}": _score(len(classes), "dice", index) for index, name in named
        }
    return found


def _score(num_classes: int, name: str, of_class: int = 0) -> type[metrics.Metric]:
    """Returns a metric: a score of one class, or the mean over all but the background (0)."""

    @flax.struct.dataclass
    class Score(metrics.Metric):
        confusion: Array  # [classes, classes]

        @classmethod
        def empty(cls) -> "Score":
            return cls(jnp.zeros((num_classes, num_classes)))

        @classmethod
        def from_model_output(cls, confusion: Array, **_: Any) -> "Score":
            return cls(confusion.sum(0))

        def merge(self, other: "Score") -> "Score":
            return type(self)(self.confusion + other.confusion)

        def compute(self) -> Any:
            if name == "accuracy":
                return accuracy(self.confusion)
            scores = class_scores(self.confusion)[name]
            return scores[of_class] if of_class else scores[1:].mean()

    return Score
