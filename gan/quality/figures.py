"""How good and how varied a generator's images are, each figure beside its floor.

A figure's name in files says how it was computed: `frechet_vgg16_train_425_1816` compares the
`vgg16` features (features.py) of 425 real images of the split "train" with those of 1,816 generated
ones. Only figures of one name can be compared.

The floor is what perfect images score: the same figure between two disjoint halves of the real
images, no patient in both. Halves are smaller, so `same_n` is the generator's figure at their size;
compare this with the floor. Both are means over four random halvings.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import NamedTuple

import numpy as np

from common.program.log import log
from common.program.words import counted
from gan.quality.features import PYRADIOMICS
from gan.quality.measures import (
    Estimate,
    Features,
    disjoint_halves,
    frechet_distance,
    kernel_distance,
    manifold_scores,
    radiomic_distance,
)
from gan.quality.reference import Labels, Reference

ALL = "all"  # classes together
_HALVINGS = 4


@dataclass(frozen=True)
class Comparison:
    """Which images are compared by which features.

    Attributes:
      extractor: of the features.
      class_name: of the images; "all" of all together, in the real proportions of classes.
      split: of the real images.
      real: how many real images.
      generated: how many generated ones.
    """

    extractor: str
    class_name: str
    split: str
    real: int
    generated: int

    def name_of(self, measure: str) -> str:
        """Returns the name of a figure in files: "frechet_vgg16_train_425_1816"."""
        return f"{measure}_{self.extractor}_{self.split}_{self.real}_{self.generated}"


class Triple(NamedTuple):
    """A number of all generated images, of as many as a half of the real ones, and its floor."""

    value: float
    same_n: float
    floor: float


@dataclass(frozen=True)
class Figure:
    """A measure of generated images, beside its floor: see the module's docstring.

    Attributes:
      name: of the measure, such as "frechet".
      comparison: of which images.
      value: of all generated images.
      same_n: of as many of them as a half of the real images has.
      floor: of two halves of the real images.
      error: the standard errors of these three; None if they are unknown.
    """

    name: str
    comparison: Comparison
    value: float
    same_n: float
    floor: float
    error: Triple | None = None

    def entries(self) -> Iterator[tuple[str, Mapping[str, float]]]:
        """Yields what files hold of it, by name: its numbers, then their standard errors."""
        numbers = Triple(self.value, self.same_n, self.floor)
        yield self.comparison.name_of(self.name), numbers._asdict()
        if self.error is not None:
            yield self.comparison.name_of(f"{self.name}_standard_error"), self.error._asdict()


def with_floor(
    comparison: Comparison, real: Features, owners: Sequence[str], generated: Features, k: int
) -> tuple[Figure, ...]:
    """Returns every figure of a comparison.

    () if there are too few images, even in a half, or all have one owner.

    Args:
      comparison: what is compared.
      real: features of real images.
      owners: the owner of each image.
      generated: features of generated images.
      k: see `manifold_scores`.
    """
    if len(set(owners)) < 2 or len(generated) <= k:
        return ()
    same_n, floor = [], []
    for seed in range(_HALVINGS):
        rng = np.random.default_rng(seed)
        first, second = disjoint_halves(owners, seed)
        chosen, others = rng.permutation(len(generated)), rng.permutation(second)
        count = min(len(first), len(others), len(chosen))
        if count <= k:
            return ()
        same_n.append(_measured(comparison.extractor, real[first], generated[chosen[:count]], k))
        floor.append(_measured(comparison.extractor, real[first], real[others[:count]], k))
    sets = ([_measured(comparison.extractor, real, generated, k)], same_n, floor)
    found = []
    for name in sets[0][0]:
        numbers, errors = (
            Triple(*(float(np.mean([part(one[name]) for one in some])) for some in sets))
            for part in (attrgetter("value"), attrgetter("standard_error"))
        )
        error = None if math.isnan(errors.value) else errors
        found.append(Figure(name, comparison, *numbers, error))
    return tuple(found)


def _measured(extractor: str, real: Features, generated: Features, k: int) -> dict[str, Estimate]:
    """Returns every measure of measures.py for two sets."""
    own = {"frd": Estimate(radiomic_distance(real, generated))} if extractor == PYRADIOMICS else {}
    return {
        **own,
        "frechet": Estimate(frechet_distance(real, generated)),
        "kernel": kernel_distance(real, generated),
        **{
            name: Estimate(score)
            for name, score in manifold_scores(real, generated, k)._asdict().items()
        },
    }


def quality(
    reference: Reference, name: str, generated: Features, labels: Labels, k: int
) -> tuple[Figure, ...]:
    """Returns the figures by one extractor of all images, then of each class.

    A class with too few real or generated images is left out with a warning.

    Args:
      reference: the real images.
      name: of the extractor.
      generated: features of generated images, as the extractor returns them.
      labels: the requested classes; 0 of an unconditional generator.
      k: see `manifold_scores`.
    """
    real, made = (
        reference.scaled(name, features) for features in (reference.features[name](), generated)
    )
    owners = np.array(reference.owners)
    sets = [(ALL, np.arange(len(real)), reference.mixed(labels))]
    for label, known in enumerate(reference.classes):
        sets.append(
            (known, np.flatnonzero(reference.labels == label), np.flatnonzero(labels == label))
        )
    found: list[Figure] = []
    for known, ours, theirs in sets:
        of = Comparison(name, known, reference.split, len(ours), len(theirs))
        compared = with_floor(of, real[ours], owners[ours].tolist(), made[theirs], k)
        found += compared
        if not compared:
            log.warning(
                "No %s figures of %s: %s of %s (unknown ones count as one an image) and %s are"
                " too few.",
                *(name, known, counted(len(ours), "real image")),
                counted(len(set(owners[ours])), "patient"),
                counted(len(theirs), "generated one"),
            )
    return tuple(found)
