"""An image as prediction reads it: as it is, and as the network sees it."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from common.data.fit import pad_with_black, resize_image, scaled_size, to_channels
from common.data.records import Decoded, Pixels
from common.data.take import channel_of, parse_take
from common.runs.workdir import Run


class Read(NamedTuple):
    """An image that has been read.

    Attributes:
      height: of the image, in pixels.
      width: of the image, in pixels.
      shown: at the scale of the training images, enlarged to what the network takes.
      place: where in `shown` the image is.
    """

    height: int
    width: int
    shown: Pixels
    place: tuple[slice, slice]

    def num_bytes(self) -> int:
        """Returns its size in memory."""
        return int(self.shown.nbytes)

    def restored(self, translation: Pixels) -> Pixels:
        """Returns the translation of `shown` in the image's own size."""
        return resize_image(translation[self.place], self.height, self.width)


def read_image(read: Callable[[], Decoded], run: Run, multiple: int, *, back: bool) -> Read:
    """Reads an image as training did: its channel, its scale, its padding.

    A network that has seen brains of one size does not know them in another. A translation looks
    at the whole image, so it is not cut into windows.

    Args:
      read: decodes it.
      run: the run.
      multiple: of which the network takes images.
      back: whether it is a target, to be translated to an image.

    Raises:
      UserError: the image can't be read.
    """
    card, data = run.card, run.settings.data
    take = parse_take(data.take)
    pixels = channel_of(read(), take.target if back else take.image).pixels
    pixels = to_channels(pixels, card.channels)
    height, width, _ = pixels.shape
    size = scaled_size(height, width, card.image_size, data.fit, card.native_size)
    shown, place = resize_image(pixels, *size), (slice(0, size[0]), slice(0, size[1]))
    if data.fit == "pad":
        shown, place = pad_with_black(shown, card.image_size)
    # A small image is enlarged by its mirror image, so that as much is seen as in training.
    below, right = (
        -(-max(side, card.image_size) // multiple) * multiple - side for side in shown.shape[:2]
    )
    shown = np.pad(shown, ((0, below), (0, right), (0, 0)), mode="symmetric")
    return Read(height, width, shown, place)
