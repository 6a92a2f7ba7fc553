"""How good segmentations are: scores of images and of patients, with intervals.

Everything is computed from each image's confusion matrix and its surface distances, so nothing
depends on how the images were batched. common/scores/metrics.py says what 0 / 0 is: no value for
all pixels pooled, a convention for an image or a patient. The convention for distances:

    truth      prediction   95 % Hausdorff, average surface distance
    empty      empty        0
    some       empty        the image's diagonal: nothing is farther away
    empty      some         the image's diagonal
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Num
from scipy import ndimage

from common.data.grouping import owners_of
from common.scores import bootstrap
from common.scores.bootstrap import Score
from common.scores.metrics import SCORES, accuracy, by_convention, class_scores, mean_of_known

_AT_ONCE = 100  # draws
_DISTANCES = ("hd95", "assd")

_OfClass = dict[str, np.ndarray]  # a class's scores by name, of each of some images or sets


@dataclass(frozen=True)
class Scored:
    """Segmented images and what their scores follow from.

    Attributes:
      ids: their names.
      groups: the group of each; "" if unknown: a group of its own.
      confusion: pixels of class i (row) that were predicted as class j (column).
      hd95: 95 % Hausdorff distance of each class but the background, in pixels.
      assd: average symmetric surface distance, likewise.
    """

    ids: tuple[str, ...]
    groups: tuple[str, ...]
    confusion: Int[np.ndarray, "images classes classes"]
    hd95: Float[np.ndarray, "images foregrounds"]
    assd: Float[np.ndarray, "images foregrounds"]

    @property
    def owners(self) -> tuple[str, ...]:
        """Returns the group of each image, or the image's own name if that is unknown."""
        return owners_of(self.ids, self.groups)

    @property
    def knows_patients(self) -> bool:
        """Returns whether the group of any image is known."""
        return any(self.groups)


@dataclass(frozen=True)
class View:
    """A class's scores, averaged in one way.

    Attributes:
      class_name: the class.
      name: of the way: see `summary`.
      scores: by name.
    """

    class_name: str
    name: str
    scores: Mapping[str, Score]


class _Mean(NamedTuple):
    """A view that is a mean over images or patients: sums of each group of images.

    Attributes:
      view: its name.
      counted: how many are averaged over.
      sums: of each score.
    """

    view: str
    counted: Float[np.ndarray, " groups"]
    sums: Mapping[str, Float[np.ndarray, " groups"]]


class _Sums(NamedTuple):
    """Sums of each group of images, from which every score follows."""

    pooled: Float[np.ndarray, "groups classes classes"]
    means: tuple[_Mean, ...]


def surface_distances(
    truth: Bool[np.ndarray, "height width"], predicted: Bool[np.ndarray, "height width"]
) -> tuple[float, float]:
    """Returns the 95 % Hausdorff distance and the average symmetric surface distance, in pixels.

    The surface of a region is its pixels with a neighbour (of four) outside it. Distances go from
    each surface pixel of one region to the nearest of the other, in both directions. The first
    score is the larger 95th percentile of the two directions, the second the mean of all distances:
    MONAI's definitions. (MedPy takes the percentile of all and the mean of the two directions'
    means.) The module's docstring covers empty regions.
    """
    if not truth.any() or not predicted.any():
        same = truth.any() == predicted.any()
        diagonal = 0.0 if same else math.hypot(*truth.shape)
        return diagonal, diagonal
    surfaces = [region & ~ndimage.binary_erosion(region) for region in (truth, predicted)]
    to_nearest = [ndimage.distance_transform_edt(~surface) for surface in surfaces]
    directions = [to_nearest[1][surfaces[0]], to_nearest[0][surfaces[1]]]
    farthest = max(float(np.percentile(distances, 95)) for distances in directions)
    return farthest, float(np.concatenate(directions).mean())


