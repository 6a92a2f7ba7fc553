"""Fitting images of any size, with their masks, to the square that a network takes."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageOps

from common.data.records import Mask, Pixels
from common.program.errors import UserError

FITS = ("stretch", "pad", "crop")


def fit_image(
    image: Pixels, image_size: int, channels: int, fit: str = "stretch"
) -> UInt8[np.ndarray, "{image_size} {image_size} {channels}"]:
    """Converts an image of 1 or 3 channels, 0..255, to the network's size and channels.

    Colour becomes grey by ITU-R 601 luma, grey becomes colour by repetition. The resize is Pillow's
    bicubic, which widens its kernel when it shrinks: resizers that do not do so alias thin
    structures, which shifts Fréchet distances more than many differences between models (Parmar et
    al. 2022, "On Aliased Resizing and Surprising Subtleties in GAN Evaluation").

    Args:
      image: of any height and width.
      image_size: height and width of the result, in pixels.
      channels: 1 or 3.
      fit: "stretch" to a square, "pad" the shorter side with black, "crop" the longer side.

    Raises:
      UserError: `channels` or `fit` is invalid.
    """
    if channels not in (1, 3):
        raise UserError(f"config.data.channels is {channels}; it must be 1 (grey) or 3 (colour).")
    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    if channels == 1:
        picture = picture.convert("L")
    picture = _to_square(picture, image_size, fit, Image.Resampling.BICUBIC)
    pixels = np.array(picture).reshape(image_size, image_size, -1)
    return np.repeat(pixels, channels // pixels.shape[-1], axis=-1)


def is_coloured(image: Pixels) -> bool:
    """Returns whether an image is in colour: three equal channels are grey."""
    return image.shape[-1] == 3 and bool((image != image[..., :1]).any())


def to_channels(image: Pixels, channels: int) -> Pixels:
    """Converts an image to 1 or 3 channels as `fit_image` does, at its own size."""
    if channels == image.shape[-1]:
        return image
    if channels == 3:
        return np.repeat(image, 3, axis=-1)
    return np.array(Image.fromarray(image).convert("L"))[..., None]


def scaled_size(
    height: int, width: int, image_size: int, fit: str, native_size: Sequence[int] = ()
) -> tuple[int, int]:
    """Returns the height and width of an image at the scale of a prepared set.

    The scale is that at which `fit_image` fits images of `native_size` to the square; the image
    itself may have another shape.

    Args:
      height: of the image, in pixels.
      width: of the image, in pixels.
      image_size: of the set.
      fit: of the set, see `fit_image`.
      native_size: height and width of all images of the set in their files; () if they differ, and
        each image has a scale of its own.
    """
    rows, columns = native_size or (height, width)
    down, across = image_size / rows, image_size / columns
    if fit == "pad":
        down = across = min(down, across)
    elif fit == "crop":
        down = across = max(down, across)
    return max(1, round(height * down)), max(1, round(width * across))


def resize_image(image: Pixels, height: int, width: int) -> Pixels:
    """Resizes an image of any number of channels, bicubic as in `fit_image`."""
    if image.shape[:2] == (height, width):
        return image
    if image.shape[-1] not in (1, 3):
        channels = np.split(image, image.shape[-1], -1)
        return np.concatenate([resize_image(one, height, width) for one in channels], -1)
    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    resized = np.array(picture.resize((width, height), Image.Resampling.BICUBIC))
    return resized.reshape(height, width, image.shape[-1])


def pad_with_black(image: Pixels, image_size: int) -> tuple[Pixels, tuple[slice, slice]]:
    """Pads an image on all sides to a square or more, as `fit_image` does with "pad".

    Returns the padded image and the rows and columns of the given one in it.
    """
    height, width, _ = image.shape
    tall, wide = max(height, image_size), max(width, image_size)
    top, left = (tall - height) // 2, (wide - width) // 2
    place = slice(top, top + height), slice(left, left + width)
    padded = np.zeros((tall, wide, image.shape[-1]), image.dtype)
    padded[place] = image
    return padded, place


def resize_shares(
    shares: Float[np.ndarray, "_height _width _classes"], height: int, width: int
) -> Float[np.ndarray, "{height} {width} _classes"]:
    """Resizes class probabilities bilinearly, so that they stay probabilities."""
    if shares.shape[:2] == (height, width):
        return shares
    planes = [
        Image.fromarray(np.ascontiguousarray(plane)).resize(
            (width, height), Image.Resampling.BILINEAR
        )
        for plane in np.moveaxis(shares, -1, 0)
    ]
    return np.stack([np.array(plane) for plane in planes], axis=-1)


def fit_mask(
    mask: Mask, image_size: int, fit: str = "stretch"
) -> UInt8[np.ndarray, "{image_size} {image_size}"]:
    """Fits a mask of class ids as `fit_image` fits its image; padding is class 0.

    Each pixel takes the class of the nearest one: a mean of two classes would be a third.
    """
    picture = _to_square(Image.fromarray(mask), image_size, fit, Image.Resampling.NEAREST)
    return np.array(picture)


def _to_square(
    picture: Image.Image, image_size: int, fit: str, method: Image.Resampling
) -> Image.Image:
    size = (image_size, image_size)
    if fit == "stretch":
        return picture.resize(size, method)
    if fit == "crop":
        return ImageOps.fit(picture, size, method)
    if fit != "pad":
        raise UserError(f"config.data.fit is '{fit}'; it must be one of {', '.join(FITS)}.")
    # Not ImageOps.pad, whose shorter side may shrink to nothing.
    longer = max(picture.size)
    width, height = (max(1, round(side * image_size / longer)) for side in picture.size)
    square = Image.new(picture.mode, size)
    square.paste(
        picture.resize((width, height), method),
        ((image_size - width) // 2, (image_size - height) // 2),
    )
    return square
