"""What a frozen trunk makes of the images, computed once: training the head then takes seconds.

Each training image is seen in `config.model.cached_views` ways, the first as it is and the others
augmented; a step draws one. The features lie in the cache, named by all that decides them.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8
from ml_collections import ConfigDict

from classify.state import Classifier, path_of
from common.cache import cache_dir
from common.data.augmentation import Augmentation
from common.data.prepared import Example, Prepared, Split
from common.data.transforms import augment, to_unit
from common.log import log
from common.training import parallel
from common.training.network import Variables
from common.training.randomness import example_keys

_BATCH = 32
_VIEW = 0  # purpose of random keys

Features = Float[np.ndarray, "images views features"]


@dataclass(frozen=True)
class _WithFeatures(Sequence[Example]):
    """The examples of a split, each with the features of its views."""

    split: Split
    features: Features

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, row: int) -> Example:  # type: ignore[override]
        example = self.split.source[int(self.split.rows[row])]
        return {**example, "features": self.features[row]}


def with_features(
    prepared: Prepared, classifier: Classifier, variables: Variables, config: ConfigDict
) -> Prepared:
    """Returns the set with "features" beside every image of the splits that training uses.

    Args:
      prepared: the images.
      classifier: its trunk is frozen.
      variables: of its network.
      config: of the experiment.
    """
    file = (
        cache_dir(config.data.cache_dir) / "features" / f"{_key(prepared, variables, config)}.npz"
    )
    if not file.exists():
        _write(file, _computed(prepared, classifier, variables, config))
    with np.load(file, allow_pickle=False) as stored:
        splits = {
            name: replace(
                split,
                source=_WithFeatures(split, stored[name]),
                rows=np.arange(len(split)),
            )
            if name in stored
            else split
            for name, split in prepared.splits.items()
        }
    return replace(prepared, splits=splits)


def _key(prepared: Prepared, variables: Variables, config: ConfigDict) -> str:
    """Returns a digest of all that decides the features: images, weights, network, variation."""
    card, model = prepared.card, config.model
    settings = [card.fingerprint, card.image_size, card.channels, model.name, config.seed]
    settings += [model.network.to_dict(), config.augment.to_dict(), model.cached_views]
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=list).encode())
    leaves = jax.tree_util.tree_leaves_with_path(variables)
    for path, values in sorted((path_of(keys), values) for keys, values in leaves):
        if "/classes/" not in path and "/hidden_" not in path:
            digest.update(path.encode() + np.asarray(values).tobytes())
    return digest.hexdigest()[:24]


def _computed(
    prepared: Prepared, classifier: Classifier, variables: Variables, config: ConfigDict
) -> Mapping[str, Features]:
    """Computes the features of the training and validation images."""
    devices = jax.local_device_count()
    batch = -(-_BATCH // devices) * devices
    augmentation = Augmentation(**config.augment)

    def features_of(
        variables: Variables,
        images: UInt8[Array, "batch height width channels"],
        positions: Int[Array, " batch"],
        views: Int[Array, " batch"],
    ) -> Float[Array, "batch features"]:
        key = jax.random.fold_in(jax.random.key(config.seed), views[0])
        varied = augment({"image": images}, example_keys(key, _VIEW, positions), augmentation)
        seen = jnp.where(views[:, None, None, None] > 0, varied["image"], images)
        _, kept = classifier.network.apply(
            variables, to_unit(seen), train=False, mutable=["intermediates"]
        )
        (features,) = kept["intermediates"]["features"]
        return features

    run = parallel.spread(features_of, variables)

    def of_view(split: Split, view: int) -> Float[np.ndarray, "images features"]:
        parts = []
        for start in range(0, len(split), batch):
            rows = np.minimum(np.arange(start, start + batch), len(split) - 1).astype(np.int32)
            images = split.read(rows.tolist())["image"]
            found = np.asarray(run(images, rows, np.full(batch, view, np.int32)))
            parts.append(found.reshape(batch, -1)[: len(split) - start])
        return np.concatenate(parts)

    arrays = {}
    for name, count in (("train", config.model.cached_views), ("val", 1)):
        if name in prepared.splits:
            split = prepared.splits[name]
            log.info("computing features of %d images (%s), %d views", len(split), name, count)
            arrays[name] = np.stack([of_view(split, view) for view in range(count)], 1)
    return arrays


def _write(file: Path, arrays: Mapping[str, Features]) -> None:
    """Writes the whole file or nothing."""
    file.parent.mkdir(parents=True, exist_ok=True)
    scratch = file.with_name(f".{os.getpid()}.{file.name}")
    with scratch.open("wb") as stream:
        np.savez(stream, **dict(arrays), allow_pickle=False)
    scratch.replace(file)
