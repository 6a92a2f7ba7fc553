"""Images with true masks, and what networks that were not trained on them find there."""

from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import islice, starmap
from typing import NamedTuple, TypeAlias

from common.data.records import Mask, Pixels
from common.runs.evaluation import Unseen
from common.runs.workdir import Run
from unet.segment import Probabilities, Windows, segment

Load: TypeAlias = Callable[[Run], tuple[Windows, int]]  # as `load_windows`


class Segmented(NamedTuple):
    """An image, its true mask, and the probability of every class at every pixel."""

    image: Pixels
    truth: Mask
    probabilities: Probabilities


def segmented(
    parts: Sequence[Unseen], loaded: Load, places: Collection[int] | None = None
) -> Iterator[Segmented]:
    """Yields images of a prepared set in order, a few at a time in memory.

    Args:
      parts: the images, each with the run that has not seen it.
      loaded: returns the network of a run.
      places: numbers of those to segment among all; None for all.
    """
    start = 0
    for split, run in parts:
        windows, _ = loaded(run)
        own = iter([i for i in range(len(split)) if places is None or start + i in places])
        while several := list(islice(own, 8 * windows.batch)):
            examples = split.read(several)
            found = segment(examples["image"], windows)
            each = zip(examples["image"], examples["mask"], found, strict=True)
            yield from starmap(Segmented, each)
        start += len(split)
