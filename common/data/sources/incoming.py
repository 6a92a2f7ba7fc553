"""New images for a trained network: finding the files, reading them ahead; a program's arrays."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np

from common.data.files.image import Reading
from common.data.files.kinds import is_image
from common.data.files.slices import images_in
from common.data.records import Decoded
from common.data.sources.listing import images_below, unread_below
from common.data.sources.pairs import images_of_pairs
from common.program.errors import UserError
from common.program.files import regular_file, user_path, within

AHEAD_BYTES = 256 * 2**20  # of results read ahead
_MOST_AHEAD = 64  # items

# A file, an array of images [n, height, width] or with channels, or files and single images.
Given: TypeAlias = (
    str | os.PathLike[str] | np.ndarray | Sequence[str | os.PathLike[str] | np.ndarray]
)

Item = TypeVar("Item")
Read = TypeVar("Read")


class Incoming(NamedTuple):
    """The files at or below --input.

    Attributes:
      files: the images.
      folder: the one that their names are relative to.
      unread: paths below the folder of files that are not read.
    """

    files: list[Path]
    folder: Path
    unread: tuple[str, ...]

    @property
    def told(self) -> str:
        """Returns "; 3 other files are not read" for a closing sentence, "" if there are none."""
        if not self.unread:
            return ""
        one = len(self.unread) == 1
        return f"; {len(self.unread):,} other {'file is' if one else 'files are'} not read"


def find_images(given: str, output: Path) -> Incoming:
    """Finds the image files at or below --input; other files are named in the log.

    The output folder is skipped: earlier results are not input.

    Raises:
      UserError: there is no image, or there are masks or targets beside them.
    """
    root = user_path(given)
    if not root.exists():
        raise UserError(f"--input={root} does not exist; name a file or a folder of images.")
    if root.is_dir():
        if images := images_of_pairs(root):
            advice = "move the masks elsewhere" if images == root else f"name {images}"
            raise UserError(f"--input={root} holds masks or targets beside its images; {advice}.")
        if output.resolve() == root.resolve():
            raise UserError(f"--output={output} is the folder of --input; name another.")
        mine = output.resolve() if within(output, root.resolve()) else None
        files = [file for file in images_below(root) if not (mine and within(file, mine))]
        found = Incoming(files, root, unread_below(root, mine))
    else:
        regular_file(root)
        found = Incoming([root] if is_image(root) else [], root.parent, ())
    if not found.files:
        raise UserError(f"--input={root} holds no readable image; see docs/own_data.md.")
    return found


def images_of(given: Given, reading: Reading) -> Iterator[Decoded]:
    """Yields images that a program gives, in order; a file may hold several.

    Args:
      given: files, or arrays of 0 to 255.
      reading: how files are read.

    Raises:
      UserError: an array is no image, or a file can't be read.
    """
    if isinstance(given, str | os.PathLike):
        given = [given]
    for one in given:
        if isinstance(one, np.ndarray):
            yield _decoded(one)
        else:
            file = user_path(Path(one))
            if file.is_dir() or not file.exists():
                raise UserError(f"{file} is no file; name files, as in sorted(folder.glob('*')).")
            for image in images_in(file, reading):
                yield image.read()


def _decoded(image: np.ndarray) -> Decoded:
    """Returns an image [height, width], [height, width, 1] or [height, width, 3]."""
    pixels = image[..., None] if image.ndim == 2 else image
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[-1] not in (1, 3):
        raise UserError(
            f"An image is {image.dtype} {list(image.shape)}; give uint8 [height, width] or"
            " [height, width, 3], several as [n, height, width] or as a list."
        )
    return Decoded.from_bytes(pixels, "L" if pixels.shape[-1] == 1 else "RGB")


def read_ahead(
    pool: ThreadPoolExecutor,
    items: Iterable[Item],
    read: Callable[[Item], Read],
    num_bytes: Callable[[Read], int],
) -> Iterator[tuple[Item, Future[Read]]]:
    """Yields each item with its result, in order; threads read ahead as many as fit in memory.

    Args:
      pool: whose threads read.
      items: what to read.
      read: reads one; if it raises, its future raises.
      num_bytes: returns the memory that a result takes.
    """
    running: deque[Any] = deque()
    largest = 0  # bytes of a result, known from the first one on
    for item in items:
        running.append((item, pool.submit(read, item)))
        while len(running) > (min(_MOST_AHEAD, AHEAD_BYTES // largest) if largest else 2):
            head = running.popleft()
            if head[1].exception() is None:
                largest = max(largest, 1, num_bytes(head[1].result()))
            yield head
    yield from running
