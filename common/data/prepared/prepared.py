"""The prepared set: every image decoded once, resized, uint8, in a TFDS data set on array_record.

It is cached under a fingerprint of the files and of the settings that shape the pixels. Splits are
not stored but derived at every start: a fold or another share needs no new set.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordReader
from jaxtyping import Int, Shaped
from ml_collections import ConfigDict
from tensorflow_datasets.proto import tf_example_pb2

from common.data.copies.together import warn_of_copies
from common.data.grouping import Grouping, owners_of
from common.data.prepared.few_labels import with_few_labels
from common.data.prepared.neighbours import with_neighbours
from common.data.prepared.preparation import (
    EVERYTHING,
    PREPARATION,
    Metadata,
    check_prepared,
    read_table,
    write_prepared,
)
from common.data.prepared.splits import (
    Table,
    assign_splits,
    groups_of,
    left_out_pairs,
    warn_of_mixed_test,
)
from common.data.prepared.suggested_groups import suggested_groups
from common.data.records import SPLITS, UNLABELLED, Source
from common.data.settings import DataSettings
from common.data.sources.open import open_source
from common.data.sources.unlabelled import with_unlabelled
from common.data.spelling import doubts
from common.program.cache import cache_dir
from common.program.errors import UserError
from common.program.json_files import build
from common.program.log import log
from common.program.words import counted, some

Example: TypeAlias = Mapping[str, Shaped[np.ndarray, "..."]]

_PIXELS = ("image", "mask", "target")  # the features that are stored as bytes
# The settings of config.data that affect what is stored.
_STORED = ("image_size", "channels", "fit", "window", "plane", "mask_values", "pairs", "classes")


@dataclass(frozen=True)
class DataCard:
    """What a task may know about its data; it is saved with the run.

    Attributes:
      name: for people: the folder, the file, or the kind of phantoms.
      classes: their names; a label is an index into them.
      num_examples: per split ("train", "val", "test").
      image_size: height and width in pixels.
      channels: 1 or 3, times the slices that are seen as one image.
      fingerprint: hex digest of every id, label, pixel and of the splits.
      synthetic: True for phantoms, which are drawings and not patients.
      skipped: unreadable images left out because config.data.on_bad_image is "skip".
      mask_classes: names of the masks' classes, the background first; () without masks.
      has_targets: whether each image has another one to translate it to.
      bits: per channel in the files, at least 8.
      window: what 0 and 255 mean in the files' own units; () if files differ.
      native_size: height and width in the files, in pixels; () if files differ.
      class_counts: training images of each class.
      num_patients: per split; images of unknown patients count as one each; {} if all are unknown.
      neighbours: slices before and after an image that are seen with it.
    """

    name: str
    classes: tuple[str, ...]
    num_examples: Mapping[str, int]
    image_size: int
    channels: int
    fingerprint: str
    synthetic: bool
    skipped: int
    mask_classes: tuple[str, ...] = ()
    has_targets: bool = False
    bits: int = 8
    window: tuple[float, ...] = (0.0, 255.0)
    native_size: tuple[int, ...] = ()
    class_counts: tuple[int, ...] = ()
    num_patients: Mapping[str, int] = field(default_factory=dict)
    neighbours: int = 0

    @property
    def slice_channels(self) -> int:
        """Returns the channels of an image without the slices around it: 1 or 3."""
        return self.channels // (1 + 2 * self.neighbours)

    @property
    def example_bytes(self) -> int:
        """Returns the bytes of one example's pixels, including mask and target."""
        planes = self.channels * (1 + self.has_targets) + bool(self.mask_classes)
        return self.image_size**2 * planes

    @property
    def caption(self) -> str:
        """Returns the name, with a plain warning if the images are not of patients."""
        return f"{self.name} (drawings, not patients)" if self.synthetic else self.name

    def to_dict(self) -> dict[str, object]:
        """Returns the fields as `from_dict` and JSON take them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: Mapping[str, object]) -> "DataCard":
        """Returns the card of `to_dict`'s result, even after a round trip through JSON.

        Raises:
          ValueError: a field is missing, unknown or of another type.
        """
        return build(cls, fields)


@dataclass(frozen=True)
class Examples(Sequence[Example]):
    """Random access to all examples of a prepared set; several threads may read at once.

    Attributes:
      folder: where they are stored.
      records: one serialised `tf.train.Example` per row.
      shapes: of the features stored as bytes, by name.
    """

    folder: Path
    records: ArrayRecordReader
    shapes: Mapping[str, tuple[int, ...]]

    def __len__(self) -> int:
        return int(self.records.num_records())

    def __getitem__(self, row: int) -> Example:  # type: ignore[override]
        # Reads a range: reading a list of rows, as TFDS's own data source does, takes time in
        # proportion to the number of all. TFDS's decoder takes six times as long as this one.
        try:
            (record,) = self.records.read(row, row + 1)
            features = tf_example_pb2.Example.FromString(record).features.feature
            example = {
                name: np.frombuffer(features[name].bytes_list.value[0], np.uint8).reshape(shape)
                for name, shape in self.shapes.items()
            }
            example["label"] = np.array(features["label"].int64_list.value[0], np.int32)
        except MemoryError:
            raise
        except Exception as error:  # array_record's own, if the file was truncated
            raise _damaged(self.folder, error) from error
        return example


@dataclass(frozen=True)
class Split:
    """Random access to the prepared examples of one split.

    Attributes:
      source: all examples of the set.
      rows: which of them are in this split.
      ids: a name for each (the path below its source folder).
      groups: the group of each; "" if unknown.
      labels: the class of each, -1 if it has no label; () if no one has read them.
    """

    source: Sequence[Example]
    rows: Int[np.ndarray, " num"]
    ids: tuple[str, ...]
    groups: tuple[str, ...]
    labels: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def owners(self) -> tuple[str, ...]:
        """Returns the group of each, its own name if unknown."""
        return owners_of(self.ids, self.groups)

    def read(self, indices: Sequence[int]) -> dict[str, Shaped[np.ndarray, "n ..."]]:
        """Returns the examples at these indices.

        "image" is uint8 [n, height, width, channels] and "label" int32 [n], see `labels`; if there
        are any, "mask" is uint8 [n, height, width] of class ids and "target" uint8 like "image".
        """
        rows = self.rows[list(indices)].tolist()
        examples = [self.source[row] for row in rows]
        read = {name: np.stack([example[name] for example in examples]) for name in examples[0]}
        if self.labels:
            read["label"] = np.array([self.labels[i] for i in indices], np.int32)
        return read


@dataclass(frozen=True)
class Prepared:
    """A prepared set: its card and its splits; "train" is always present."""

    card: DataCard
    splits: Mapping[str, Split]


def prepare(data: ConfigDict) -> Prepared:
    """Opens the prepared set of `config.data`; prepares it first if the cache has none.

    Raises:
      UserError: the folder, a file or a setting is not usable.
    """
    return prepare_source(open_source(data), data)


def prepare_source(source: Source, settings: ConfigDict) -> Prepared:
    """Opens the prepared set of a source; prepares it first if the cache has none.

    Raises:
      UserError: a file or a setting is not usable.
    """
    data = DataSettings.of(settings)
    source = with_neighbours(with_unlabelled(source, data), data)
    folder = cache_dir(data.cache_dir) / "prepared" / _key(source, data)
    if not folder.exists():
        _assigned(
            _listed(source), source, source.classes, data
        )  # reports a mistake before an hour of decoding
        log.info("preparing %s", source.name)
        write_prepared(source, data, folder)
    return _open(source, data, folder)


def _key(source: Source, data: DataSettings) -> str:
    """Returns the name of the cache folder for this source with these settings."""
    settings = [getattr(data, name) for name in _STORED]
    stated = "" if Grouping.of(data.group).expression else data.group
    return hashlib.sha256(
        json.dumps([source.fingerprint, settings, stated, data.on_bad_image, PREPARATION]).encode()
    ).hexdigest()[:24]


def _open(source: Source, data: DataSettings, folder: Path) -> Prepared:
    everything, metadata, table = _stored(folder)
    groups, rows = _assigned(table, source, metadata.classes, data)
    warn_of_mixed_test(table, data)
    _tell_of_left_out_pairs(table, groups, data)
    _warn_of_parted_names(table, groups, metadata.classes, rows)
    if data.copies != "keep":
        warn_of_copies(table.ids, table.labels, table.pictures, rows)
    for doubt in doubts(Counter(metadata.classes[label] for label in table.labels)):
        log.warning("%s: %s", source.name, doubt)
    table, rows = with_few_labels(table, groups, rows, metadata.classes, data)
    labels = np.array(table.labels)
    of_train = labels[rows["train"]]
    splits = {
        split: Split(
            everything,
            rows[split],
            tuple(table.ids[row] for row in rows[split]),
            tuple(groups[row] for row in rows[split]),
            tuple(labels[rows[split]].tolist()),
        )
        for split in SPLITS
        if split in rows
    }
    patients = {name: len({*split.owners}) for name, split in splits.items()}
    card = DataCard(
        name=source.name,
        classes=metadata.classes,
        num_examples={name: len(split) for name, split in splits.items()},
        image_size=data.image_size,
        channels=everything.shapes["image"][-1],
        fingerprint=_digest(metadata.digest, rows, of_train),
        synthetic=source.synthetic,
        skipped=metadata.skipped,
        mask_classes=metadata.mask_classes,
        has_targets="target" in everything.shapes,
        bits=metadata.bits,
        window=metadata.window,
        native_size=metadata.native_size,
        class_counts=tuple(
            np.bincount(of_train[of_train != UNLABELLED], minlength=len(metadata.classes)).tolist()
        ),
        num_patients=patients if any(groups) else {},
        neighbours=data.neighbours,
    )
    return Prepared(card, splits)


def _stored(folder: Path) -> tuple[Examples, Metadata, Table]:
    """Returns what `write_prepared` wrote.

    Raises:
      UserError: a file is damaged.
    """
    try:
        check_prepared(folder)
        info = tfds.builder_from_directory(str(folder)).info
        (file,) = info.splits[EVERYTHING].filepaths
        examples = Examples(
            folder,
            ArrayRecordReader(str(file), options="readahead_buffer_size:0"),
            {name: info.features[name].shape for name in _PIXELS if name in info.features},
        )
        metadata = build(Metadata, dict(info.metadata))
        table = read_table(folder)
        if len(table.ids) != len(examples):
            raise ValueError(f"{len(table.ids)} examples are listed but {len(examples)} are stored")
        examples[len(table.ids) - 1]
    except MemoryError:
        raise
    except Exception as error:  # whatever TFDS and array_record raise for incomplete files
        raise _damaged(folder, error) from error
    return examples, metadata, table


def _damaged(folder: Path, error: Exception) -> UserError:
    reason = str(error).strip().split("\n", 1)[0][:300] or type(error).__name__
    return UserError(
        f"The prepared set {folder} is damaged ({reason}); remove that folder and run the same"
        " command again."
    )


def _listed(source: Source) -> Table:
    """Returns what is known of the examples without opening a file."""
    rows = [
        (record.id, record.label, f"to be read: {record.id}", split)
        for split, records in source.splits.items()
        for record in records
    ]
    return Table(*zip(*rows, strict=True))


def _assigned(
    table: Table, source: Source, classes: Sequence[str], data: DataSettings
) -> tuple[tuple[str, ...], Mapping[str, Int[np.ndarray, " _rows"]]]:
    """Returns the group of each example and the rows of each split."""
    # Phantoms have no groups, and no file names for an experiment's expression to match.
    groups = table.groups if source.synthetic else groups_of(table, data.group)
    rows = assign_splits(table, groups, classes, data)
    if "train" not in rows:
        raise UserError(f"{source.name} has no image for training; change --config.data.splits.")
    return groups, rows


def _tell_of_left_out_pairs(table: Table, groups: Sequence[str], data: DataSettings) -> None:
    rows = left_out_pairs(table, groups, data).tolist()
    if rows:
        owners = sorted({groups[row] or table.ids[row] for row in rows})
        log.warning(
            "left out: %s whose target equals the image, %s; --config.data.equal_pairs=keep keeps"
            " them",
            *(counted(len(rows), "pair"), f"those of {some(owners)}"),
        )


def _warn_of_parted_names(
    table: Table,
    groups: Sequence[str],
    classes: Sequence[str],
    rows: Mapping[str, Int[np.ndarray, " _rows"]],
) -> None:
    """Warns if splits made here separate images whose names suggest one patient."""
    split_of = {row: split for split in rows for row in rows[split].tolist()}
    made = any(table.splits[row] != split for row, split in split_of.items())
    suggestion = suggested_groups(table.ids, classes) if made and not any(groups) else None
    if suggestion is None:
        return
    places: dict[str, set[str]] = {}
    for row, split in split_of.items():
        places.setdefault(suggestion.groups[row], set()).add(split)
    if parted := sum(len(splits) > 1 for splits in places.values()):
        log.warning(
            "The %s suggest %d groups, perhaps patients, and %d of them have images in several of"
            " the splits that were made. If they are patients, scores are too high: keep them"
            " together with --config.data.group='%s'",
            *(suggestion.where, len(places), parted, suggestion.expression),
        )


def _digest(
    of_content: str,
    rows: Mapping[str, Int[np.ndarray, " _rows"]],
    of_train: Int[np.ndarray, " _num"],
) -> str:
    """Returns a digest of the content, of the rows of each split and of the hidden labels."""
    digest = hashlib.sha256(of_content.encode())
    for split in sorted(rows):
        digest.update(split.encode() + rows[split].astype(np.int64).tobytes())
    if UNLABELLED in of_train:
        digest.update(of_train.astype(np.int64).tobytes())
    return digest.hexdigest()
