"""Preparing a set: decode on every core, write on one, whole or not at all."""

import hashlib
import json
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, astuple, dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter
from jaxtyping import Shaped
from tensorflow_datasets.core.dataset_info import DatasetIdentity
from tqdm import tqdm

from common.data.copies.find import (
    MOST_COMPARED,
    all_compared,
    find_copies,
    same_pictures,
)
from common.data.copies.look import Look, look_at
from common.data.equal_pairs import are_equal
from common.data.fit import fit_image, fit_mask, is_coloured
from common.data.prepared.neighbours import fit_slices
from common.data.prepared.splits import Table
from common.data.records import Pixels, Record, Source
from common.data.settings import DataSettings
from common.program.errors import UserError
from common.program.files import sha256_of
from common.program.json_files import build, read_object
from common.program.log import log
from common.program.parallel import in_parallel, num_cpus
from common.program.scratch import move_into_place, scratch_folder
from common.program.words import counted

# Raise it when the same files would give other pixels, copies or layout; older sets are then
# ignored.
PREPARATION = 9
# The only split in the file: examples are assigned to splits on opening. ("all" means something
# else to TFDS.)
EVERYTHING = "examples"
_TABLE = "examples.json"
_CHECKSUMS = "checksums.json"  # of all files except the examples', which contain their own
_LOOKED_AT = 64  # images examined to see whether they are in colour
_ASKED = 16  # images examined after one can't be used: would skipping such images help?
_DECODE_AHEAD = 64  # examples between the decoding threads and the writer
# One record per group, so that each can be read alone. The writer compresses under the GIL, where
# its default costs half as much as decoding; Snappy shrinks masks and takes no time.
_WRITER_OPTIONS = "group_size:1,snappy"

Arrays = dict[str, Shaped[np.ndarray, "..."]]


@dataclass(frozen=True)
class _Example:
    """A record, decoded and fitted.

    Attributes:
      row: its id, label, group and split.
      arrays: its image and, if there are any, its mask and target.
      serialised: what is stored.
      bits, window, size: those of its image; the size is height and width in the file.
      look: used to recognise copies.
    """

    row: tuple[str, int, str, str]
    arrays: Arrays
    serialised: bytes
    bits: int
    window: tuple[float, float]
    size: tuple[int, int]
    look: Look


def write_prepared(source: Source, data: DataSettings, folder: Path) -> None:
    """Writes the set beside its final place and renames it: it is whole or absent.

    Raises:
      UserError: a file is not usable.
    """
    data = _with_channels(source, data)
    with scratch_folder(folder.parent) as scratch:
        written = scratch / folder.name
        written.mkdir()
        _write(source, data, written)
        move_into_place(written, folder)


def _with_channels(source: Source, data: DataSettings) -> DataSettings:
    """Returns the settings with `channels` of 1 or 3; for 0 it examines some images of the set."""
    if data.channels:
        return data
    records = [record for split in source.splits.values() for record in split]
    places = np.linspace(0, len(records) - 1, min(len(records), _LOOKED_AT), dtype=int)
    looks = in_parallel(lambda place: _in_colour(records[place]), places.tolist())
    coloured, seen = looks.count(True), len(looks) - looks.count(None)
    channels = 3 if 2 * coloured > seen else 1
    log.info(
        "%d of %d images examined are in colour: config.data.channels is %d",
        *(coloured, seen, channels),
    )
    return replace(data, channels=channels)


def _in_colour(record: Record) -> bool | None:
    """Returns whether an image is in colour; None if it can't be read, which preparing reports."""
    try:
        return is_coloured(record.read().pixels)
    except UserError:
        return None


@dataclass(frozen=True)
class Metadata:
    """What is stored of a prepared set beside its examples; see `DataCard`.

    Attributes:
      digest: of every id, label, group and pixel.
    """

    digest: str
    skipped: int
    classes: tuple[str, ...]
    mask_classes: tuple[str, ...]
    bits: int
    window: tuple[float, ...]
    native_size: tuple[int, ...]


def read_table(folder: Path) -> Table:
    """Reads the ids, labels, groups, splits and copies of a prepared set.

    Raises:
      UserError: the file is damaged.
      ValueError: its columns differ in length.
    """
    table = build(Table, read_object(folder / _TABLE, "remove its folder"))
    columns = (column or table.ids for column in astuple(table))
    if len({len(column) for column in columns}) != 1:
        raise ValueError(f"the columns of {_TABLE} differ in length")
    return table