def summary(scored: Scored, classes: Sequence[str]) -> tuple[View, ...]:
    """Returns every view of every class but the background.

    The views are "pooled" over all pixels; "per_image", the mean over images; "per_patient", the
    mean over patients, whose images are pooled (and their distances averaged); and, without the
    images that have nothing to find, "per_image_with_truth" and "per_patient_with_truth". If no
    patient is known there are no views of patients. The intervals are the percentiles of a
    bootstrap (Efron, 1979) over patients, because images of one patient are not independent; an
    image of an unknown one is drawn as a patient.

    Args:
      scored: the images.
      classes: their names, the background first.
    """
    return tuple(
        View(class_name, name, scores)
        for index, class_name in enumerate(classes)
        if index
        for name, scores in _views_of_class(scored, index).items()
    )


def _views_of_class(scored: Scored, index: int) -> dict[str, dict[str, Score]]:
    sums = _sums_by_group(scored, index)
    groups = len(sums.pooled)
    draws = bootstrap.drawn_as_counts(groups, bootstrap.RESAMPLES, _AT_ONCE)
    entries = bootstrap.intervals(lambda some: _of_draws(sums, some, index), groups, draws)
    found: dict[str, dict[str, Score]] = {}
    for (view, name), score in entries.items():
        found.setdefault(view, {})[name] = score
    return found


def _sums_by_group(scored: Scored, index: int) -> _Sums:
    confusion = scored.confusion
    names, group = np.unique(scored.owners, return_inverse=True)
    has_truth = (confusion[:, index].sum(-1) > 0) * 1

    def by_group(values: Num[np.ndarray, "images *rest"]) -> Float[np.ndarray, "groups *rest"]:
        total = np.zeros((len(names), *values.shape[1:]))
        np.add.at(total, group, values)
        return total

    per_image = _image_scores(scored, index)
    pooled, pooled_with = by_group(confusion), by_group(confusion * has_truth[:, None, None])

    def of_patients(
        pooled: Num[np.ndarray, "groups classes classes"], counted: Int[np.ndarray, " images"]
    ) -> _OfClass:
        """Returns scores of pooled pixels, and the mean distance over a patient's images."""
        number = np.maximum(by_group(counted), 1)
        distances = {name: by_group(per_image[name] * counted) / number for name in _DISTANCES}
        return {**_convention(pooled, index), **distances}

    everything = np.ones_like(has_truth)
    means = [
        _summed("per_image", per_image, everything, by_group),
        _summed("per_image_with_truth", per_image, has_truth, by_group),
    ]
    if scored.knows_patients:
        everybody, patient_has = np.ones(len(names)), (by_group(has_truth) > 0) * 1.0
        with_truth = of_patients(pooled_with, has_truth)
        means += [
            _summed("per_patient", of_patients(pooled, everything), everybody, np.asarray),
            _summed("per_patient_with_truth", with_truth, patient_has, np.asarray),
        ]
    return _Sums(pooled, tuple(means))


def _summed(
    view: str,
    scores: _OfClass,
    counted: Num[np.ndarray, " cases"],
    by_group: Callable[[np.ndarray], np.ndarray],
) -> _Mean:
    """Returns a view's sums over the cases (images or patients) that it counts."""
    sums = {name: by_group(np.where(counted > 0, x, 0.0)) for name, x in scores.items()}
    return _Mean(view, by_group(counted), sums)


def _of_draws(
    sums: _Sums, draws: bootstrap.Draws, index: int
) -> dict[tuple[str, str], bootstrap.OfDraws]:
    """Returns each view's scores of each draw by (view, score): all are ratios of weighted sums.

    A draw without any truth has no mean over what has some: it is NaN.
    """
    pooled = _pooled(np.tensordot(draws, sums.pooled, 1), index)
    found = {("pooled", name): values for name, values in pooled.items()}
    for mean in sums.means:
        count = draws @ mean.counted
        with np.errstate(invalid="ignore"):
            found |= {(mean.view, name): draws @ x / count for name, x in mean.sums.items()}
    return found


def _pooled(confusion: Num[np.ndarray, "*sets classes classes"], index: int) -> _OfClass:
    """Returns a class's scores of whole sets; NaN if there is none."""
    scores = class_scores(confusion)
    found = {name: scores[name][..., index] for name in SCORES}
    return {**found, "accuracy": accuracy(confusion)}


