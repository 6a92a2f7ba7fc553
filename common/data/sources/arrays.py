"""Images stored as arrays in one file: `.npz` as in MedMNIST, IDX as in MNIST.

MedMNIST: Yang et al. 2023, "MedMNIST v2". IDX: LeCun's MNIST page; Fashion-MNIST is named alike.
"""

import gzip
import math
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Integer, UInt8

from common.data.findings import joined_name
from common.data.records import SPLITS, Contents, Decoded, Once, Record, Source, fingerprint
from common.data.spelling import natural_order
from common.program.errors import UserError
from common.program.words import counted

_IDX_SPLITS = {"train": "train", "test": "t10k"}
_UNSIGNED_BYTE = 8  # the type code of IDX

Stack = UInt8[np.ndarray, "num height width *channels"]
# A class of each image; or 1 for each finding that it shows.
Labels = Integer[np.ndarray, " num"] | Integer[np.ndarray, "num findings"]


def open_npz(path: Path) -> Source:
    """Opens an `.npz` file in MedMNIST's layout; nothing in it is ever unpickled.

    It holds `train_images` (uint8 [n, h, w], [n, h, w, 1] or [n, h, w, 3]) and `train_labels`
    (integers 0..k-1, [n] or [n, 1]; or 0 and 1 for k findings, [n, k]), and the same for `val` and
    `test` if they exist. The classes are named "0", "1", ..., those of findings "0|3". Labels and
    headers are read at once, a split's images at its first read.

    Raises:
      UserError: the file is damaged, an array is missing, or one has another type or length.
    """
    return Source(str(path), _fingerprint([path]), False, Once(partial(_npz_contents, path)))


def _npz_contents(path: Path) -> Contents:
    labels: dict[str, Labels] = {}
    images: dict[str, Callable[[], Stack]] = {}
    with _reading(path), zipfile.ZipFile(path) as archive:
        names = {name.removesuffix(".npy") for name in archive.namelist()}
        for split in SPLITS:
            pair = f"{split}_images", f"{split}_labels"
            if split != "train" and not names.intersection(pair):
                continue
            for name in pair:
                if name not in names:
                    raise UserError(
                        f"{path} has no array {name} (it has {', '.join(sorted(names)) or 'none'});"
                        " the arrays must be named as in MedMNIST: train_images, train_labels,"
                        " val_images and so on."
                    )
            num = _check_images(path, pair[0], archive)
            labels[split] = _npz_labels(path, pair[1], archive, num)
            width, first = (some[0].size for some in (labels[split], labels["train"]))
            if width != first:
                raise UserError(
                    f"{pair[1]} has {width} numbers for each image, train_labels {first}; make them"
                    f" equal in {path}."
                )
            images[split] = Once(partial(_npz_array, path, pair[0]))
    return _contents(path, labels, images)


def idx_names(split: str, content: str) -> tuple[str, ...]:
    """Returns the possible file names of MNIST's "images" or "labels" of a split."""
    stem, dimensions = f"{_IDX_SPLITS[split]}-{content}", 3 if content == "images" else 1
    return tuple(
        f"{stem}{joint}idx{dimensions}-ubyte{end}" for joint in "-." for end in ("", ".gz")
    )


def holds_idx(folder: Path) -> bool:
    """Returns whether a folder holds any of MNIST's files."""
    names = [idx_names(split, part) for split in _IDX_SPLITS for part in ("images", "labels")]
    return any((folder / name).is_file() for alternatives in names for name in alternatives)


def open_idx(folder: Path) -> Source:
    """Opens a folder of MNIST's IDX files, gzipped or not; `t10k` is the split "test".

    Images are uint8 [n, h, w]; the classes are named "0", "1", ...

    Raises:
      UserError: a file is missing or damaged, or its magic number or length is wrong.
    """
    files: dict[str, list[Path]] = {}
    for split in _IDX_SPLITS:
        found = {part: _find(folder, split, part) for part in ("images", "labels")}
        if split != "train" and not any(found.values()):
            continue
        for part, path in found.items():
            if path is None:
                raise UserError(f"{folder} has no {idx_names(split, part)[1]}; add the file.")
            files.setdefault(split, []).append(path)
    listed = [path for pair in files.values() for path in pair]
    return Source(
        str(folder), _fingerprint(listed), False, Once(partial(_idx_contents, folder, files))
    )


def _idx_contents(folder: Path, files: Mapping[str, list[Path]]) -> Contents:
    labels: dict[str, Labels] = {}
    images: dict[str, Callable[[], Stack]] = {}
    for split, (images_file, labels_file) in files.items():
        stack, labels[split] = _idx_array(images_file, 3), _idx_array(labels_file, 1)
        _check_count(labels_file, "it", len(labels[split]), len(stack))
        images[split] = partial(_same, stack)
    return _contents(folder, labels, images)


def _contents(
    path: Path, labels: Mapping[str, Labels], images: Mapping[str, Callable[[], Stack]]
) -> Contents:
    names = {split: _names_of(values) for split, values in labels.items()}
    if any(values.ndim == 2 for values in labels.values()):
        classes = tuple(sorted({x for some in names.values() for x in some}, key=natural_order))
    else:
        classes = _class_names(path, labels)
    places = {name: place for place, name in enumerate(classes)}
    splits = {
        split: [
            Record(f"{split}/{row:06d}", places[name], partial(_row, images[split], row))
            for row, name in enumerate(names[split])
        ]
        for split in labels
    }
    return Contents(classes, splits)


