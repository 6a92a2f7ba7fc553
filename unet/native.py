"""Images to score in their own size, as --mode=predict writes their masks."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

from common.data.fit import resize_shares, to_channels
from common.data.prepared.neighbours import stacked, with_neighbours
from common.data.records import Mask, Pixels, Record
from common.data.sources.incoming import read_ahead
from common.data.sources.open import open_source
from common.runs.evaluation import HeldOut
from common.runs.workdir import Run
from unet.decision import Decision
from unet.reading import as_in_training
from unet.segment import segment
from unet.segmented import Load, Segmented


class _Native(NamedTuple):
    """An image and its true mask in their own size.

    Attributes:
      image, truth: as the files have them.
      shown: what the network sees.
      place: where in `shown` the image is.
    """

    image: Pixels
    truth: Mask
    shown: Pixels
    place: tuple[slice, slice]

    def num_bytes(self) -> int:
        """Returns its size in memory."""
        return int(self.image.nbytes + self.truth.nbytes + self.shown.nbytes)


def segmented_natively(held: HeldOut, loaded: Load, decision: Decision) -> Iterator[Segmented]:
    """Yields the images in their own size, with their cleaned probabilities, as predict has them.

    Raises:
      UserError: a file can't be read.
    """
    source = with_neighbours(open_source(held.data.section), held.data)
    records = {record.id: record for some in source.splits.values() for record in some}
    with ThreadPoolExecutor() as pool:
        for split, run in held.parts:
            waiting: deque[_Native] = deque()
            read = partial(_read_natively, run)
            listed = (records[name] for name in split.ids)
            ahead = (one.result() for _, one in read_ahead(pool, listed, read, _Native.num_bytes))
            for shares in segment(_shown(ahead, waiting), loaded(run)[0]):
                image, truth, _, place = waiting.popleft()
                own = resize_shares(decision.cleaned(shares[place]), *truth.shape)
                yield Segmented(image, truth, own)


def _read_natively(run: Run, record: Record) -> _Native:
    assert record.read_mask  # as of all images of a set with masks
    pixels = to_channels(record.read().pixels, run.card.slice_channels)
    others = record.with_slices_around(pixels)
    shown = stacked([to_channels(one, run.card.slice_channels) for one in others])
    return _Native(pixels, record.read_mask(), *as_in_training(shown, run))


def _shown(images: Iterable[_Native], waiting: deque[_Native]) -> Iterator[Pixels]:
    """Yields what the network sees, and notes the images that wait for what it finds."""
    for image in images:
        waiting.append(image)
        yield image.shown
