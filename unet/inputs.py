"""The input of a segmentation network: pixels in [0, 1], in [-1, 1], or standardised per image."""

from typing import TypeAlias

import numpy as np
from jaxtyping import Array, Num, UInt8

AnyArray: TypeAlias = Array | np.ndarray
# The network's input times the first plus the second is in [0, 1], as an EfficientNet-Lite sees it;
# standardised images get the mean and the standard deviation of ImageNet's photographs.
TO_UNIT = {"unit": (1.0, 0.0), "signed": (0.5, 0.5), "standardised": (0.226, 0.449)}
_LEAST_DEVIATION = 1.0  # of 255: a uniform image becomes 0, and its noise is not amplified


def input_scale(
    images: UInt8[AnyArray, "batch height width channels"], input_name: str
) -> tuple[Num[AnyArray, "batch 1 1 channels"], Num[AnyArray, "batch 1 1 channels"]]:
    """Returns shift and scale: the network sees `(pixels - shift) / scale`.

    For "unit" 0 and 255; for "signed" 127.5 twice; for "standardised" each image's mean and
    standard deviation per channel.

    Args:
      images: stored pixels, in NumPy or in JAX.
      input_name: `config.model.input`.
    """
    xp = images.__array_namespace__()
    shape = (images.shape[0], 1, 1, images.shape[-1])
    if input_name == "unit":
        return xp.zeros(shape, xp.float32), xp.full(shape, 255.0, xp.float32)
    if input_name == "signed":
        return xp.full(shape, 127.5, xp.float32), xp.full(shape, 127.5, xp.float32)
    # NumPy sums the millions of pixels of a large image one by one: too many for float32.
    exact = np.float64 if xp is np else xp.float32
    mean = images.mean((1, 2), keepdims=True, dtype=exact)
    deviation = images.std((1, 2), keepdims=True, dtype=exact)
    return mean.astype(xp.float32), xp.maximum(deviation, _LEAST_DEVIATION).astype(xp.float32)


def network_input(
    images: UInt8[Array, "batch height width channels"], input_name: str
) -> Num[Array, "batch height width channels"]:
    """Returns the network's input for whole images."""
    shift, scale = input_scale(images, input_name)
    return (images - shift) / scale
