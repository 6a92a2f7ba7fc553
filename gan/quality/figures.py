"""How good and how varied a generator's images are, each figure beside its floor.

A figure's name says how it was computed: `frechet_vgg16_train_425_1816` compares the `vgg16`
features (features.py) of 425 real images of the split "train" with those of 1,816 generated ones.
Only figures of one name can be compared.

The floor is what perfect images score: the same figure between two disjoint halves of the real
images, no patient in both. Halves are smaller, so `same_n` is the generator's figure at their size;
compare this with the floor. Both are means over four random halvings.
"""

import functools
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from common.data.prepared.prepared import Prepared, Split
from common.devices.apply import by_batches
from common.learning.network import Variables
from common.program.cache import cache_dir, kept_array
from common.program.log import log
from common.program.words import counted
from gan.quality.features import Extractor
from gan.quality.measures import disjoint_halves, frechet_distance, kernel_distance, manifold_scores
from gan.sampling import BATCH, Sampler

HIGHER_IS_BETTER = ("precision", "recall", "density", "coverage")
_MOST = 10_000  # real images; more do not change the printed figures
_HALVINGS = 4
_AT_ONCE = 256  # images in memory beside their features

Images = UInt8[np.ndarray, "images height width channels"]
Labels = Int[np.ndarray, " images"]
Features = Float[np.ndarray, "_images _features"]  # two sets may have different sizes


@dataclass(frozen=True)
class Reference:
    """Real images that generated ones are compared with.

    Attributes:
      split: their split's name.
      rows: their places in it.
      labels: their classes.
      owners: the owner of each image.
      classes: the names of the classes with figures of their own; () of an unconditional generator.
      extractors: of features, by name.
      features: of the real images, by extractor; computed on first use.
    """

    split: str
    rows: Int[np.ndarray, " images"]
    labels: Labels
    owners: tuple[str, ...]
    classes: tuple[str, ...]
    extractors: Mapping[str, Extractor]
    features: Mapping[str, Callable[[], Features]]

    def proportions(self, per_class: int) -> list[int]:
        """Returns how many generated images of each class match the real proportions."""
        if not self.classes:
            return [per_class]
        counts = np.bincount(self.labels, minlength=len(self.classes))
        return [round(per_class * count / counts.max()) for count in counts.tolist()]

    def mixed(self, labels: Labels) -> Int[np.ndarray, " _chosen"]:
        """Returns the rows of generated images that match the real proportions of classes."""
        counts = self.proportions(int(np.bincount(labels).max()))
        return np.concatenate(
            [np.flatnonzero(labels == label)[:count] for label, count in enumerate(counts)]
        )

    def scaled(self, name: str, features: Features) -> Features:
        """Returns features as distances use them: see `Extractor.standardised`."""
        if not self.extractors[name].standardised:
            return features
        real = self.features[name]().astype(np.float64)
        deviation = real.std(0)
        scaled: np.ndarray = (features - real.mean(0)) / np.where(deviation > 0, deviation, 1.0)
        return scaled


def reference_of(
    prepared: Prepared,
    name: str,
    conditional: bool,
    extractors: Sequence[Extractor],
    cache: str,
    most: int = _MOST,
) -> Reference:
    """Returns a split as a reference; its features are kept in the cache.

    Args:
      prepared: the data.
      name: of the split.
      conditional: whether the generator draws the class that it is given.
      extractors: of the features.
      cache: `config.data.cache_dir`.
      most: images to take from a larger split, evenly spaced.
    """
    split, card = prepared.splits[name], prepared.card
    rows = np.linspace(0, len(split) - 1, min(len(split), most), dtype=int)
    folder = cache_dir(cache) / "quality"
    features = {}
    for extractor in extractors:
        key = repr((card.fingerprint, card.image_size, card.channels, name, len(rows)))
        key = hashlib.sha256(f"{key} {extractor.identity}".encode()).hexdigest()[:24]
        make = functools.partial(_features_of, split, rows, extractor)
        file = folder / f"{key}.npy"
        features[extractor.name] = functools.cache(
            functools.partial(kept_array, file, len(rows), make)
        )
    labels = np.concatenate([part["label"] for part in _parts(split, rows)])
    return Reference(
        name,
        rows,
        labels,
        tuple(np.array(split.owners)[rows].tolist()),
        card.classes if conditional else (),
        {extractor.name: extractor for extractor in extractors},
        features,
    )