def _names_of(labels: Labels) -> list[str]:
    """Returns the name of each image's class."""
    if labels.ndim == 1:
        return [str(label) for label in labels.tolist()]
    return [joined_name([str(x) for x in np.flatnonzero(row)]) for row in labels]


def _fingerprint(files: list[Path]) -> str:
    stats = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return fingerprint("arrays", stats)


def _class_names(path: Path, labels: Mapping[str, Labels]) -> tuple[str, ...]:
    lowest = min(int(values.min()) for values in labels.values())
    highest = max(int(values.max()) for values in labels.values())
    known = np.unique(labels["train"])
    if lowest < 0 or len(known) != highest + 1:
        raise UserError(
            f"{path} has labels from {lowest} to {highest}, {len(known)} different ones in train;"
            " number the classes 0, 1, ... without a gap and give each images in train."
        )
    return tuple(str(label) for label in range(highest + 1))


def _same(stack: Stack) -> Stack:
    return stack


def _row(images: Callable[[], Stack], row: int) -> Decoded:
    image = images()[row]
    pixels = image[..., None] if image.ndim == 2 else image
    return Decoded.from_bytes(pixels, "L" if pixels.shape[-1] == 1 else "RGB")


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turns errors of NumPy, zipfile and gzip into a sentence."""
    try:
        yield
    except (UserError, MemoryError):
        raise
    except Exception as error:  # zipfile, zlib, gzip and NumPy have no common error
        raise UserError(
            f"{path} is damaged or not of the type its name says ({error}); download it again."
        ) from error


def _npz_header(
    path: Path, name: str, archive: zipfile.ZipFile
) -> tuple[tuple[int, ...], np.dtype]:
    """Returns an array's shape and type without reading it; checks that it is complete."""
    with archive.open(f"{name}.npy") as stream:
        version = np.lib.format.read_magic(stream)
        readers = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }
        if version not in readers:
            raise UserError(f"{name} of {path} is a structured array; save it as plain numbers.")
        shape, _, dtype = readers[version](stream)
        stored = archive.getinfo(f"{name}.npy").file_size - stream.tell()
    if dtype.hasobject:
        raise UserError(
            f"{name} of {path} is an array of Python objects, which is never unpickled; save it as"
            " plain numbers."
        )
    if stored != math.prod(shape) * dtype.itemsize:
        raise UserError(f"{name} of {path} is truncated; download the file again.")
    return shape, dtype


def _npz_array(path: Path, name: str) -> np.ndarray:
    with _reading(path), np.load(path, allow_pickle=False) as arrays:
        array: np.ndarray = arrays[name]
        return array


def _check_images(path: Path, name: str, archive: zipfile.ZipFile) -> int:
    """Returns the number of images in an array; checks its type and shape."""
    shape, dtype = _npz_header(path, name, archive)
    shaped = len(shape) == 3 or (len(shape) == 4 and shape[3] in (1, 3))
    if dtype != np.uint8 or not shaped or not math.prod(shape):
        raise UserError(
            f"{name} of {path} is {dtype} {list(shape)}; images must be uint8 [n, height, width] or"
            " [n, height, width, 3] with n of at least 1."
        )
    return shape[0]


def _npz_labels(path: Path, name: str, archive: zipfile.ZipFile, num: int) -> Labels:
    shape, dtype = _npz_header(path, name, archive)
    if dtype.kind not in "iu" or len(shape) not in (1, 2):
        raise UserError(
            f"{name} of {path} is {dtype} {list(shape)}; labels must be integers [n] or [n, k]."
        )
    _check_count(path, name, shape[0], num)
    labels = _npz_array(path, name)
    if labels.size == num:
        return labels.reshape(num)
    if not np.isin(labels, (0, 1)).all():
        raise UserError(
            f"{name} of {path} has {shape[1]} numbers for each image that are not all 0 or 1; they"
            " must say which of as many findings it shows."
        )
    return labels


def _check_count(path: Path, name: str, labels: int, images: int) -> None:
    if labels != images:
        raise UserError(
            f"{path}: {name} has {counted(labels, 'label')} for {counted(images, 'image')}; correct"
            " the file."
        )


def _find(folder: Path, split: str, part: str) -> Path | None:
    paths = [folder / name for name in idx_names(split, part)]
    return next((path for path in paths if path.is_file()), None)


def _idx_array(path: Path, dimensions: int) -> UInt8[np.ndarray, "..."]:
    with _reading(path):
        data = path.read_bytes()
        data = gzip.decompress(data) if path.suffix == ".gz" else data
    if data[:4] != bytes((0, 0, _UNSIGNED_BYTE, dimensions)):
        raise UserError(
            f"{path} begins with {data[:4].hex() or 'nothing'} rather than 0000"
            f"{_UNSIGNED_BYTE:02x}{dimensions:02x}, so it is not an IDX file of bytes in"
            f" {dimensions} dimensions; download it again."
        )
    begin = 4 + 4 * dimensions
    shape = tuple(np.frombuffer(data[4:begin].ljust(4 * dimensions, b"\0"), ">u4").tolist())
    if len(data) - begin != math.prod(shape) or not math.prod(shape):
        raise UserError(
            f"{path} holds {max(len(data) - begin, 0)} values but its header says"
            f" {' x '.join(map(str, shape))}; download it again."
        )
    return np.frombuffer(data, np.uint8, offset=begin).reshape(shape)
