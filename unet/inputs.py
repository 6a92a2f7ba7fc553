"""What a segmentation network is shown: pixels in [0, 1], or standardised in each image."""

from typing import Any

import numpy as np
from jaxtyping import Num, UInt8

_LEAST_DEVIATION = 1.0  # of 255: an image of one grey becomes 0, and its noise is not blown up


def input_scale(
    images: UInt8[Any, "batch height width channels"], input_name: str
) -> tuple[Num[Any, "batch 1 1 channels"], Num[Any, "batch 1 1 channels"]]:
    """Returns shift and scale: the network is shown `(pixels - shift) / scale`.

    "unit" gives 0 and 255; "standardised" each image's mean and standard deviation per channel.

    Args:
      images: stored pixels, of NumPy or of JAX.
      input_name: `config.model.input`.
    """
    xp = images.__array_namespace__()
    shape = (len(images), 1, 1, images.shape[-1])
    if input_name == "unit":
        return xp.zeros(shape, xp.float32), xp.full(shape, 255.0, xp.float32)
    # NumPy adds up the millions of pixels of a large image one by one: float32 would not do.
    exact = np.float64 if xp is np else xp.float32
    mean = images.mean((1, 2), keepdims=True, dtype=exact)
    deviation = images.std((1, 2), keepdims=True, dtype=exact)
    return mean.astype(xp.float32), xp.maximum(deviation, _LEAST_DEVIATION).astype(xp.float32)


def network_input(
    images: UInt8[Any, "batch height width channels"], input_name: str
) -> Num[Any, "batch height width channels"]:
    """Returns what the network is shown of whole images."""
    shift, scale = input_scale(images, input_name)
    return (images - shift) / scale
