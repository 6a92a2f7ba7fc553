"""How good and how varied a generator's images are, each figure beside its floor.

A figure's name says how it came about: `frechet_vgg16_train_425_1000` compares the features that
`vgg16` gives (gan/features.py) of 425 real images of the split "train" with those of 1,000
generated ones. Only figures of one name can be compared.

The floor is what perfection scores: the same figure between two disjoint halves of the real images,
no patient in both. Halves are smaller, so `same_n` is the generator's figure at their size; it is
what stands beside the floor. Both are means over four random halvings.
"""

import functools
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, UInt8

from common.data.prepared.prepared import Prepared, Split
from common.learning.network import Variables
from common.program.cache import cache_dir, kept_array
from common.program.log import log
from common.program.words import counted
from gan.features import Extractor
from gan.measures import disjoint_halves, frechet_distance, kernel_distance, manifold_scores
from gan.sampling import BATCH, Sampler

HIGHER_IS_BETTER = ("precision", "recall", "density", "coverage")
_MOST = 10_000  # real images; more change no figure that people read
_HALVINGS = 4
_AT_ONCE = 256  # images in memory beside their features

Images = UInt8[np.ndarray, "images height width channels"]
Labels = Int[np.ndarray, " images"]
Features = Float[np.ndarray, "_images _features"]  # two sets of different sizes may meet


@dataclass(frozen=True)
class Reference:
    """Real images that generated ones are compared with.

    Attributes:
      split: their split's name.
      rows: their places in it.
      labels: their classes.
      owners: whose image each is.
      classes: the names of the classes that figures are given for; () where the generator can't be
        asked for one.
      extractors: what makes features, by name.
      features: of the real images, by extractor; made when they are first asked for.
    """

    split: str
    rows: Int[np.ndarray, " images"]
    labels: Labels
    owners: tuple[str, ...]
    classes: tuple[str, ...]
    extractors: Mapping[str, Extractor]
    features: Mapping[str, Callable[[], Features]]

    def proportions(self, per_class: int) -> list[int]:
        """Returns how many generated images of each class make a set mixed as the real one."""
        if not self.classes:
            return [per_class]
        counts = np.bincount(self.labels, minlength=len(self.classes))
        return [round(per_class * count / counts.max()) for count in counts.tolist()]

    def mixed(self, labels: Labels) -> Int[np.ndarray, " _chosen"]:
        """Returns the rows of generated images that make a set mixed as the real one."""
        counts = self.proportions(int(np.bincount(labels).max()))
        return np.concatenate(
            [np.flatnonzero(labels == label)[:count] for label, count in enumerate(counts)]
        )

    def scaled(self, name: str, features: Features) -> Features:
        """Returns features as distances take them: see `Extractor.standardised`."""
        if not self.extractors[name].standardised:
            return features
        real = self.features[name]().astype(np.float64)
        deviation = real.std(0)
        return (features - real.mean(0)) / np.where(deviation > 0, deviation, 1.0)


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
      conditional: whether the generator draws the class that it is asked for.
      extractors: of the features.
      cache: `config.data.cache_dir`.
      most: of a larger split this many images, from all over it, are taken.
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
      counts: how many of class 0, 1, ...; of the only one, where it can't be asked for a class.
    """
    numbers = np.concatenate([np.arange(count, dtype=np.int32) for count in counts])
    labels = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    parts = []
    for start in range(0, len(numbers), BATCH):
        rows = np.minimum(np.arange(start, start + BATCH), len(numbers) - 1)
        latents = sampler.latents(seed, jnp.asarray(numbers[rows]))
        images = sampler.images(variables, latents, jnp.asarray(labels[rows]))
        parts.append(np.asarray(images)[: len(numbers) - start])
    return np.concatenate(parts), labels


def figures(real: Features, generated: Features, k: int) -> dict[str, float]:
    """Returns every measure of gan/measures.py of two sets."""
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

    {} where there are too few images, be it in a half, or all are of one owner.

    Args:
      real: features of real images.
      owners: whose image each is.
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

    "all" is of generated images mixed as the real ones are. A class of too few real or generated
    images is left out, which is said.

    Args:
      reference: the real images.
      name: of the extractor.
      generated: features of generated images, as the extractor gives them.
      labels: the classes that they were asked to be; 0 where none was asked for.
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
                "No %s figures of %s: %s of %s (each image is one where they are unknown) and %s"
                " are too few.",
                *(name, known, counted(len(ours), "real image")),
                counted(len(set(owners[ours])), "patient"),
                counted(len(theirs), "generated one"),
            )
            continue
        end = f"{name}_{reference.split}_{len(ours)}_{len(theirs)}"
        found[known] = {f"{figure}_{end}": entry for figure, entry in compared.items()}
    return found
