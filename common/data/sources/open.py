"""Sources of images, before decoding: files and folders of many kinds, or phantoms."""

import os
from dataclasses import replace
from functools import partial
from pathlib import Path

from ml_collections import ConfigDict

from common.data.files.image import Reading
from common.data.files.kinds import is_image
from common.data.files.window import parse_window
from common.data.grouping import Grouping
from common.data.phantoms import KINDS, Images, Phantoms
from common.data.records import Contents, Decoded, Once, Record, Source, fingerprint
from common.data.settings import DataSettings
from common.data.sources.arrays import holds_idx, open_idx, open_npz
from common.data.sources.folders import open_file, open_folder
from common.data.sources.listing import TABLE
from common.data.spelling import meant
from common.data.take import parse_take, take_of
from common.program.errors import UserError
from common.program.files import regular_file, user_path

# Phantoms with equal seeds are equal whatever their number, so each split has its own seed.
_PHANTOM_SEEDS = {"train": 0, "val": 1, "test": 2}


def open_source(settings: ConfigDict) -> Source:
    """Opens the images that `config.data` names; decodes, downloads and draws none yet.

    Args:
      settings: `url` names a file to download; `name` of "tfds:mnist" a TFDS set; `dir` a folder or
        file (see `open_path`); with none of them the images are phantoms of the kind `name` and of
        size `image_size`: `num_phantoms` in train, and a quarter of that each in val and test.

    Raises:
      UserError: the path or a setting is invalid.
    """
    data = DataSettings.of(settings)
    source = _open(data)
    if data.take:
        if data.channels == 1 and parse_take(data.take).with_mask:
            raise UserError(
                f"config.data.take is '{data.take}', which makes RGB pictures of images and masks;"
                " set --config.data.channels=3"
            )
        key, whole = fingerprint(source.fingerprint, "take", data.take), source.contents
        contents = Once(lambda: take_of(whole(), data.take))
        source = replace(source, fingerprint=key, contents=contents)
    if data.only:
        wanted = _names(data.only)
        key, everything = fingerprint(source.fingerprint, "only", wanted), source.contents
        source = replace(
            source, fingerprint=key, contents=Once(lambda: _only(everything(), wanted))
        )
    if not data.classes:
        return source
    names = _names(data.classes)
    key = fingerprint(source.fingerprint, names)
    contents = Once(lambda: _with_classes(source.contents(), names))
    return replace(source, fingerprint=key, contents=contents)


def _open(data: DataSettings) -> Source:
    if data.url:
        from common.data.sources.download import open_url

        return open_url(data, open_path)
    if data.name.startswith("tfds:"):
        from common.data.sources.tfds_sets import open_tfds

        return open_tfds(data)
    if not data.dir:
        return _open_phantoms(data.name, data.num_phantoms, data.image_size)
    return open_path(user_path(data.dir), data)


def _names(setting: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in setting.rstrip(", ").split(","))


def _only(contents: Contents, wanted: tuple[str, ...]) -> Contents:
    """Leaves out the images of classes that `config.data.only` does not name."""
    if missing := sorted(set(wanted) - set(contents.classes)):
        raise UserError(
            f"config.data.only is '{','.join(wanted)}', but the images' classes are"
            f" {', '.join(contents.classes)}: {missing[0]} is not among them"
            f"{meant(missing[0], contents.classes)}; set"
            ' --config.data.only="" for all.'
        )
    classes = tuple(name for name in contents.classes if name in wanted)
    splits = {
        split: [
            replace(record, label=classes.index(contents.classes[record.label]))
            for record in records
            if contents.classes[record.label] in wanted
        ]
        for split, records in contents.splits.items()
    }
    splits = {split: records for split, records in splits.items() if records}
    return replace(contents, classes=classes, splits=splits)


