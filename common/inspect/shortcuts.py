"""Can classes be told apart without the picture? A probe that sees only properties of files.

A classifier takes the easiest way: when all images of one class come from one scanner or one paper,
their size, border or brightness reveals the class, and the score says nothing about the disease.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from common.inspect.facts import Facts
from common.scores import bootstrap
from common.scores.areas import area_under_curve, areas_of_draws

MOST_IMAGES = 4000  # drawn from larger sets
LEAST_IMAGES = 10  # of a class; fewer are too few for a conclusion
_FOLDS = 5
LEAST_GROUPS = _FOLDS  # of a class
_TREES = 200
_RESAMPLES = 200
_SEED = 0
_HUGE = 1e30  # forests compute in float32; values in files may be larger

Column = Float[np.ndarray, " _num"]
Scores = Float[np.ndarray, " _num"]


@dataclass(frozen=True)
class Telling:
    """A property and how well it alone separates a class from the others.

    Attributes:
      name: for people: "width", "file type .png".
      auc: 0.5 (tells nothing) to 1.
      inside: its median in the class; for a yes-or-no property, the share that has it.
      outside: the same in the other classes.
      is_share: whether these are shares.
    """

    name: str
    auc: float
    inside: float
    outside: float
    is_share: bool


@dataclass(frozen=True)
class Shortcut:
    """How well properties recognise the class that is easiest to recognise.

    Attributes:
      label: the class.
      auc: area under the curve of this class against the others, cross-validated.
      low: lower end of its 95 % interval (bootstrap over groups).
      high: upper end.
      telling: the properties, the most revealing first.
    """

    label: int
    auc: float
    low: float
    high: float
    telling: tuple[Telling, ...]


@dataclass(frozen=True)
class TooFew:
    """Why the probe is impossible.

    Attributes:
      label: the class with too few.
      images: number of its images.
      groups: number of their groups.
      ungrouped: the probe with each image as a group of its own, which may recognise patients
        instead of classes; None if that is impossible, too.
    """

    label: int
    images: int
    groups: int
    ungrouped: Shortcut | None


def file_properties(images: Sequence[Facts]) -> dict[str, Column]:
    """Returns properties unrelated to the patient: size, mode, type, bits and frame."""
    numbers = {
        "width": [image.width for image in images],
        "height": [image.height for image in images],
        "width / height": [image.width / image.height for image in images],
        "bits": [image.bits for image in images],
        "frame width": [image.frame.width for image in images],
        "frame brightness": [image.frame.brightness for image in images],
        "colour": [image.coloured for image in images],
    }
    kinds = {
        "mode": [image.mode for image in images],
        "file type": [image.file_type for image in images],
    }
    columns = {name: np.array(values, np.float64) for name, values in numbers.items()}
    for kind, values in kinds.items():
        for value in sorted(set(values)):
            columns[f"{kind} {value}"] = np.array([other == value for other in values], np.float64)
    return {name: column for name, column in columns.items() if np.ptp(column)}


def tone_properties(images: Sequence[Facts]) -> dict[str, Column]:
    """Returns properties of the scanner or the disease: brightness and compression."""
    columns = {
        "mean brightness": [image.brightness for image in images],
        "contrast": [image.contrast for image in images],
        "lowest value": [image.value_range[0] for image in images],
        "highest value": [image.value_range[1] for image in images],
        "compressed size in bytes per pixel": [
            image.file_bytes / (image.width * image.height) for image in images
        ],
    }
    arrays = {name: np.array(values, np.float64) for name, values in columns.items()}
    return {name: column for name, column in arrays.items() if np.ptp(column)}


def find_shortcut(
    columns: Mapping[str, Column], labels: Int[np.ndarray, " num"], groups: Sequence[str]
) -> Shortcut | TooFew | None:
    """Cross-validates a random forest on properties; returns the result for the easiest class.

    Args:
      columns: the properties, one value per image.
      labels: the classes.
      groups: the group of each image: no group is in both parts of a fold, and the interval comes
        from resampling groups. "" is a group of its own.

    Returns:
      None if there is only one class or all properties are equal; `TooFew` if a class has
      fewer than `LEAST_IMAGES` images or `LEAST_GROUPS` groups.
    """
    if not columns or len(np.unique(labels)) < 2:
        return None
    owners = np.unique(
        [group or f"#{row}" for row, group in enumerate(groups)], return_inverse=True
    )[1]
    if (few := _too_few(columns, labels, owners)) is not None:
        return few
    rows = _drawn(labels)
    features = np.stack(list(columns.values()), axis=1)[rows].clip(-_HUGE, _HUGE)
    scores = _cross_validated(features, labels[rows], owners[rows])
    classes = np.unique(labels[rows])
    aucs = [
        area_under_curve(scores[:, place], labels[rows] == label)
        for place, label in enumerate(classes)
    ]
    best = int(np.argmax(aucs))
    is_class = labels[rows] == classes[best]
    low, high = _interval(scores[:, best], is_class, owners[rows])
    telling = [_telling(name, column[rows], is_class) for name, column in columns.items()]
    return Shortcut(
        label=int(classes[best]),
        auc=aucs[best],
        low=low,
        high=high,
        telling=tuple(sorted(telling, key=lambda item: (-item.auc, -item.inside))),
    )


def _too_few(
    columns: Mapping[str, Column], labels: Int[np.ndarray, " num"], owners: Int[np.ndarray, " num"]
) -> TooFew | None:
    """Returns the class with too few images or groups, if there is one."""
    for label in np.unique(labels):
        images = int((labels == label).sum())
        groups = len(np.unique(owners[labels == label]))
        if images < LEAST_IMAGES or groups < LEAST_GROUPS:
            alone = None
            if len(np.unique(owners)) < len(owners):
                alone = find_shortcut(columns, labels, [""] * len(labels))
            ungrouped = alone if isinstance(alone, Shortcut) else None
            return TooFew(int(label), images, groups, ungrouped)
    return None


def _drawn(labels: Int[np.ndarray, " _num"]) -> Int[np.ndarray, " _rows"]:
    """Returns at most `MOST_IMAGES` rows, the classes as evenly as possible."""
    if len(labels) <= MOST_IMAGES:
        return np.arange(len(labels))
    random = np.random.default_rng(_SEED)
    share = MOST_IMAGES // len(np.unique(labels))
    parts = [random.permutation(np.flatnonzero(labels == label))[:share] for label in set(labels)]
    return np.sort(np.concatenate(parts))


def _cross_validated(
    features: Float[np.ndarray, "num _properties"],
    labels: Int[np.ndarray, " num"],
    owners: Int[np.ndarray, " num"],
) -> Float[np.ndarray, "num _classes"]:
    """Returns the probability of each class for images that the forest has not seen."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict

    forest = RandomForestClassifier(_TREES, min_samples_leaf=3, random_state=_SEED)
    folds = StratifiedGroupKFold(_FOLDS, shuffle=True, random_state=_SEED)
    probabilities: np.ndarray = cross_val_predict(
        forest, features, labels, groups=owners, cv=folds, method="predict_proba"
    )
    return probabilities


def _interval(
    scores: Scores, positive: Bool[np.ndarray, " _num"], owners: Int[np.ndarray, " _num"]
) -> tuple[float, float]:
    groups, owner = np.unique(owners, return_inverse=True)

    def measure(draws: bootstrap.Draws) -> dict[str, bootstrap.OfDraws]:
        return {"auc": areas_of_draws(draws[:, owner], scores, positive)[0]}

    draws = bootstrap.drawn_one_by_one(len(groups), _RESAMPLES, _RESAMPLES)
    found = bootstrap.intervals(measure, len(groups), draws)["auc"]
    return found.low, found.high


def _telling(name: str, column: Column, is_class: Bool[np.ndarray, " _num"]) -> Telling:
    auc = area_under_curve(column, is_class)
    is_share = set(np.unique(column)) <= {0.0, 1.0}
    typical = np.mean if is_share else np.median
    return Telling(
        name=name,
        auc=max(auc, 1 - auc),
        inside=float(typical(column[is_class])),
        outside=float(typical(column[~is_class])),
        is_share=is_share,
    )
