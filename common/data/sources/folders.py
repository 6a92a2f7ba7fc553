"""Folders of image files: `root/class/*`, `root/{train,val,test}/class/*`, or flat as one class."""

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path

from common.data.files.image import Reading
from common.data.files.kinds import EXTENSIONS
from common.data.files.slices import images_in
from common.data.records import Contents, Once, Record, Source, fingerprint
from common.data.sources.listing import images_below, unread_below, visible
from common.program.errors import UserError

SPLIT_NAMES = {
    **{"train": "train", "training": "train"},
    **{"val": "val", "valid": "val", "validation": "val"},
    **{"test": "test", "testing": "test"},
}

ClassFiles = dict[str, list[Path]]


def open_folder(root: Path, reading: Reading) -> Source:
    """Finds the images, classes and splits of a folder; decodes no image.

    Without split folders all images belong to "train". Images deeper inside a class folder count,
    too. Hidden files are ignored, other files that are not images are named in the log. Records are
    sorted by id, classes by name, both by code point, whatever the file system's order.

    Raises:
      UserError: the folder holds no image, mixes layouts, or a split lacks a class.
    """
    folders = split_folders(root)
    unread = unread_below(root)
    files = {split: _class_files(folder, root) for split, folder in folders.items()}
    if not any(paths for split in files.values() for paths in split.values()):
        raise UserError(
            f"{root} holds no image, that is, no file ending in {', '.join(EXTENSIONS)};"
            " check --config.data.dir (name a .npz file by its own path)."
        )
    if "train" not in files:
        raise UserError(f"{root} has a folder {', '.join(files)} but none named train; add it.")
    classes = tuple(sorted({name for split in files.values() for name in split}))
    _check_classes(root, folders, files, classes)
    listed = [path for by_class in files.values() for paths in by_class.values() for path in paths]
    return Source(
        name=str(root),
        fingerprint=fingerprint("folder", classes, stats(root, listed)),
        synthetic=False,
        contents=Once(partial(_contents, root, files, classes, reading, unread)),
    )


def open_file(path: Path, reading: Reading) -> Source:
    """Opens a single file; its images are of one class, named after it.

    Raises:
      UserError: it can't be read.
    """
    return Source(
        name=str(path),
        fingerprint=fingerprint("file", stats(path.parent, [path])),
        synthetic=False,
        contents=Once(
            lambda: _contents(path.parent, {"train": {path.name: [path]}}, (path.name,), reading)
        ),
    )


def _contents(
    root: Path,
    files: Mapping[str, ClassFiles],
    classes: tuple[str, ...],
    reading: Reading,
    unread: tuple[str, ...] = (),
) -> Contents:
    splits: dict[str, list[Record]] = {}
    for split, by_class in files.items():
        records = [
            Record(
                id=record_id(path, root) + image.suffix,
                label=classes.index(name),
                read=image.read,
                read_group=image.read_group,
                path=path,
                doubt=image.doubt,
            )
            for name, paths in by_class.items()
            for path in paths
            for image in images_in(path, reading)
        ]
        splits[split] = sorted(records, key=lambda record: record.id)
    return Contents(classes, splits, unread=unread)


def split_folders(root: Path) -> dict[str, Path]:
    """Returns the folder of each split; without split folders the root is "train"."""
    folders, images, _ = visible(root)
    splits: dict[str, Path] = {}
    for folder in folders:
        split = SPLIT_NAMES.get(folder.name.casefold())
        if split in splits:
            raise UserError(
                f"{root} holds both {splits[split].name} and {folder.name}, which mean the same"
                f" split; merge them into one folder named {split}."
            )
        if split:
            splits[split] = folder
    if not splits:
        return {"train": root}
    strays = [folder for folder in folders if folder not in splits.values()]
    strays = images[:1] or [folder for folder in strays if images_below(folder)]
    if strays:
        raise UserError(
            f"{root} holds {strays[0].name} beside its split folders"
            f" ({', '.join(folder.name for folder in splits.values())}), so its split is"
            " unknown; move it into one of them or elsewhere."
        )
    return {split: splits[split] for split in ("train", "val", "test") if split in splits}


def _class_files(folder: Path, root: Path) -> ClassFiles:
    """Returns the images of each class of one split, including empty classes."""
    folders, images, _ = visible(folder)
    if not images:
        for name in folders:
            refuse_splits_inside(name)
            _refuse_masks_inside(name)
        return {name.name: images_below(name) for name in folders}
    filled = [name.name for name in folders if images_below(name)]
    if filled:
        raise UserError(
            f"{folder} holds both images ({images[0].name}) and folders of images ({filled[0]}),"
            " so the images' class is unknown; move them into a folder of their class."
        )
    return {root.resolve().name: images}


def refuse_splits_inside(folder: Path) -> None:
    """Refuses `root/class/{train,test}`: as nested folders it would put test images in "train"."""
    names = [
        child.name for child in visible(folder).folders if child.name.casefold() in SPLIT_NAMES
    ]
    if names:
        raise UserError(
            f"{folder} holds a folder {names[0]}, but splits belong above the classes"
            f" (DIR/{names[0]}/{folder.name}/image.png); rearrange them, or set --config.data.dir"
            f" to {folder} if that is the data."
        )


def _refuse_masks_inside(folder: Path) -> None:
    """Refuses `root/class/{images,masks}`: as nested folders it would turn masks into images."""
    names = {child.name.casefold() for child in visible(folder).folders}
    if {"images", "masks"} <= names:
        raise UserError(
            f"{folder} holds images and masks in folders of their own; set --config.data.dir to it"
            " to use both, or leave the masks out to use it as a class."
        )


def _check_classes(
    root: Path,
    folders: Mapping[str, Path],
    files: Mapping[str, ClassFiles],
    classes: tuple[str, ...],
) -> None:
    for split, by_class in files.items():
        for name in classes:
            if not by_class.get(name):
                others = [other for other in files if files[other].get(name)]
                where = f" (the {others[0]} split has some)" if others else ""
                raise UserError(
                    f"Class {name} has no image in the {split} split, {folders[split]}{where};"
                    f" add images, or remove the class from {root}."
                )


def record_id(path: Path, root: Path) -> str:
    """Returns a file's path below the root, with "/" between its parts.

    Raises:
      UserError: it is not UTF-8, which ids in prepared sets and reports must be.
    """
    name = path.relative_to(root).as_posix()
    try:
        name.encode()
    except UnicodeEncodeError as error:
        shown = name.encode("ascii", "backslashreplace").decode()
        raise UserError(f"{shown} in {root} is not a UTF-8 file name; rename the file.") from error
    return name


def stats(root: Path, paths: Iterable[Path]) -> list[tuple[str, int, int]]:
    """Returns (path below the root, size, time of change) of each file, sorted: its fingerprint.

    Raises:
      UserError: a file has vanished or its folder can't be read.
    """
    entries = []
    for path in sorted(paths):
        try:
            stat = path.stat()
        except OSError as error:
            raise UserError(
                f"{path} can't be read: {error.strerror}; restore or remove it."
            ) from error
        entries.append((path.relative_to(root).as_posix(), stat.st_size, stat.st_mtime_ns))
    return entries
