"""Ways in which a single file is damaged, for tests of what is read back."""

import os
import shutil
from pathlib import Path

import numpy as np


def truncated(file: Path, rng: np.random.Generator) -> None:
    """Loses its end."""
    _rewrite(file, file.read_bytes()[: int(rng.integers(file.stat().st_size))])


def emptied(file: Path, rng: np.random.Generator) -> None:
    """Has no byte left."""
    _rewrite(file, b"")


def deleted(file: Path, rng: np.random.Generator) -> None:
    """Is gone."""
    file.unlink()


def unreadable(file: Path, rng: np.random.Generator) -> None:
    """Can't be read by anybody, which a folder in its place can't be by root either."""
    file.unlink()
    file.mkdir()


def flipped(file: Path, rng: np.random.Generator) -> None:
    """Has one bit that is another."""
    content = bytearray(file.read_bytes())
    content[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
    _rewrite(file, bytes(content))


KINDS = (truncated, emptied, deleted, unreadable, flipped)


def linked_copy(source: Path, target: Path) -> Path:
    """Copies a folder in no time; its files are shared until one is damaged."""
    shutil.rmtree(target, ignore_errors=True)
    return Path(shutil.copytree(source, target, copy_function=os.link))


def _rewrite(file: Path, content: bytes) -> None:
    file.unlink()  # so that other copies keep what they have
    file.write_bytes(content)
