"""Images with a mask each, or with an image to translate them to.

images/a.png, masks/a.png (and targets/a.png)   at the root or in train/, val/ and test/
a.tif, a_mask.tif                               side by side, at any depth
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

from common.data.files.image import Reading
from common.data.files.kinds import EXTENSIONS, stem
from common.data.files.masks import MaskValues, parse_mask_values, read_mask
from common.data.files.slices import images_in
from common.data.records import Contents, Once, Record, Source, fingerprint
from common.data.settings import DataSettings
from common.data.sources.folders import record_id, refuse_splits_inside, split_folders, stats
from common.data.sources.listing import images_below, unread_below, visible
from common.data.sources.partners import partners_of
from common.data.spelling import natural_order
from common.program.errors import UserError
from common.program.files import printed
from common.program.log import log
from common.program.words import counted, some

IMAGE_FOLDERS = ("images", "image", "imgs", "img")
_FOLDERS = {
    **dict.fromkeys(IMAGE_FOLDERS, "images"),
    **dict.fromkeys(("masks", "mask", "labels", "label", "segmentations"), "masks"),
    **dict.fromkeys(("ground_truth", "groundtruth", "gt"), "masks"),
    **dict.fromkeys(("targets", "target"), "targets"),
}
_MASK_ENDING = "_mask"
_SHOWN = 3  # files that a message names

Files: TypeAlias = Mapping[str, Path]  # by path below their folder, without extension or "_mask"
Kinds: TypeAlias = Mapping[str, Files]  # "images", and "masks" or "targets" or both


@dataclass(frozen=True)
class _Pair:
    """The file of an image with its partners."""

    image: Path
    mask: Path | None
    target: Path | None


def holds_pairs(root: Path) -> bool:
    """Returns whether a folder or one of its splits holds images with masks or targets.

    Raises:
      UserError: splits or pairs are unclear, or a folder can't be read.
    """
    return any(map(_kinds, split_folders(root).values()))


def images_of_pairs(folder: Path) -> Path | None:
    """Returns the folder of the images if a folder also holds masks or targets; else None.

    That is its subfolder of images or, if a_mask.tif is beside a.tif, the folder itself.
    """
    try:
        kinds = _kinds(folder)
    except UserError:  # incomplete pairs can't be trained on, but may be predicted
        return None
    inner = [
        path for path in visible(folder).folders if _FOLDERS.get(path.name.casefold()) == "images"
    ]
    return (inner or [folder])[0] if kinds else None


def open_pairs(root: Path, data: DataSettings, reading: Reading) -> Source:
    """Finds the images of a folder and their partners; decodes none of them.

    Names below `images/` match those below `masks/` and `targets/`, except for the extension and a
    "_mask" at the end of a mask's name. With `data.pairs` of "sorted" files are matched by position
    instead; numbers in names count as numbers. A file of several images (a volume) needs as many
    masks in its mask file. All images are of one class, named after the folder.

    Args:
      root: the folder.
      data: `pairs` and `mask_values` are used.
      reading: how files become images.

    Raises:
      UserError: a file lacks its partner or may have two, the splits differ in what they hold, or
        a setting is invalid.
    """
    values = parse_mask_values(data.mask_values)
    splits = {split: _kinds(folder) for split, folder in split_folders(root).items()}
    _check_splits(root, splits)
    pairs = {split: _pairs(kinds, data.pairs) for split, kinds in splits.items()}
    files = [path for kinds in splits.values() for side in kinds.values() for path in side.values()]
    unread = *unread_below(root), *_unpaired(root, files)
    return Source(
        name=str(root),
        fingerprint=fingerprint("pairs", stats(root, files)),
        synthetic=False,
        contents=Once(partial(_contents, root, pairs, values, reading, unread)),
    )


def _contents(
    root: Path,
    pairs: Mapping[str, Sequence[_Pair]],
    values: MaskValues,
    reading: Reading,
    unread: tuple[str, ...],
) -> Contents:
    splits = {
        split: sorted(
            (record for pair in listed for record in _records(root, pair, values, reading)),
            key=lambda record: record.id,
        )
        for split, listed in pairs.items()
    }
    doubts = Counter(record.doubt for held in splits.values() for record in held if record.doubt)
    for doubt, count in doubts.items():
        log.warning("Of %d pairs %s; look at them with --mode=inspect.", count, doubt)
    has_masks = pairs["train"][0].mask is not None
    return Contents((root.resolve().name,), splits, values.classes if has_masks else (), unread)


def _records(root: Path, pair: _Pair, values: MaskValues, reading: Reading) -> Iterator[Record]:
    images = images_in(pair.image, reading)
    masks, targets = (
        partners_of(pair.image, images, file, reading) if file else [None] * len(images)
        for file in (pair.mask, pair.target)
    )
    for image, mask, target in zip(images, masks, targets, strict=True):
        yield Record(
            id=record_id(pair.image, root) + image.suffix,
            label=0,
            read=image.read,
            read_mask=(
                partial(read_mask, mask.read_values, values, f"{pair.mask}{mask.suffix}")
                if mask
                else None
            ),
            read_target=target.read if target else None,
            read_group=image.read_group,
            path=pair.image,
            doubt="; ".join(one.doubt for one in (image, mask, target) if one and one.doubt),
        )


def _kinds(folder: Path) -> Kinds:
    """Returns the images, masks and targets of one split; {} if it holds no pairs."""
    folders = [inner for inner in visible(folder).folders if inner.name.casefold() in _FOLDERS]
    kinds = {_FOLDERS[inner.name.casefold()]: inner for inner in folders}
    if "images" not in kinds or len(kinds) == 1:
        return _beside_each_other(folder)
    if len(folders) > len(kinds):
        raise UserError(
            f"{folder} holds {', '.join(inner.name for inner in folders)}, two of which mean the"
            " same; keep one of them."
        )
    names = {kind: _names(_filled(inner), inner) for kind, inner in kinds.items()}
    images = _unique(names.pop("images"))
    others = {
        kind: _unique(
            {
                path: name if name in images else name.removesuffix(_MASK_ENDING)
                for path, name in listed.items()
            }
        )
        for kind, listed in names.items()
    }
    return {"images": images, **others}


def _beside_each_other(folder: Path) -> Kinds:
    """Returns a.tif as an image and a_mask.tif as its mask; {} if there is no such pair."""
    names = _names(images_below(folder), folder)
    masks = {
        path: name.removesuffix(_MASK_ENDING)
        for path, name in names.items()
        if name.endswith(_MASK_ENDING)
    }
    images = {path: name for path, name in names.items() if path not in masks}
    if set(masks.values()).isdisjoint(images.values()):
        return {}
    return {"images": _unique(images), "masks": _unique(masks)}


def _filled(folder: Path) -> list[Path]:
    refuse_splits_inside(folder)
    files = images_below(folder)
    if not files:
        raise UserError(
            f"{folder} holds no image, that is, no file ending in {', '.join(EXTENSIONS)}; add"
            " images or remove the folder."
        )
    return files


def _names(files: Sequence[Path], folder: Path) -> dict[Path, str]:
    """Returns the path of each file below the folder, without its extension."""
    return {path: stem(path.relative_to(folder).as_posix()) for path in files}


def _unique(names: Mapping[Path, str]) -> dict[str, Path]:
    """Returns the file of each name; refuses duplicate names."""
    files: dict[str, Path] = {}
    for path, name in names.items():
        if name in files:
            raise UserError(
                f"{files[name]} and {path.name} have the same name except for the ending, so"
                " their pairs are ambiguous; rename or remove one."
            )
        files[name] = path
    return files


def _unpaired(root: Path, files: Sequence[Path]) -> list[str]:
    """Returns the images outside the paired folders, and logs them."""
    unpaired = sorted(
        printed(path.relative_to(root).as_posix()) for path in set(images_below(root)) - {*files}
    )
    if unpaired:
        log.warning(
            "%s: %s in no pair: %s",
            *(root, counted(len(unpaired), "image is", "images are"), some(unpaired)),
        )
    return unpaired


def _check_splits(root: Path, splits: Mapping[str, Kinds]) -> None:
    if "train" not in splits:
        raise UserError(f"{root} has a folder {', '.join(splits)} but none named train; add it.")
    most = max(splits, key=lambda split: len(splits[split]))
    for split, kinds in splits.items():
        if kinds.keys() != splits[most].keys():
            raise UserError(
                f"The {split} split of {root} does not hold {' and '.join(sorted(splits[most]))} as"
                f" the {most} split does; add what is missing or move the split elsewhere."
            )


def _pairs(kinds: Kinds, by: str) -> list[_Pair]:
    match = _by_order if by == "sorted" else _by_name
    images = kinds["images"]
    masks, targets = (
        match(images, kinds[kind], kind) if kind in kinds else {} for kind in ("masks", "targets")
    )
    return [_Pair(path, masks.get(name), targets.get(name)) for name, path in images.items()]


def _by_name(images: Files, others: Files, kind: str) -> Files:
    """Returns the partner of each image, by the image's name."""
    for these, those, lacking in ((images, others, kind), (others, images, "images")):
        if alone := [path for name, path in these.items() if name not in those]:
            listed = ", ".join([str(alone[0]), *(path.name for path in alone[1:_SHOWN])])
            raise UserError(
                f"No {lacking[:-1]} has the name of {len(alone)} of {counted(len(these), 'file')}"
                f" ({listed}"
                f"{', ...' if alone[_SHOWN:] else ''}); give both the same name, remove what is"
                " alone, or pair all by their order with --config.data.pairs=sorted"
            )
    return others


def _by_order(images: Files, others: Files, kind: str) -> Files:
    """Returns the partner of each image, by the image's name."""
    if len(images) != len(others):
        raise UserError(
            f"{counted(len(images), 'image')} such as {next(iter(images.values()))} can't be"
            " paired by order"
            f" with {len(others)} {kind} such as {next(iter(others.values()))}; add what is"
            " missing, or pair them by name with --config.data.pairs=stems"
        )
    first, second = sorted(images, key=natural_order), sorted(others, key=natural_order)
    log.info(
        "paired by order: %s with %s, ..., %s with %s",
        *(images[first[0]].name, others[second[0]].name),
        *(images[first[-1]].name, others[second[-1]].name),
    )
    return {name: others[other] for name, other in zip(first, second, strict=True)}