def _parts(split: Split, rows: Int[np.ndarray, " n"]) -> Iterator[dict[str, Any]]:
    for start in range(0, len(rows), _AT_ONCE):
        yield split.read(rows[start : start + _AT_ONCE].tolist())


def _features_of(split: Split, rows: Int[np.ndarray, " n"], extractor: Extractor) -> Features:
    if len(rows) > _AT_ONCE:
        log.info("computing %s features of %s", extractor.name, counted(len(rows), "real image"))
    return np.concatenate([extractor.extract(part["image"]) for part in _parts(split, rows)])


def draw_images(
    sampler: Sampler, variables: Variables, seed: int, counts: Sequence[int]
) -> tuple[Images, Labels]:
    """Returns images number 0, 1, ... of a seed and each class: those that --mode=generate writes.

    Args:
      sampler: of the generator.
      variables: its parameters and running statistics.
      seed: of the latents.
      counts: how many of class 0, 1, ...; one number for an unconditional generator.
    """
    numbers = np.concatenate([np.arange(count, dtype=np.int32) for count in counts])
    labels = np.repeat(np.arange(len(counts), dtype=np.int32), counts)

    def draw(numbers: Labels, labels: Labels) -> Array:
        latents = sampler.latents(seed, jnp.asarray(numbers))
        return sampler.images(variables, latents, jnp.asarray(labels))

    return by_batches(draw, BATCH, numbers, labels), labels


def figures(real: Features, generated: Features, k: int) -> dict[str, float]:
    """Returns every measure of measures.py for two sets."""
    kernel = kernel_distance(real, generated)
    return {
        "frechet": frechet_distance(real, generated),
        "kernel": kernel.value,
        "kernel_standard_error": kernel.standard_error,
        **manifold_scores(real, generated, k),
    }


def with_floor(
    real: Features, owners: Sequence[str], generated: Features, k: int
) -> dict[str, dict[str, float]]:
    """Returns each figure's "value", and "same_n" and "floor": see the module's docstring.

    {} if there are too few images, even in a half, or all have one owner.

    Args:
      real: features of real images.
      owners: the owner of each image.
      generated: features of generated images.
      k: see `manifold_scores`.
    """
    if len(set(owners)) < 2 or len(generated) <= k:
        return {}
    of_halves: dict[str, list[dict[str, float]]] = {"same_n": [], "floor": []}
    for seed in range(_HALVINGS):
        rng = np.random.default_rng(seed)
        first, second = disjoint_halves(owners, seed)
        chosen, others = rng.permutation(len(generated)), rng.permutation(second)
        count = min(len(first), len(others), len(chosen))
        if count <= k:
            return {}
        of_halves["same_n"].append(figures(real[first], generated[chosen[:count]], k))
        of_halves["floor"].append(figures(real[first], real[others[:count]], k))
    value = figures(real, generated, k)
    found = {name: {"value": number} for name, number in value.items()}
    for which, some in of_halves.items():
        for name, entry in found.items():
            entry[which] = float(np.mean([one[name] for one in some]))
    return found


def quality(
    reference: Reference, name: str, generated: Features, labels: Labels, k: int
) -> dict[str, dict[str, dict[str, float]]]:
    """Returns `{class or "all": {figure: {"value", "same_n", "floor"}}}` of one extractor.

    For "all", the generated images have the real proportions of classes. A class with too few real
    or generated images is left out with a warning.

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
    sets = {"all": (np.arange(len(real)), reference.mixed(labels))}
    for label, known in enumerate(reference.classes):
        sets[known] = np.flatnonzero(reference.labels == label), np.flatnonzero(labels == label)
    found = {}
    for known, (ours, theirs) in sets.items():
        compared = with_floor(real[ours], owners[ours].tolist(), made[theirs], k)
        if not compared:
            log.warning(
                "No %s figures of %s: %s of %s (unknown ones count as one an image) and %s are"
                " too few.",
                *(name, known, counted(len(ours), "real image")),
                counted(len(set(owners[ours])), "patient"),
                counted(len(theirs), "generated one"),
            )
            continue
        end = f"{name}_{reference.split}_{len(ours)}_{len(theirs)}"
        found[known] = {f"{figure}_{end}": entry for figure, entry in compared.items()}
    return found