def _write(source: Source, data: DataSettings, folder: Path) -> None:
    info = _describe(source, data, folder)
    template = tfds.core.ShardedFileTemplate(
        data_dir=folder,
        dataset_name=info.name,
        split=EVERYTHING,
        filetype_suffix="array_record",
    )
    # TFDS's own builders hold all examples in memory before they write the first.
    writer = ArrayRecordWriter(
        str(template.sharded_filepath(shard_index=0, num_shards=1)), _WRITER_OPTIONS
    )
    digest, depths, sizes, num_bytes = hashlib.sha256(), set(), set(), 0
    rows: list[tuple[str, int, str, str]] = []
    looks: list[Look] = []
    equal: list[bool] = []  # stays empty without targets
    records = [(split, record) for split in source.splits for record in source.splits[split]]
    with closing(_decoded(records, data, info.features)) as examples:
        for example in examples:
            writer.write(example.serialised)
            digest.update(json.dumps(example.row).encode())
            for array in example.arrays.values():
                digest.update(array.tobytes())
            rows.append(example.row)
            few = len(records) <= MOST_COMPARED
            looks.append(example.look if few else replace(example.look, thumbnail=None))
            if "target" in example.arrays:
                equal.append(are_equal(example.arrays["image"], example.arrays["target"]))
            depths.add((example.bits, example.window))
            sizes.add(example.size)
            num_bytes += len(example.serialised)
    writer.close()
    _check_classes(source, {(split, label) for _, label, _, split in rows})
    windows = {window for _, window in depths}
    metadata = Metadata(
        digest=digest.hexdigest(),
        skipped=len(records) - len(rows),
        classes=source.classes,
        mask_classes=source.mask_classes,
        bits=max(bits for bits, _ in depths),
        window=windows.pop() if len(windows) == 1 else (),
        native_size=sizes.pop() if len(sizes) == 1 else (),
    )
    info.metadata.update(asdict(metadata))
    written = tfds.core.SplitInfo(
        name=EVERYTHING, shard_lengths=[len(rows)], num_bytes=num_bytes, filename_template=template
    )
    info.set_file_format("array_record")
    info.set_splits(tfds.core.SplitDict([written]))
    info.write_to_directory(folder)
    pictures = () if source.synthetic else _pictures(source.name, looks)
    table = replace(Table(*zip(*rows, strict=True)), pictures=pictures, equal=tuple(equal))
    (folder / _TABLE).write_text(json.dumps(asdict(table)))
    sums = {file.name: sha256_of(file) for file in folder.glob("*.json")}
    (folder / _CHECKSUMS).write_text(json.dumps(sums))


def check_prepared(folder: Path) -> None:
    """Refuses a set in which a file other than the examples has changed.

    Raises:
      UserError: a JSON file can't be read.
      ValueError: a file has another checksum.
      OSError: a file can't be read.
    """
    for name, wanted in read_object(folder / _CHECKSUMS, "remove its folder").items():
        if sha256_of(folder / name) != wanted:
            raise ValueError(f"{name} has changed")


def _describe(source: Source, data: DataSettings, folder: Path) -> tfds.core.DatasetInfo:
    """Returns what TFDS stores beside the examples."""

    # As bytes: TFDS's default stores each pixel as a 64-bit integer, ten times slower to read.
    def pixels(*shape: int) -> tfds.features.Tensor:
        return tfds.features.Tensor(shape=shape, dtype=np.uint8, encoding="bytes")

    size, channels = data.image_size, data.channels
    seen = channels * (1 + 2 * data.neighbours)
    first = source.splits["train"][0]
    features = {
        "image": pixels(size, size, seen),
        "label": tfds.features.ClassLabel(names=list(source.classes)),
        "id": tfds.features.Text(),
    }
    if first.read_mask:
        features["mask"] = pixels(size, size)
    if first.read_target:
        features["target"] = pixels(size, size, channels)
    return tfds.core.DatasetInfo(
        builder=DatasetIdentity(
            name="prepared_images",
            version=tfds.core.Version(f"{PREPARATION}.0.0"),
            data_dir=str(folder),
            module_name="",
        ),
        features=tfds.features.FeaturesDict(features),
        metadata=tfds.core.MetadataDict(),
    )


