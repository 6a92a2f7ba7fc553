"""The prepared set: every image decoded once, resized, uint8, in a TFDS data set on array_record.

It lies in the cache under a fingerprint of the files and of the settings that shape the pixels, so
a second start finds it and a change of either prepares anew.
"""

import contextlib
import hashlib
import io
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Int32, UInt8
from ml_collections import ConfigDict

from common.cache import cache_dir
from common.data.decode import fit_image
from common.data.sources import Record, Source, open_source
from common.errors import UserError
from common.log import log

# Raise it when the same files would give other pixels: old prepared sets are then not found.
PREPARATION = 1
_DECODE_AHEAD = 256  # records in flight between the decoding threads and the writer


@dataclass(frozen=True)
class DataCard:
    """What a task may know of its data; it travels with the run.

    Attributes:
      name: for people: the folder, the file, or the kind of phantoms.
      classes: their names; a label is an index into them.
      num_examples: per split ("train", "val", "test").
      image_size: height and width in pixels.
      channels: 1 or 3.
      fingerprint: hex digest of every id, label and pixel.
      synthetic: true for phantoms, which are drawings and not patients.
      skipped: unreadable images left out because config.data.on_bad_image is "skip".
    """

    name: str
    classes: tuple[str, ...]
    num_examples: Mapping[str, int]
    image_size: int
    channels: int
    fingerprint: str
    synthetic: bool
    skipped: int

    @property
    def caption(self) -> str:
        """Returns the name, with a plain warning where the images are not of patients."""
        return f"{self.name} (drawings, not patients)" if self.synthetic else self.name

    def to_dict(self) -> dict[str, Any]:
        """Returns what `from_dict` and JSON take."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "DataCard":
        """Builds a card from `to_dict`'s result, also after a round trip through JSON."""
        return cls(**{**fields, "classes": tuple(fields["classes"])})


@dataclass(frozen=True)
class Split:
    """Random access to the prepared examples of one split."""

    source: Sequence[Mapping[str, Any]]

    def __len__(self) -> int:
        return len(self.source)

    def read(self, indices: Sequence[int]) -> dict[str, np.ndarray]:
        """Returns {"image": uint8 [n, height, width, channels], "label": int32 [n]}."""
        records = self.source.__getitems__(list(indices))  # type: ignore[attr-defined]
        images: UInt8[np.ndarray, "n height width channels"]
        labels: Int32[np.ndarray, " n"]
        images = np.stack([record["image"] for record in records])
        labels = np.array([record["label"] for record in records], np.int32)
        return {"image": images, "label": labels}

    def ids(self) -> list[str]:
        """Returns the id of every example (the path below the folder that it came from)."""
        records = self.source.__getitems__(list(range(len(self))))  # type: ignore[attr-defined]
        return [record["id"].decode() for record in records]


@dataclass(frozen=True)
class Prepared:
    """A prepared set: its card and its splits; "train" is always there."""

    card: DataCard
    splits: Mapping[str, Split]


