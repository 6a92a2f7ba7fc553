"""DCGAN: strided convolutions only, BatchNorm in both players, no dense layers.

Radford, Metz and Chintala, "Unsupervised Representation Learning with Deep Convolutional Generative
Adversarial Networks" (2016), in the form of the PyTorch tutorial that the lecture followed: weights
start from N(0, 0.02), BatchNorm's scale from N(1, 0.02), and the generator has 512 maps of 4x4. The
paper's 1024 are `width=128`.

The image size is even and at least 8. An image is halved while it stays even and 4 or more pixels
remain: from 64 pixels to 4 in four halvings, from 28 to 7 in two. Maps double from layer to layer.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from common.devices.axis import AXIS
from common.networks.layers import Conv, ConvTranspose, MinibatchDeviation
from gan import networks
from gan.networks import Decision, Images, Keys, Labels, Latents, halvings_of, normalise

_LEAK = 0.2
_EPSILON = 1e-5
_PADDING = ((1, 1), (1, 1))
_INIT = nn.initializers.normal(0.02)


class Generator(networks.Generator):
    """latent -> 4x4 maps -> transposed convolutions 4x4, each doubling the image -> tanh.

    Attributes:
      width: maps before the last layer, at half of the image's size.
      momentum: of the running statistics of BatchNorm; PyTorch's 0.1 is 0.9 here.
      axis_name: over which BatchNorm takes its statistics; "" outside the parallel step.
    """

    width: int = 64
    momentum: float = 0.9
    axis_name: str = AXIS

    def draw(self, latents: Latents, labels: Labels, train: bool, keys: Keys) -> Images:
        """Draws images in [-1, 1]."""

        def activate(x: Array, layer: int) -> Array:
            return nn.relu(normalise(self, x, f"norm_{layer}", train, _EPSILON, _around_one))

        def doubled(x: Array, features: int, layer: int) -> Array:
            return ConvTranspose(
                features, use_bias=False, kernel_init=_INIT, name=f"double_{layer}"
            )(x)

        smallest, halvings = halvings_of(self.image_size)
        x = ConvTranspose(
            self.width << (halvings - 1),
            smallest,
            stride=1,
            padding="VALID",
            use_bias=False,
            kernel_init=_INIT,
            name="project",
        )(latents[:, None, None])
        x = activate(x, 0)
        for layer in range(1, halvings):
            x = activate(doubled(x, self.width << (halvings - 1 - layer), layer), layer)
        return jnp.tanh(doubled(x, self.channels, halvings))


class Discriminator(networks.Discriminator):
    """Convolutions 4x4, each halving the image, until one number remains.

    Attributes:
      width: maps after the first layer.
      minibatch_deviation: whether the last layer also sees how much the images of a batch differ.
      momentum: of the running statistics of BatchNorm.
      axis_name: over which BatchNorm takes its statistics; "" outside the parallel step.
    """

    width: int = 64
    minibatch_deviation: bool = False
    momentum: float = 0.9
    axis_name: str = AXIS

    def decide(self, images: Images, labels: Labels, train: bool, keys: Keys) -> Decision:
        """Decides whether images in [-1, 1] are real."""
        smallest, halvings = halvings_of(self.image_size)
        x = images
        for layer in range(halvings):
            x = Conv(self.width << layer, 4, 2, _PADDING, False, _INIT, name=f"halve_{layer + 1}")(
                x
            )
            if layer:
                x = normalise(self, x, f"norm_{layer + 1}", train, _EPSILON, _around_one)
            x = nn.leaky_relu(x, _LEAK)
        if self.minibatch_deviation:
            deviation = MinibatchDeviation(self.momentum, self.axis_name, name="deviation")
            x = deviation(x, use_running_average=not train)
        logits = Conv(1, smallest, 1, "VALID", False, _INIT, name="real_or_generated")(x)
        return Decision(logits[:, 0, 0, 0], None)


def _around_one(key: Key[Array, ""], shape: tuple[int, ...], dtype: Any) -> Array:
    return 1 + 0.02 * jax.random.normal(key, shape, dtype)
