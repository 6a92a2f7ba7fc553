"""TensorFlow Datasets by name: found on disk, or prepared in the cache."""

import contextlib
import difflib
import importlib.util
import io
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core.download import downloader
from tensorflow_datasets.core.read_only_builder import builder_from_files

from common.data.files.decode import read_image
from common.data.files.masks import MaskValues, parse_mask_values, read_values, to_classes
from common.data.files.whole_numbers import whole_numbers
from common.data.files.window import Window, parse_window, to_bytes
from common.data.grouping import Grouping
from common.data.records import Contents, Decoded, Mask, Once, Record, Source, fingerprint
from common.data.settings import DataSettings
from common.data.sources.folders import SPLIT_NAMES, stats
from common.data.sources.tfds_examples import Builder, Examples, explained
from common.program.cache import cache_dir
from common.program.errors import GroupError, UserError
from common.program.files import user_path
from common.program.log import log
from common.program.scratch import move_into_place, scratch_folder

_MASKS = ("segmentation_mask", "mask", "segmentation")
_IDS = ("id", "image_id", "file_name", "filename")
_SECRET = -1  # TFDS's label if those of the test are not published
_SIXTEEN_BITS = (0.0, 65535.0)
_RETRIES = 4


def open_tfds(data: DataSettings) -> Source:
    """Opens a TFDS set; downloads and reads nothing yet.

    It is searched in TFDS's folder, then in the cache; else the contents download and prepare it
    there. Its splits train, validation and test are used. Its features are recognised by type: the
    image and the class ("image" and "label" if several are possible), the mask if one is named as
    in `_MASKS`, and the images' names if one of `_IDS` differs for each.

    Args:
      data: `name` of "tfds:mnist", "tfds:mnist:3.0.1" or "tfds:set/config"; `dir` is TFDS's
        data_dir, "" its default; `group` of "column:patient" makes that feature the group;
        `window`, `mask_values` and `cache_dir` are used.

    Raises:
      UserError: the set is unknown, a setting is invalid; from the contents also: it can't be
        downloaded or read, or its features are ambiguous.
    """
    name, own = data.name.removeprefix("tfds:"), cache_dir(data.cache_dir) / "tfds"
    with explained(f"config.data.name is '{data.name}', which TFDS can't open"):
        builder = _prepared(name, data.dir) or _prepared(name, str(own))
        full_name = (builder or _known(name, own)).info.full_name
        root = Path(builder.data_dir) if builder else own
        # A set prepared here is identified by its version, so it need not exist yet.
        ours = root.is_relative_to(own)
        files = [] if ours else [path for path in root.iterdir() if path.is_file()]
    return Source(
        name=data.name,
        fingerprint=fingerprint("tfds", full_name, stats(root, files)),
        synthetic=False,
        contents=Once(lambda: _contents(builder or _make(name, own), data)),
    )


def _prepared(name: str, data_dir: str) -> Builder | None:
    """Returns a set that is prepared in a folder, else None; needs no code of the set."""
    try:
        return builder_from_files(name, data_dir=data_dir and str(user_path(data_dir)))
    except tfds.core.DatasetNotFoundError:
        return None


def _known(name: str, own: Path) -> Builder:
    """Returns a set by its code in TFDS."""
    try:
        return tfds.builder(name, data_dir=str(own))
    except tfds.core.DatasetNotFoundError as error:
        close = difflib.get_close_matches(name, tfds.list_builders(with_community_datasets=False))
        raise UserError(
            f"config.data.name is 'tfds:{name}', which is neither prepared nor known to TFDS"
            f" (similar names: {', '.join(close) or 'none'}); if you have it, set --config.data.dir"
            " to its folder."
        ) from error


def _make(name: str, own: Path) -> Builder:
    """Downloads and prepares a set in the cache: it is whole or absent."""
    advice = "; check the network, or prepare it elsewhere and set --config.data.dir"
    if importlib.util.find_spec("tensorflow") is None:
        advice += "; most sets need TensorFlow for preparation: pip install 'triptych[tensorboard]'"
    log.info("downloading tfds:%s", name)
    downloader.MAX_RETRIES = _RETRIES  # TFDS's 10 take 200 s without a network
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # it logs each retry
    tfds.disable_progress_bar()
    with (
        explained(f"tfds:{name} can't be downloaded", advice),
        scratch_folder(own) as scratch,
        contextlib.redirect_stdout(io.StringIO()),  # TFDS prints where it writes
    ):
        builder = tfds.builder(name, data_dir=str(scratch), file_format="array_record")
        builder.download_and_prepare(
            download_dir=str(own / "downloads"),
            download_config=tfds.download.DownloadConfig(try_download_gcs=False),
        )
        made = Path(builder.data_dir)
        folder = own / made.relative_to(scratch)
        move_into_place(made, folder)
        return tfds.builder_from_directory(str(folder))


@dataclass(frozen=True)
class _Columns:
    """The names of the features that are used; "" if there is none."""

    image: str
    label: str
    mask: str
    name: str
    group: str


