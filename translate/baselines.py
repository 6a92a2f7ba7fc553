"""What a translation has to beat: the image itself, and a line fitted to grey levels."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8
from scipy import ndimage

from common.data.prepared.prepared import Split

_DARK = 0.05  # of the range of values: what is darker is air
_MOST = 512  # training images that the line is fitted to
_AT_ONCE = 64

Stored = UInt8[np.ndarray, "num height width channels"]
Unit = Float[np.ndarray, "num height width channels"]
Regions = Bool[np.ndarray, "num height width"]


def to_unit(images: Stored) -> Unit:
    """Returns stored images in [0, 1]."""
    return images.astype(np.float32) / 255


def bodies(images: Unit, targets: Unit) -> Regions:
    """Returns where the body is: not dark in the image or in its target, or enclosed by that."""
    bright = np.maximum(images.max(-1), targets.max(-1)) > _DARK
    return np.stack([ndimage.binary_fill_holes(one) for one in bright])


class Line(NamedTuple):
    """A linear regression of the targets' grey levels on those of the images, in [0, 1].

    It is of the body; air stays as it is.
    """

    slope: float
    intercept: float

    def translate(self, images: Unit) -> Unit:
        """Returns what the line makes of images."""
        moved = np.clip(self.slope * images + self.intercept, 0, 1)
        return np.where(bodies(images, images)[..., None], moved, images).astype(np.float32)


def fit_line(split: Split, image: str = "image", target: str = "target") -> Line:
    """Returns the least-squares line of the body's pixels in training pairs.

    Args:
      split: of training.
      image: the name of what is translated in its examples.
      target: the name of what it is translated to.
    """
    places = np.linspace(0, len(split) - 1, min(len(split), _MOST), dtype=int).tolist()
    sums = np.zeros(5)
    for start in range(0, len(places), _AT_ONCE):
        examples = split.read(places[start : start + _AT_ONCE])
        images, targets = to_unit(examples[image]), to_unit(examples[target])
        inside = bodies(images, targets)
        x, y = images[inside].ravel().astype(np.float64), targets[inside].ravel()
        sums += len(x), x.sum(), y.sum(), (x * x).sum(), (x * y).sum()
    count, mean_x, mean_y, square, product = sums / max(sums[0], 1)
    variance = square - mean_x**2
    slope = (product - mean_x * mean_y) / variance if count and variance > 0 else 0.0
    return Line(float(slope), float(mean_y - slope * mean_x))
