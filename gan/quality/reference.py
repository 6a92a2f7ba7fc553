"""Real images that generated ones are compared with, and their features."""

import functools
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int, UInt8

from common.data.prepared.prepared import Prepared, Split
from common.program.cache import cache_dir, kept_array
from common.program.log import log
from common.program.words import counted
from gan.quality.features import Extractor
from gan.quality.measures import Features

MOST = 10_000  # real images; more do not change the printed figures
_AT_ONCE = 256  # images in memory beside their features

Images = UInt8[np.ndarray, "images height width channels"]
Labels = Int[np.ndarray, " images"]


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
    most: int = MOST,
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


def _parts(split: Split, rows: Int[np.ndarray, " n"]) -> Iterator[dict[str, np.ndarray]]:
    for start in range(0, len(rows), _AT_ONCE):
        yield split.read(rows[start : start + _AT_ONCE].tolist())


def _features_of(split: Split, rows: Int[np.ndarray, " n"], extractor: Extractor) -> Features:
    if len(rows) > _AT_ONCE:
        log.info("computing %s features of %s", extractor.name, counted(len(rows), "real image"))
    return np.concatenate([extractor.extract(part["image"]) for part in _parts(split, rows)])
