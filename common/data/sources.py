"""Where images come from, before decoding: a folder, an `.npz` file, IDX files, or phantoms."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import overload

from ml_collections import ConfigDict

from common.data.arrays import holds_idx, open_idx, open_npz
from common.data.folders import open_folder
from common.data.records import Once, Record, Source, fingerprint
from common.errors import UserError

__all__ = ["Record", "Source", "open_source", "parse_window"]

# Phantoms of one seed are the same whatever their number, so each split has a seed of its own.
_PHANTOM_SEEDS = {"train": 0, "val": 1, "test": 2}


def open_source(data: ConfigDict) -> Source:
    """Opens the images that `config.data` names; decodes and draws none of them yet.

    Args:
      data: `dir` is a folder of images, an `.npz` file, or IDX files or their folder, and "" means
        phantoms of the kind `name`, as large as `image_size`, `num_phantoms` of them in train and a
        quarter of it in val and test; `window` is "" or "low,high".

    Raises:
      UserError: the path or a setting can't be used.
    """
    window = parse_window(data.window)
    if not data.dir:
        return _open_phantoms(data.name, data.num_phantoms, data.image_size)
    path = Path(data.dir).expanduser()
    try:
        path.stat()
    except OSError as error:
        raise UserError(
            f"{path} can't be opened: {error.strerror}; check --config.data.dir."
        ) from error
    if path.is_dir():
        return open_idx(path) if holds_idx(path) else open_folder(path, window)
    if path.suffix.lower() == ".npz":
        return open_npz(path)
    if "-ubyte" in path.name and holds_idx(path.parent):
        return open_idx(path.parent)
    advice = "unpack it and name the folder" if path.suffix.lower() == ".zip" else "name one"
    raise UserError(
        f"{path} is neither a folder of images, nor an .npz file, nor one of MNIST's IDX files;"
        f" {advice} with --config.data.dir."
    )


def parse_window(text: str) -> tuple[float, float] | None:
    """Returns (low, high) of "low,high", and None of "".

    Raises:
      UserError: the text is neither, or low is not below high.
    """
    if not text.strip():
        return None
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        low, high = 0.0, 0.0
    if not -float("inf") < low < high < float("inf"):
        raise UserError(
            f"config.data.window is '{text}'; write two numbers, the lower first, as in"
            " --config.data.window=-1000,400"
        )
    return low, high


class _Drawn(Sequence[Record]):
    """Records of phantoms: their number is known, they are drawn when the first one is asked for.

    Drawing takes seconds, and a run whose prepared set lies in the cache needs only the number.
    """

    def __init__(self, num: int, draw: Callable[[], list[Record]]) -> None:
        self._num, self._records = num, Once(draw)

    def __len__(self) -> int:
        return self._num

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> list[Record]: ...
    def __getitem__(self, index: int | slice) -> Record | list[Record]:
        return self._records()[index]


def _open_phantoms(name: str, num_train: int, image_size: int) -> Source:
    from common.data.phantoms import KINDS

    if name not in KINDS:
        raise UserError(
            f"config.data.name is '{name}' and there are no phantoms of that kind (there are:"
            f" {', '.join(sorted(KINDS))}); for your own images set --config.data.dir=FOLDER"
        )
    kind = KINDS[name]
    if num_train < len(kind.classes):
        raise UserError(
            f"config.data.num_phantoms is {num_train}; it must be at least {len(kind.classes)},"
            " one image a class."
        )
    held_out = max(num_train // 4, len(kind.classes))
    counts = {"train": num_train, "val": held_out, "test": held_out}

    def draw(split: str) -> list[Record]:
        phantoms = kind.draw(_PHANTOM_SEEDS[split], counts[split], image_size)
        return [
            Record(f"{split}/{row:06d}", int(label), partial(phantoms.images.__getitem__, row))
            for row, label in enumerate(phantoms.labels)
        ]

    return Source(
        name=f"{name} phantoms",
        classes=kind.classes,
        splits={split: _Drawn(num, partial(draw, split)) for split, num in counts.items()},
        fingerprint=fingerprint("phantoms", name, counts, _PHANTOM_SEEDS, image_size),
        synthetic=True,
    )