class PreparedImages(tfds.core.GeneratorBasedBuilder):
    """Writes a source as a TFDS data set; only `prepare` makes one."""

    VERSION = tfds.core.Version("1.0.0")

    def __init__(self, *, images: Source, settings: ConfigDict, **kwargs: Any) -> None:
        self._images, self._settings = images, settings
        self._digest = hashlib.sha256()
        self._counts = {"kept": 0, "skipped": 0}
        super().__init__(**kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        size, channels = self._settings.image_size, self._settings.channels
        features = tfds.features.FeaturesDict(
            {
                "image": tfds.features.Tensor(shape=(size, size, channels), dtype=np.uint8),
                "label": tfds.features.ClassLabel(names=list(self._images.classes)),
                "id": tfds.features.Text(),
            }
        )
        metadata = tfds.core.MetadataDict()
        # Unshuffled: the order of training is ours (common/data/order.py).
        return tfds.core.DatasetInfo(
            builder=self, features=features, metadata=metadata, disable_shuffling=True
        )

    def _split_generators(self, _: Any) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
        return {split: self._examples(split) for split in self._images.splits}

    def _generate_examples(self, **_: Any) -> Iterator[tuple[int, dict[str, Any]]]:
        raise AssertionError("every split brings its own generator")

    def _examples(self, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
        kept = [0] * len(self._images.classes)
        for record, image in self._decoded(self._images.splits[split]):
            self._digest.update(f"{split} {record.id} {record.label} ".encode())
            self._digest.update(image.tobytes())
            yield sum(kept), {"image": image, "label": record.label, "id": record.id}
            kept[record.label] += 1
        present = {record.label for record in self._images.splits[split]}
        if lost := [self._images.classes[label] for label in sorted(present) if not kept[label]]:
            raise UserError(
                f"No image of class {lost[0]} in the {split} split of {self._images.name} can be"
                " read; put readable images there or remove the class."
            )
        # Written when the last split ends; TFDS stores the info after all of them.
        self.info.metadata.update(digest=self._digest.hexdigest(), **self._counts)

    def _decoded(
        self, records: Sequence[Record]
    ) -> Iterator[tuple[Record, UInt8[np.ndarray, "height width channels"]]]:
        """Decodes on every core (Pillow releases the GIL), in order, with bounded memory."""
        waiting = iter(records)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            while chunk := list(islice(waiting, _DECODE_AHEAD)):
                for record, image in zip(chunk, pool.map(self._decode, chunk), strict=True):
                    self._counts["skipped" if image is None else "kept"] += 1
                    if image is not None:
                        yield record, image

    def _decode(self, record: Record) -> UInt8[np.ndarray, "height width channels"] | None:
        try:
            image = record.read()
        except UserError as error:
            if self._settings.on_bad_image == "skip":
                log.warning("skipped: %s", error)
                return None
            raise UserError(
                f"{error} To go on without such files: --config.data.on_bad_image=skip"
            ) from error
        return fit_image(image, self._settings.image_size, self._settings.channels)


def prepare(data: ConfigDict) -> Prepared:
    """Opens the prepared set of `config.data`, making it first where the cache has none.

    Raises:
      UserError: the folder, a file or a setting is not usable.
    """
    source = open_source(data)
    folder = cache_dir(data.cache_dir) / "prepared" / _key(source, data)
    if not folder.exists():
        _write(source, data, folder)
    builder = tfds.builder_from_directory(str(folder))
    splits = {name: Split(builder.as_data_source(split=name)) for name in source.splits}
    metadata = builder.info.metadata
    card = DataCard(
        name=source.name,
        classes=source.classes,
        num_examples={name: len(split) for name, split in splits.items()},
        image_size=data.image_size,
        channels=data.channels,
        fingerprint=metadata["digest"],
        synthetic=source.synthetic,
        skipped=metadata["skipped"],
    )
    return Prepared(card, splits)


def _key(source: Source, data: ConfigDict) -> str:
    """Returns the folder name under which this source with these settings is cached."""
    settings = (data.image_size, data.channels, data.window, data.on_bad_image, PREPARATION)
    return hashlib.sha256(f"{source.fingerprint} {settings}".encode()).hexdigest()[:24]


def _write(source: Source, data: ConfigDict, folder: Path) -> None:
    """Writes the set beside its final place and renames it there: it is whole or it is not."""
    count = sum(len(records) for records in source.splits.values())
    log.info("preparing %d images of %s", count, source.name)
    folder.parent.mkdir(parents=True, exist_ok=True)
    tfds.disable_progress_bar()
    with tempfile.TemporaryDirectory(prefix="incomplete-", dir=folder.parent) as scratch:
        builder = PreparedImages(
            images=source, settings=data, data_dir=scratch, file_format="array_record"
        )
        with contextlib.redirect_stdout(io.StringIO()):  # TFDS prints where it writes
            builder.download_and_prepare()
        try:
            Path(builder.data_dir).rename(folder)
        except OSError:
            if not folder.exists():  # else another process was first, with the same content
                raise