def _with_classes(contents: Contents, names: tuple[str, ...]) -> Contents:
    """Numbers the classes by their place in `config.data.classes`."""
    if differing := sorted(set(names) ^ set(contents.classes)):
        in_list = differing[0] in names
        where = "among the images" if in_list else "in that list"
        where += meant(differing[0], contents.classes if in_list else names)
        raise UserError(
            f"config.data.classes is '{','.join(names)}', but the images' classes are"
            f" {', '.join(contents.classes)}: {differing[0]} is not {where}; make them agree."
        )
    labels = [names.index(name) for name in contents.classes]
    splits = {
        split: [replace(record, label=labels[record.label]) for record in records]
        for split, records in contents.splits.items()
    }
    return replace(contents, classes=names, splits=splits)


def open_path(path: Path, data: DataSettings) -> Source:
    """Opens a folder, an archive, a file of arrays or a single image, detected from its contents.

    Raises:
      UserError: the path or a setting is invalid.
    """
    reading = reading_of(data)
    try:
        path.stat()
    except OSError as error:
        raise UserError(
            f"{path} can't be opened: {error.strerror}; check --config.data.dir."
        ) from error
    if path.is_dir():
        return _open_directory(path, data, reading)
    regular_file(path)
    if path.suffix.lower() == ".npz":
        return open_npz(path)
    if path.suffix.lower() == ".zip":
        from common.data.sources.archives import open_zip

        return open_zip(path, data, open_path)
    if "-ubyte" in path.name and holds_idx(path.parent):
        return open_idx(path.parent)
    if is_image(path):
        return open_file(path, reading)
    raise UserError(
        f"{path} is neither a folder of images, nor a .zip or .npz file, nor one of MNIST's IDX"
        " files, nor an image; name one with --config.data.dir."
    )


def reading_of(data: DataSettings) -> Reading:
    """Returns the settings of `config.data` for reading files.

    Raises:
      UserError: a setting is invalid.
    """
    grouping = Grouping.of(data.group)
    tag = "PatientID" if grouping.tag is None else grouping.tag
    return Reading(parse_window(data.window), data.plane, tag)


def _open_directory(path: Path, data: DataSettings, reading: Reading) -> Source:
    from common.data.sources.pairs import holds_pairs, open_pairs
    from common.data.sources.tables import open_table

    if holds_idx(path):
        return open_idx(path)
    if os.path.lexists(path / TABLE):
        return open_table(path, data, reading)
    if holds_pairs(path):
        return open_pairs(path, data, reading)
    if data.pairs != "stems":
        raise UserError(
            f"config.data.pairs is '{data.pairs}', but {path} has no folders images and masks (or"
            " targets); leave the setting out or name the folder that contains them."
        )
    return open_folder(path, reading)


def _open_phantoms(name: str, num_train: int, image_size: int) -> Source:
    if name not in KINDS:
        raise UserError(
            f"config.data.name is '{name}', but there are no phantoms of that kind (known are"
            f" {', '.join(sorted(KINDS))}); for your own images set --config.data.dir=FOLDER"
        )
    kind = KINDS[name]
    if num_train < len(kind.classes):
        raise UserError(
            f"config.data.num_phantoms is {num_train}; it must be at least {len(kind.classes)},"
            " one image per class."
        )
    held_out = max(num_train // 4, len(kind.classes))
    counts = {"train": num_train, "val": held_out, "test": held_out}

    def draw() -> Contents:
        splits = {
            split: _drawn(split, kind.draw(_PHANTOM_SEEDS[split], num, image_size))
            for split, num in counts.items()
        }
        return Contents(kind.classes, splits, kind.mask_classes)

    return Source(
        name=f"{name} phantoms",
        fingerprint=fingerprint("phantoms", name, counts, _PHANTOM_SEEDS, image_size),
        synthetic=True,
        contents=Once(draw),
    )


def _drawn(split: str, phantoms: Phantoms) -> list[Record]:
    def decoded(images: Images, row: int) -> Decoded:
        return Decoded.from_bytes(images[row], "drawing")

    return [
        Record(
            id=f"{split}/{row:06d}",
            label=int(label),
            read=partial(decoded, phantoms.images, row),
            read_mask=None if phantoms.masks is None else partial(phantoms.masks.__getitem__, row),
            read_target=(
                None if phantoms.targets is None else partial(decoded, phantoms.targets, row)
            ),
        )
        for row, label in enumerate(phantoms.labels)
    ]
