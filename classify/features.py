"""The features of a frozen trunk, computed once: training the head then takes seconds.

Each training image has `config.model.cached_views` views, the first as it is and the others
augmented; a step draws one. The features are in the cache, named by all that decides them.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from classify.config import ClassifierSettings
from classify.networks import find_network, stage_of
from classify.state import Classifier, path_of
from common.data.prepared.prepared import Example, Prepared, Split
from common.data.transforms import augment, to_unit
from common.devices import apply
from common.learning.network import Variables
from common.learning.randomness import example_keys
from common.program.cache import cache_dir
from common.program.errors import UserError
from common.program.files import sha256_of
from common.program.log import log
from common.program.scratch import move_into_place, scratch_folder

_BATCH = 32
_VIEW = 0  # purpose of random keys
_VERSION = 1  # of the computation; a new one recomputes all features
_CHECKSUM = ".sha256"  # ending of the file beside that of the features
_HEAD = ("hidden", "dropout_rate")  # settings of networks that only the head uses

Features = Float[np.ndarray, "images views features"]
Maker = Callable[[Split, int], Iterator[tuple[int, Float[np.ndarray, "images features"]]]]


@dataclass(frozen=True)
class _WithFeatures(Sequence[Example]):
    """The examples of a split, each with the features of its views."""

    split: Split
    features: Features

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, row: int) -> Example:  # type: ignore[override]
        example = self.split.source[int(self.split.rows[row])]
        return {**example, "features": np.array(self.features[row])}


def with_features(
    prepared: Prepared, classifier: Classifier, variables: Variables, settings: ClassifierSettings
) -> Prepared:
    """Returns the set with "features" beside every image of the splits that training uses.

    Args:
      prepared: the images.
      classifier: its trunk is frozen.
      variables: of its network.
      settings: of the run.

    Raises:
      UserError: the cache can't be written.
    """
    views = {"train": settings.model.cached_views, "val": 1}
    chosen = {name: count for name, count in views.items() if name in prepared.splits}
    folder = cache_dir(settings.data.cache_dir) / "features" / _key(prepared, variables, settings)
    features = _stored(folder, prepared, chosen)
    if features is None:
        _write(folder, prepared, chosen, _maker(classifier, variables, settings))
        features = _stored(folder, prepared, chosen)
    assert features is not None  # just written
    splits = dict(prepared.splits)
    for name, array in features.items():
        split = splits[name]
        source = _WithFeatures(split, array)
        splits[name] = replace(split, source=source, rows=np.arange(len(split)))
    return replace(prepared, splits=splits)


def _key(prepared: Prepared, variables: Variables, settings: ClassifierSettings) -> str:
    """Returns a digest of all that decides the features: images, trunk and augmentation."""
    card, model = prepared.card, settings.model
    trunk = {name: value for name, value in model.network.items() if name not in _HEAD}
    decisive = [_VERSION, card.fingerprint, card.image_size, card.channels, model.name, trunk]
    decisive.append(model.cached_views)
    if model.cached_views > 1:
        decisive += [settings.seed, asdict(settings.augment)]
    digest = hashlib.sha256(json.dumps(decisive, sort_keys=True, default=list).encode())
    stages = find_network(model.name).STAGES
    for collection in sorted(variables):
        leaves = jax.tree_util.tree_leaves_with_path(variables[collection])
        for path, values in sorted((path_of(keys), values) for keys, values in leaves):
            if stage_of(path, stages) < len(stages):
                digest.update(f"{collection}/{path}".encode() + np.asarray(values).tobytes())
    return digest.hexdigest()[:24]


def _stored(
    folder: Path, prepared: Prepared, views: Mapping[str, int]
) -> dict[str, Features] | None:
    """Opens the features in a folder without reading them; None if they are incomplete."""
    arrays = {}
    for name, count in views.items():
        file = folder / f"{name}.npy"
        try:
            if (folder / f"{name}{_CHECKSUM}").read_text() != sha256_of(file):
                return None
            array = np.load(file, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError):
            return None
        if array.shape[:2] != (len(prepared.splits[name]), count):
            return None
        arrays[name] = array
    return arrays


def _write(folder: Path, prepared: Prepared, views: Mapping[str, int], maker: Maker) -> None:
    """Computes the features view by view; the folder appears complete or not at all."""
    try:
        with scratch_folder(folder.parent) as scratch:
            made = scratch / folder.name
            made.mkdir()
            for name, count in views.items():
                split = prepared.splits[name]
                log.info("computing features: %s, %d images, views: %d", name, len(split), count)
                file, array = made / f"{name}.npy", None
                for view in range(count):
                    for start, features in maker(split, view):
                        if array is None:
                            shape = (len(split), count, features.shape[1])
                            array = np.lib.format.open_memmap(file, "w+", np.float32, shape)
                        array[start : start + len(features), view] = features
                assert array is not None  # a split has at least one example
                array.flush()
                (made / f"{name}{_CHECKSUM}").write_text(sha256_of(file))
            shutil.rmtree(folder, ignore_errors=True)  # what is there is incomplete
            move_into_place(made, folder)
    except OSError as error:
        raise UserError(
            f"{folder} can't be written: {error.strerror}; make room or check permissions, or"
            " choose another --config.data.cache_dir."
        ) from error


def _maker(classifier: Classifier, variables: Variables, settings: ClassifierSettings) -> Maker:
    """Returns a function of (split, view): its features, some at a time, and where they begin."""
    batch = apply.shared_batch(_BATCH)

    def features_of(
        variables: Variables,
        images: UInt8[Array, "batch height width channels"],
        positions: Int[Array, " batch"],
        views: Int[Array, " batch"],
    ) -> Float[Array, "batch features"]:
        key = jax.random.fold_in(jax.random.key(settings.seed), views[0])
        varied = augment({"image": images}, example_keys(key, _VIEW, positions), settings.augment)
        seen = jnp.where(views[:, None, None, None] > 0, varied["image"], images)
        _, kept = classifier.network.apply(
            variables, to_unit(seen), train=False, mutable=["intermediates"]
        )
        features: Array
        (features,) = kept["intermediates"]["features"]
        return features

    run = apply.spread(features_of, variables)

    def make(split: Split, view: int) -> Iterator[tuple[int, Float[np.ndarray, "images features"]]]:
        every = np.arange(len(split), dtype=np.int32)
        for start in range(0, len(split), batch):
            some = every[start : start + batch]
            rows = apply.filled(some, batch)
            images = split.read(rows.tolist())["image"]
            found = run(images, rows, np.full(batch, view, np.int32))
            yield start, apply.without_devices(found)[: len(some)]

    return make
