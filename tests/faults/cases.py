"""What goes wrong: which calls fail on which files, and what happens to files."""

import errno
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Fault:
    """One accident.

    Attributes:
      kind: the row of the table.
      mode: in which it happens.
      name: says which file and how.
      calls: (kind of call, part of the path, errno, from which call on); None for damage.
      damage: done to a copy of a run and of its prepared data before the mode starts.
      removes: whether the workdir is removed after the third step.
    """

    kind: str
    mode: str
    name: str
    calls: tuple[str, str, int, int] | None = None
    damage: Callable[[Path, Path], None] | None = None
    removes: bool = False


_WRITTEN = {
    "train": ("checkpoints/", "metrics.jsonl", "pictures/", "run.json", "config.json", "prepared"),
    "generate": ("out/",),
    "evaluate": ("out/",),
    "predict": ("out/",),
}
_READ = {
    "train": ("prepared/", "checkpoints/", "run.json", "config.json", "metrics.jsonl"),
    "generate": ("checkpoints/", "run.json", "config.json"),
    "evaluate": ("checkpoints/", "run.json", "prepared/"),
    "predict": ("checkpoints/", "config.json", "images/"),
}


def _flipped(content: bytes, draw: random.Random) -> bytes:
    place = draw.randrange(len(content))
    return content[:place] + bytes([content[place] ^ 1 << draw.randrange(8)]) + content[place + 1 :]


_WAYS: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "emptied": lambda content, draw: b"",
    "half of it": lambda content, draw: content[: len(content) // 2],
    "one bit": _flipped,
    "another bit": _flipped,
    "null": lambda content, draw: b"null",
    "a list": lambda content, draw: b"[" * 9 + b"]" * 9,
    "deep": lambda content, draw: b"[" * 200_000,
    "1e999": lambda content, draw: content.replace(b"1", b"1e999"),
    "zero bytes": lambda content, draw: b"\0" * len(content),
    "not UTF-8": lambda content, draw: content.replace(b'"', b'"\xff', 1),
}


def all_faults() -> list[Fault]:
    """Returns every case, in the order of the table."""
    return [*_of_the_disk(), *_of_files(), *_of_folders()]


def _of_the_disk() -> Iterator[Fault]:
    for kind, number, calls in (
        ("disk full", errno.ENOSPC, ("write",)),
        ("EIO on writing", errno.EIO, ("write", "sync", "rename")),
        ("read-only file system", errno.EROFS, ("create",)),
    ):
        for mode, parts in _WRITTEN.items():
            for part in parts:
                for call in calls:
                    for first in (1, 3):
                        name = f"{call} {first} of {part}"
                        yield Fault(kind, mode, name, (call, part, number, first))
    for mode, parts in _READ.items():
        for part in parts:
            for first in (1, 3):
                name = f"read {first} of {part}"
                yield Fault("EIO on reading", mode, name, ("read", part, errno.EIO, first))


def _of_files() -> Iterator[Fault]:
    for name in ("run.json", "config.json", "metrics.jsonl", "evaluation/evaluation.json"):
        for mode in ("train", "generate"):
            if name == "metrics.jsonl" and mode != "train":
                continue
            for way in _WAYS:
                yield Fault(f"{name} damaged", mode, way, damage=_damaged(f"run/{name}", way))
    for part in ("array_record", "examples.json", "metadata.json", "features.json"):
        for way in ("emptied", "half of it", "one bit", "another bit", "deleted"):
            for mode in ("train", "evaluate"):
                yield Fault(
                    "prepared file damaged",
                    mode,
                    f"{part}: {way}",
                    damage=_damaged(f"cache/prepared/*/*{part}*", way),
                )


def _of_folders() -> Iterator[Fault]:
    yield Fault("workdir removed", "train", "after step 3", removes=True)
    for mode in ("generate", "evaluate", "predict"):
        yield Fault("workdir removed", mode, "before", damage=_without("run"))
        yield Fault("checkpoints removed", mode, "before", damage=_without("run/checkpoints"))


def _damaged(pattern: str, way: str) -> Callable[[Path, Path], None]:
    def act(run: Path, place: Path) -> None:
        (file,) = place.glob(pattern)
        if way == "deleted":
            file.unlink()
        else:
            file.write_bytes(_WAYS[way](file.read_bytes(), random.Random(way)))

    return act


def _without(name: str) -> Callable[[Path, Path], None]:
    return lambda run, place: shutil.rmtree(place / name)
