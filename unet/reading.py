"""An image as prediction reads it: as it is, and as the network sees it."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from common.data.fit import pad_with_black, resize_image, scaled_size, to_channels
from common.data.prepared.neighbours import fit_slices, stacked
from common.data.records import Decoded, Pixels
from common.data.take import channel_of, parse_take
from common.runs.workdir import Run
from common.unlike.reference import Reference
from common.unlike.run import distance_of
from unet.flags import UNetOptions


class Read(NamedTuple):
    """An image that has been read.

    Attributes:
      pixels: as it is, grey or RGB.
      shown: at the network's scale, with its channels, padded if the training images were.
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
    slices: Sequence[Callable[[], Decoded]],
    run: Run,
    options: UNetOptions,
    reference: Reference | None,
) -> Read:
    """Reads an image and scales it as the training images were.

    Args:
      slices: decode the slices that are seen as one image; the image is the middle one.
      run: the run that segments it.
      options: `rescale` is used.
      reference: of the training images.

    Raises:
      UserError: the image can't be read.
    """
    card, fit = run.card, run.settings.data.fit
    name, channels = parse_take(run.settings.data.take).image, card.slice_channels
    found = [channel_of(read(), name).pixels for read in slices]
    # Of the whole image as training saw it, whatever the network sees of this one.
    distance = distance_of(reference, fit_slices(found, card.image_size, channels, fit))
    pixels = [to_channels(one, channels) for one in found]
    shown = as_in_training(stacked(pixels), run, rescale=options.rescale)
    return Read(pixels[len(pixels) // 2], *shown, distance)


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
