"""Normally distributed pixels: data of known density, for experiments with theory."""

import numpy as np

from common.data.phantoms.kinds import Phantoms

MEAN, DEVIATION = 0.2, 0.2  # of -1 to 1; all but one in 30,000 pixels lie inside


def gaussian(seed: int, num: int, image_size: int) -> Phantoms:
    """Draws images whose pixels are independent, from N(MEAN, DEVIATION^2) of -1 to 1.

    Image i depends on `seed`, i and `image_size`.
    """
    # One stream for all images, read in order, so that an image does not depend on later ones.
    shape = (num, image_size, image_size, 1)
    pixels = np.random.default_rng(seed).standard_normal(shape, np.float32)
    pixels *= 127.5 * DEVIATION
    pixels += 127.5 * (1 + MEAN)
    images = np.clip(np.rint(pixels, out=pixels), 0, 255, out=pixels).astype(np.uint8)
    return Phantoms(images, np.zeros(num, np.int32))
