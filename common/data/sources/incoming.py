"""New images for a trained network: which files there are, and reading them ahead of their turn."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from common.data.files.kinds import is_image
from common.data.sources.listing import images_below, unread_below
from common.data.sources.pairs import masks_beside
from common.program.errors import UserError
from common.program.files import regular_file, user_path, within

AHEAD_BYTES = 256 * 2**20  # of what is read before its turn
_MOST_AHEAD = 64  # items

Item = TypeVar("Item")
Read = TypeVar("Read")


class Incoming(NamedTuple):
    """What is at or below --input.

    Attributes:
      files: the images.
      folder: that their names start from.
      unread: what is not read, by its path below the folder.
    """

    files: list[Path]
    folder: Path
    unread: tuple[str, ...]

    @property
    def told(self) -> str:
        """Returns "; 3 other files are not read" for a closing sentence, "" where there is none."""
        if not self.unread:
            return ""
        one = len(self.unread) == 1
        return f"; {len(self.unread):,} other {'file is' if one else 'files are'} not read"


def find_images(given: str, output: Path) -> Incoming:
    """Finds the image files at or below --input, and names in the log what else is there.

    What lies in the output folder is left out: earlier results are no images.

    Raises:
      UserError: there is no image, or masks lie beside them.
    """
    root = user_path(given)
    if not root.exists():
        raise UserError(f"--input={root} is not there; name a file or a folder of images.")
    if root.is_dir():
        if images := masks_beside(root):
            advice = "move the masks elsewhere" if images == root else f"name {images}"
            raise UserError(f"--input={root} holds masks beside its images; {advice}.")
        if output.resolve() == root.resolve():
            raise UserError(f"--output={output} is the folder of --input; name another.")
        mine = output.resolve() if within(output, root.resolve()) else None
        files = [file for file in images_below(root) if not (mine and within(file, mine))]
        found = Incoming(files, root, unread_below(root, mine))
    else:
        regular_file(root)
        found = Incoming([root] if is_image(root) else [], root.parent, ())
    if not found.files:
        raise UserError(f"--input={root} holds no image that can be read; see docs/own_data.md.")
    return found


def read_ahead(
    pool: ThreadPoolExecutor,
    items: Iterable[Item],
    read: Callable[[Item], Read],
    num_bytes: Callable[[Read], int],
) -> Iterator[tuple[Item, Future[Read]]]:
    """Yields each item with what is read of it, in order; threads read as many as fit in memory.

    Args:
      pool: whose threads read.
      items: what to read.
      read: may raise, which the future then does.
      num_bytes: what a result takes in memory.
    """
    running: deque[Any] = deque()
    largest = 0  # bytes of a result, which the first one tells
    for item in items:
        running.append((item, pool.submit(read, item)))
        while len(running) > (min(_MOST_AHEAD, AHEAD_BYTES // largest) if largest else 2):
            head = running.popleft()
            if head[1].exception() is None:
                largest = max(largest, 1, num_bytes(head[1].result()))
            yield head
    yield from running
