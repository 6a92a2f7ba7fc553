"""What a trained discriminator says of stored images."""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Array, Float, UInt8

from common.data.transforms import to_signed_unit
from common.devices.apply import in_batches
from common.learning.network import Variables
from gan.networks import Decision
from gan.quality.reference import Labels
from gan.state import GAN

_BATCH = 32

Images = UInt8[np.ndarray, "_images height width channels"]
Said = Float[np.ndarray, "_images *rest"]


def decided(
    gan: GAN, variables: Variables, part: Callable[[Decision], Array | None]
) -> Callable[[Images, Labels], Said]:
    """Returns a function of images and their classes: a part of D's decision on each image.

    Args:
      gan: the networks.
      variables: of the discriminator.
      part: of a decision, such as its logit.
    """

    def decide(variables: Variables, images: Array, labels: Array) -> Array:
        found: Any = gan.networks.discriminator.apply(
            variables, to_signed_unit(images), labels, train=False
        )
        chosen = part(found)
        assert chosen is not None  # as of every network that is asked for it
        return chosen

    return in_batches(decide, variables, _BATCH)
