"""Pixels from a normal distribution: data whose density is known, for experiments with theory."""

import numpy as np

from common.data.phantoms.kinds import Phantoms

MEAN, DEVIATION = 0.1, 0.25  # of -1 to 1; two pixels in 10,000 lie outside and are cut off


def gaussian(seed: int, num: int, size: int) -> Phantoms:
    """Draws images whose pixels are independent, from N(MEAN, DEVIATION^2) of -1 to 1.

    Image i is a function of (seed, i, size) alone.
    """
    pixels = np.stack(
        [
            np.random.default_rng([seed, row]).normal(MEAN, DEVIATION, (size, size, 1))
            for row in range(num)
        ]
    )
    images = np.clip(np.rint((pixels + 1) * 127.5), 0, 255).astype(np.uint8)
    return Phantoms(images, np.zeros(num, np.int32))