def _convention(confusion: Num[np.ndarray, "*sets classes classes"], index: int) -> _OfClass:
    """Returns a class's scores of single images or patients."""
    found = {name: values[..., index] for name, values in by_convention(confusion).items()}
    with np.errstate(invalid="ignore"):  # a patient without counted images
        return {**found, "accuracy": accuracy(confusion)}


def _image_scores(scored: Scored, index: int) -> _OfClass:
    distances = {name: getattr(scored, name)[:, index - 1] for name in _DISTANCES}
    return {**_convention(scored.confusion, index), **distances}


def readings(
    confusion: Int[np.ndarray, "images classes classes"],
) -> dict[str, dict[str, dict[str, float]]]:
    """Returns IoU and F1 in every sense that "the mean IoU" and "the F1" of a test set may have.

    `{score: {view: {average: value}}}`: "pooled" over all pixels, or "per_image" and averaged; the
    mean over the "foreground" classes, over all classes with the background ("mean_of_classes"), or
    over these "weighted" by their pixels. Pooled, a class without pixels is in no mean.
    """
    pooled = confusion.sum(0, keepdims=True)
    views = {"pooled": (pooled, class_scores), "per_image": (confusion, by_convention)}
    found: dict[str, dict[str, dict[str, float]]] = {}
    for view, (counts, scores_of) in views.items():
        share = counts.sum(-1) / counts.sum((-2, -1))[:, None]
        for score, name in (("iou", "iou"), ("f1", "dice")):
            values = scores_of(counts)[name]
            found.setdefault(score, {})[view] = {
                "foreground": float(mean_of_known(values[:, 1:]).mean()),
                "mean_of_classes": float(mean_of_known(values).mean()),
                "weighted": float(np.nansum(share * values, axis=-1).mean()),
            }
    return found


def image_rows(scored: Scored, classes: Sequence[str]) -> Iterator[dict[str, object]]:
    """Yields a row of a table for each image and class but the background."""
    for index, name in list(enumerate(classes))[1:]:
        scores = _image_scores(scored, index)
        for place, image in enumerate(scored.ids):
            counts = scored.confusion[place]
            yield {
                **{"image": image, "patient": scored.groups[place], "class": name},
                **{"true_pixels": int(counts[index].sum())},
                **{"predicted_pixels": int(counts[:, index].sum())},
                **{score: round(float(values[place]), 5) for score, values in scores.items()},
            }


def patient_dice(scored: Scored, index: int) -> dict[str, float]:
    """Returns the Dice of a class of each patient, on the images that have some of it."""
    patients = np.asarray(scored.owners)
    has_truth = scored.confusion[:, index].sum(-1) > 0
    return {
        name: float(
            _convention(scored.confusion[has_truth & (patients == name)].sum(0), index)["dice"]
        )
        for name in np.unique(patients[has_truth]).tolist()
    }


def patient_rows(scored: Scored, classes: Sequence[str]) -> Iterator[dict[str, object]]:
    """Yields a row for each patient and class: all images pooled, and those with truth.

    An image of an unknown patient is a row under its own name, and "patient_known" is "no".
    """
    patients, owner = np.unique(scored.owners, return_inverse=True)
    order = np.argsort(owner, kind="stable")
    own = np.split(order, np.cumsum(np.bincount(owner))[:-1])
    for index, name in list(enumerate(classes))[1:]:
        for patient, places in zip(patients.tolist(), own, strict=True):
            mine = scored.confusion[places]
            with_truth = mine[mine[:, index].sum(-1) > 0]
            pooled = _convention(mine.sum(0), index)
            known = "yes" if scored.groups[places[0]] else "no"
            row = {"patient": patient, "patient_known": known, "class": name, "images": len(mine)}
            row["images_with_truth"] = len(with_truth)
            row |= {score: round(float(value), 5) for score, value in pooled.items()}
            dice = _convention(with_truth.sum(0), index)["dice"] if len(with_truth) else math.nan
            yield {**row, "dice_of_images_with_truth": round(float(dice), 5)}