def _decoded(
    records: Sequence[tuple[str, Record]], data: DataSettings, features: tfds.features.FeaturesDict
) -> Generator[_Example, None, None]:
    """Decodes on every core (Pillow releases the GIL), in order, with bounded memory."""
    waiting = iter(records)
    progress = tqdm(total=len(records), desc="preparing", unit=" images", disable=None, leave=False)
    with ThreadPoolExecutor(num_cpus()) as pool, progress:

        def start(count: int) -> list[Future[_Example | None]]:
            return [
                pool.submit(_decode, *waiting_one, data, features)
                for waiting_one in islice(waiting, count)
            ]

        running = deque(start(_DECODE_AHEAD))
        while running:
            try:
                example = running.popleft().result()
            except UserError as error:
                raise UserError(f"{error}{_way_on(records, data)}") from error
            if example:
                yield example
            progress.update()
            running.extend(start(1))


def _decode(
    split: str, record: Record, data: DataSettings, features: tfds.features.FeaturesDict
) -> _Example | None:
    """Returns the example, or None if its file can't be read and may be skipped."""
    try:
        image = record.read()
        arrays = _fitted(image.pixels, record, data)
        group = record.read_group()
    except UserError as error:
        if data.on_bad_image == "skip":
            log.warning("skipped: %s", error)
            return None
        raise
    serialised = features.serialize_example({**arrays, "label": record.label, "id": record.id})
    row = record.id, record.label, group, split
    height, width, _ = image.pixels.shape
    look = look_at(image.pixels)
    return _Example(row, arrays, serialised, image.bits, image.window, (height, width), look)


def _way_on(records: Sequence[tuple[str, Record]], data: DataSettings) -> str:
    """Returns advice after an image can't be used: to skip such images, if they are few."""
    places = np.linspace(0, len(records) - 1, min(len(records), _ASKED), dtype=int).tolist()
    usable = sum(_is_usable(records[place][1], data) for place in places)
    if 2 * usable >= len(places):
        return " To skip such files, set --config.data.on_bad_image=skip"
    if len(records) == 1:
        return ""
    return (
        f" {len(places) - usable} of {counted(len(places), 'image')} examined can't be used;"
        " correct rather than skip them."
    )


def _is_usable(record: Record, data: DataSettings) -> bool:
    try:
        _fitted(record.read().pixels, record, data)
    except UserError:
        return False
    return True


def _pictures(name: str, looks: Sequence[Look]) -> tuple[int, ...]:
    """Returns equal numbers for copies of one picture."""
    if not all_compared(looks):
        log.warning(
            "%s: among more than %s images only copies with equal pixels are found",
            name,
            f"{MOST_COMPARED:,}",
        )
    return same_pictures(find_copies(looks), len(looks))


def _fitted(pixels: Pixels, record: Record, data: DataSettings) -> Arrays:
    """Returns the image, and the record's mask and target, at the size of the set."""
    size, channels, fit = data.image_size, data.channels, data.fit
    arrays = {"image": fit_slices(record.with_slices_around(pixels), size, channels, fit)}
    if record.read_mask:
        mask = record.read_mask()
        if mask.shape != pixels.shape[:2]:
            raise UserError(
                f"The mask of {record.id} has {mask.shape[1]}x{mask.shape[0]} pixels, its image"
                f" {pixels.shape[1]}x{pixels.shape[0]}; make them equal."
            )
        arrays["mask"] = fit_mask(mask, size, fit)
    if record.read_target:
        target = record.read_target().pixels
        check_target(record.id, pixels, target, channels)
        arrays["target"] = fit_image(target, size, channels, fit)
    return arrays


def check_target(name: str, image: Pixels, target: Pixels, channels: int) -> None:
    """Refuses a target that does not lie on its image, or would lose its colours.

    Raises:
      UserError: its size differs, or it is in colour and its image is not.
    """
    if target.shape[:2] != image.shape[:2]:
        raise UserError(
            f"The target of {name} has {target.shape[1]}x{target.shape[0]} pixels, its image"
            f" {image.shape[1]}x{image.shape[0]}; make them equal."
        )
    if channels == 1 and is_coloured(target) and not is_coloured(image):
        raise UserError(
            f"The target of {name} is in colour and its image is not; save the target in grey, or"
            " translate to colours with --config.data.channels=3"
        )


def _check_classes(source: Source, kept: set[tuple[str, int]]) -> None:
    """Refuses a set with a split in which no image of some class is readable."""
    for split, records in source.splits.items():
        for label in sorted({record.label for record in records}):
            if (split, label) not in kept:
                raise UserError(
                    f"No image of class {source.classes[label]} in the {split} split of"
                    f" {source.name} can be read; put readable images there or remove the class."
                )
