"""A kind of phantom, and the phantoms that it draws."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int32, UInt8

Images = UInt8[np.ndarray, "_num _height _width _channels"]


@dataclass(frozen=True)
class Phantoms:
    """Drawings and their ground truth.

    Attributes:
      images: 0 to 255.
      labels: index in the kind's `classes`.
      masks: index in the kind's `mask_classes`; None if the kind has none.
      targets: images to translate the images to; None if the kind has none.
    """

    images: Images
    labels: Int32[np.ndarray, " num"]
    masks: UInt8[np.ndarray, "num height width"] | None = None
    targets: Images | None = None


@dataclass(frozen=True)
class PhantomKind:
    """One kind of synthetic image.

    Attributes:
      classes: their names, in the order of the labels.
      mask_classes: names of the masks' classes; () if there are no masks.
      channels: of the images.
      draw: called with seed, number and size; image i does not depend on the number.
    """

    classes: tuple[str, ...]
    mask_classes: tuple[str, ...]
    channels: int
    draw: Callable[[int, int, int], Phantoms]
