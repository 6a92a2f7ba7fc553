"""New images for a trained network: finding the files, and reading them ahead."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from common.data.files.kinds import is_image
from common.data.sources.listing import images_below, unread_below
from common.data.sources.pairs import images_of_pairs
from common.program.errors import UserError
from common.program.files import regular_file, user_path, within

AHEAD_BYTES = 256 * 2**20  # of results read ahead
_MOST_AHEAD = 64  # items

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
