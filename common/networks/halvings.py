"""The strided convolutions of a DCGAN's discriminator, without its last layer.

A classifier's trunk and a U-Net's way down may be the same ones, by the same names, and start from
a discriminator. Radford, Metz and Chintala, "Unsupervised Representation Learning with Deep
Convolutional Generative Adversarial Networks" (2016), who classify by its features, too.
"""

from typing import Any

import flax.linen as nn
import jax
from jaxtyping import Array, Float, Key

from common.devices.axis import AXIS
from common.networks.layers import BatchNorm, Conv
from common.program.errors import UserError

EPSILON = 1e-5  # of BatchNorm
INIT = nn.initializers.normal(0.02)  # of convolutions

_LEAK = 0.2
_PADDING = ((1, 1), (1, 1))
_SMALLEST = 4  # pixels of maps


class Halvings(nn.Module):
    """Convolutions 4x4, each halving the image, with BatchNorm after all but the first.

    Attributes:
      width: maps after the first layer; each further one has twice as many.
      momentum: of the running statistics of BatchNorm.
      axis_name: over which BatchNorm takes its statistics; "" outside the parallel step.
      frozen: this many layers, from the image on, keep the statistics of their BatchNorm.
      layers: how many there are; None: as many as `halvings_of` says.
    """

    width: int = 64
    momentum: float = 0.9
    axis_name: str = AXIS
    frozen: int = 0
    layers: int | None = None

    @nn.compact
    def __call__(
        self, images: Float[Array, "batch height width channels"], *, train: bool
    ) -> list[Float[Array, "batch _rows _columns _maps"]]:
        """Maps images in [-1, 1] to the maps after each layer."""
        x, seen = images, []
        layers = halvings_of(images.shape[1])[1] if self.layers is None else self.layers
        for layer in range(layers):
            name = f"halve_{layer + 1}"
            x = Conv(self.width << layer, 4, 2, _PADDING, False, INIT, name=name)(x)
            if layer:
                norm = BatchNorm(
                    self.momentum, EPSILON, self.axis_name, around_one, name=f"norm_{layer + 1}"
                )
                x = norm(x, use_running_average=not train or layer < self.frozen)
            x = nn.leaky_relu(x, _LEAK)
            seen.append(x)
        return seen


def halvings_of(image_size: int) -> tuple[int, int]:
    """Returns the size of the smallest maps, 4 or more, and how often an image is halved to them.

    An image is halved while it stays even.

    Raises:
      UserError: an image of this size cannot be halved.
    """
    smallest, number = image_size, 0
    while smallest % 2 == 0 and smallest // 2 >= _SMALLEST:
        smallest, number = smallest // 2, number + 1
    if not number:
        raise UserError(
            f"config.data.image_size is {image_size}; the network of config.model.name needs an"
            " even one of at least 8."
        )
    return smallest, number


def around_one(key: Key[Array, ""], shape: tuple[int, ...], dtype: Any) -> Array:
    """Draws the initial scale of a BatchNorm."""
    return 1 + 0.02 * jax.random.normal(key, shape, dtype)
