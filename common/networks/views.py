"""Test-time averaging: the views of an image over which what a network finds is averaged.

They are named in a text, as of the flag --average: "mirror" (left to right), "flip" (top to bottom)
and "scale" (as it is, and its middle magnified), with commas between; all combinations are taken.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Num

_AXES = (("mirror", 2), ("flip", 1))  # of images [batch, height, width, channels]
_MARGINS = (1 / 32, 1 / 16)  # of a side, cut off at both its ends: magnified 1.07 and 1.14 times

Images = Num[Array, "batch height width channels"]


def flips_of(average: str) -> list[tuple[int, ...]]:
    """Returns the axes along which each view is turned round, those of the image itself first."""
    axes: list[tuple[int, ...]] = [()]
    for name, axis in _AXES:
        if name in average.split(","):
            axes += [(*others, axis) for others in axes]
    return axes


def views_of(images: Images, average: str) -> list[Images]:
    """Returns the views of images, all of the images' size, the images themselves first."""
    scaled = [images]
    if "scale" in average.split(","):
        scaled += [_magnified(images, margin) for margin in _MARGINS]
    return [jnp.flip(view, axes) for view in scaled for axes in flips_of(average)]


def _magnified(images: Images, margin: float) -> Images:
    """Returns the middle of images at the images' size, between pixels linear."""
    height, width = images.shape[1:3]
    down, across = round(margin * height), round(margin * width)
    middle = images[:, down : height - down, across : width - across]
    magnified: Array = jax.image.resize(middle.astype(jnp.float32), images.shape, "linear")
    return magnified