def _contents(builder: Builder, data: DataSettings) -> Contents:
    features = builder.info.features
    columns = _columns(data, features)
    classes = tuple(features[columns.label].names) if columns.label else (builder.info.name,)
    splits: dict[str, list[Record]] = {}
    for given, info in builder.info.splits.items():
        split = SPLIT_NAMES.get(given.casefold(), "")
        known = split and split not in splits and info.num_examples
        records = _records(Examples(builder, given), split, columns, data) if known else []
        if records:
            splits[split] = records
        else:
            log.info("%s: its split %s of %s is not used", data.name, given, info.num_examples)
    if "train" not in splits:
        raise UserError(
            f"{data.name} has the splits {', '.join(builder.info.splits)}, but no labelled one"
            " named train; use another set."
        )
    mask_classes = parse_mask_values(data.mask_values).classes if columns.mask else ()
    return Contents(classes, splits, mask_classes)


def _columns(data: DataSettings, features: tfds.features.FeaturesDict) -> _Columns:
    names = sorted(features)  # their files have no order
    masks = [name for name in _MASKS if name in names and _may_be_mask(features[name])]
    images = [name for name in names if _may_be_image(features[name]) and name not in _MASKS]
    labels = [name for name in names if isinstance(features[name], tfds.features.ClassLabel)]
    known = f"{data.name} has the features {', '.join(names)}"
    if not images:
        raise UserError(f"{known}, but no image of 8 or 16 bits; use another set.")
    group = Grouping.of(data.group).column or ""
    if group and group not in names:
        raise GroupError(f"config.data.group is '{data.group}', but {known}; name one of them.")
    return _Columns(
        image=_the_one("image", images, known),
        label=_the_one("label", labels, known),
        mask="".join(masks[:1]),
        name=next((name for name in _IDS if name in names), ""),
        group=group,
    )


def _the_one(usual: str, names: Sequence[str], known: str) -> str:
    if usual in names:
        return usual
    if len(names) > 1:
        raise UserError(
            f"{known}, of which {', '.join(names)} may be the {usual}; use a set or a"
            " config of it in which one has that name."
        )
    return "".join(names)


def _may_be_image(feature: tfds.features.FeatureConnector) -> bool:
    if isinstance(feature, tfds.features.Image):
        return np.dtype(feature.np_dtype) in (np.uint8, np.uint16)
    if not isinstance(feature, tfds.features.Tensor) or len(feature.shape) != 3:
        return False
    depth, channels = np.dtype(feature.np_dtype), feature.shape[-1]
    return (depth == np.uint8 and channels in (1, 3)) or (depth == np.uint16 and channels == 1)


def _may_be_mask(feature: tfds.features.FeatureConnector) -> bool:
    if isinstance(feature, tfds.features.Image):
        return True
    if not isinstance(feature, tfds.features.Tensor):
        return False
    flat = len(feature.shape) == 2 or (len(feature.shape) == 3 and feature.shape[-1] == 1)
    return flat and np.dtype(feature.np_dtype).kind in "biuf"


def _records(examples: Examples, split: str, columns: _Columns, data: DataSettings) -> list[Record]:
    """Returns the records of a split, none if its labels are secret."""
    listed = tuple(name for name in (columns.label, columns.name, columns.group) if name)
    rows = [examples.read(row, listed) if listed else {} for row in range(len(examples))]
    labels = [int(row[columns.label]) if columns.label else 0 for row in rows]
    if set(labels) == {_SECRET}:
        return []
    if _SECRET in labels:
        raise UserError(f"{examples.where(labels.index(_SECRET))} has no label; use another set.")
    names = [_text(row[columns.name]) if columns.name else "" for row in rows]
    if len(set(names)) < len(names):
        names = [f"{row:06d}" for row in range(len(rows))]
    window, values = parse_window(data.window), parse_mask_values(data.mask_values)
    return [
        Record(
            id=f"{split}/{names[row]}",
            label=labels[row],
            read=partial(_read_image, examples, row, columns.image, window),
            read_mask=partial(_read_mask, examples, row, columns.mask, values)
            if columns.mask
            else None,
            read_group=partial(str, _text(fields[columns.group]) if columns.group else ""),
        )
        for row, fields in enumerate(rows)
    ]


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _read_image(examples: Examples, row: int, column: str, window: Window | None) -> Decoded:
    value = examples.read(row, (column,))[column]
    if isinstance(value, bytes):
        return read_image(examples.where(row), window, value)
    if value.dtype == np.uint8:
        return Decoded.from_bytes(value, "L" if value.shape[-1] == 1 else "RGB")
    window = window or _SIXTEEN_BITS
    value_range = (float(value.min()), float(value.max()))
    return Decoded(to_bytes(value.astype(np.float64), window), "I;16", 16, window, value_range)


def _read_mask(examples: Examples, row: int, column: str, values: MaskValues) -> Mask:
    value, where = examples.read(row, (column,))[column], examples.where(row)
    if isinstance(value, bytes):
        value = read_values(where, value)
    mask = value if value.ndim == 2 else value[..., 0]
    if mask.dtype.kind in "bf":
        mask = whole_numbers(mask.astype(np.float64), where)
    return to_classes(mask, values, str(where))
