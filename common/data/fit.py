"""Fitting images of any size, with their masks, to the square that a network takes."""

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from common.data.records import Mask, Pixels
from common.errors import UserError

FITS = ("stretch", "pad", "crop")


def fit_image(
    image: Pixels, image_size: int, channels: int, fit: str = "stretch"
) -> UInt8[np.ndarray, "{image_size} {image_size} {channels}"]:
    """Converts an image of 1 or 3 channels, 0..255, to the network's size and channels.

    Colour becomes grey by ITU-R 601 luma, grey becomes colour by repetition. The resize is Pillow's
    bicubic, which widens its kernel when it shrinks: resizers that do not alias thin structures,
    and that shifts Fréchet distances more than many a difference between models does (Parmar et
    al. 2022, "On Aliased Resizing and Surprising Subtleties in GAN Evaluation").

    Args:
      image: height and width as they come.
      image_size: height and width of the result, in pixels.
      channels: 1 or 3.
      fit: "stretch" to a square, "pad" the shorter side with black, "crop" the longer side.

    Raises:
      UserError: `channels` or `fit` is something else.
    """
    if channels not in (1, 3):
        raise UserError(f"config.data.channels is {channels}; it must be 1 (grey) or 3 (colour).")
    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    if channels == 1:
        picture = picture.convert("L")
    picture = _to_square(picture, image_size, fit, Image.Resampling.BICUBIC)
    pixels = np.array(picture).reshape(image_size, image_size, -1)
    return np.repeat(pixels, channels // pixels.shape[-1], axis=-1)


def fit_mask(
    mask: Mask, image_size: int, fit: str = "stretch"
) -> UInt8[np.ndarray, "{image_size} {image_size}"]:
    """Brings a mask of class ids to a size as `fit_image` does its image; padding is class 0.

    Each pixel takes the class of the nearest one: a mean of classes would be a third.
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
        raise UserError(f"config.data.fit is '{fit}'; it is one of {', '.join(FITS)}.")
    # Not ImageOps.pad, whose shorter side may shrink to nothing.
    longer = max(picture.size)
    width, height = (max(1, round(side * image_size / longer)) for side in picture.size)
    square = Image.new(picture.mode, size)
    square.paste(
        picture.resize((width, height), method),
        ((image_size - width) // 2, (image_size - height) // 2),
    )
    return square
