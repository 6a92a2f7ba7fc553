"""An image as prediction reads it: as it is, and as the network sees it."""

from collections.abc import Callable
from typing import NamedTuple

from common.data.fit import fit_image, pad_with_black, resize_image, scaled_size, to_channels
from common.data.records import Decoded, Pixels
from common.data.take import channel_of, parse_take
from common.runs.workdir import Run
from common.unlike.reference import Reference
from common.unlike.run import distance_of
from unet.flags import UNetOptions


class Read(NamedTuple):
    """An image that has been read.

    Attributes:
      pixels: as it is, with the network's channels.
      shown: at the network's scale, padded if the training images were.
      place: where in `shown` the image is.
      unlike: how far the image lies outside the training images.
    """

    pixels: Pixels
    shown: Pixels
    place: tuple[slice, slice]
    unlike: float

    def num_bytes(self) -> int:
        """Returns its size in memory."""
        return int(self.pixels.nbytes + self.shown.nbytes)


def read_image(
    read: Callable[[], Decoded], run: Run, options: UNetOptions, reference: Reference | None
) -> Read:
    """Reads an image and scales it as the training images were.

    Raises:
      UserError: the image can't be read.
    """
    card, fit = run.card, run.settings.data.fit
    found = channel_of(read(), parse_take(run.settings.data.take).image).pixels
    # Of the whole image as training saw it, whatever the network sees of this one.
    distance = distance_of(reference, fit_image(found, card.image_size, card.channels, fit))
    pixels = to_channels(found, card.channels)
    return Read(pixels, *as_in_training(pixels, run, rescale=options.rescale), distance)


def as_in_training(
    pixels: Pixels, run: Run, *, rescale: bool = True
) -> tuple[Pixels, tuple[slice, slice]]:
    """Returns an image at the scale of the training images, and where in the result it is."""
    card, fit, shown = run.card, run.settings.data.fit, pixels
    if rescale:
        height, width, _ = pixels.shape
        size = scaled_size(height, width, card.image_size, fit, card.native_size)
        shown = resize_image(pixels, *size)
    if fit == "pad":
        return pad_with_black(shown, card.image_size)
    return shown, (slice(None), slice(None))
