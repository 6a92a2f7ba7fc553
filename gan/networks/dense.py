"""A GAN of dense layers only, for small images, for one pixel, and to compare with convolutions.

Widths of 256-512-1024 make the MNIST GAN of the lecture; 512-1024-2048 and dropout make the 200x200
one of the report that this project reproduces (configs/dense_gan_*.py).
"""

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp

from common.devices.axis import AXIS
from common.networks.layers import Dense, dropout_after
from gan import networks
from gan.networks import Decision, Images, Keys, Labels, Latents, normalise

_LEAK = 0.2


class Generator(networks.Generator):
    """latent -> (dense, LeakyReLU, dropout except in the first, BatchNorm) ... -> dense -> tanh.

    Attributes:
      widths: of the hidden layers.
      batch_norm: whether hidden layers are normalised.
      dropout_rate: after each hidden layer but the first.
      momentum: of the running statistics of BatchNorm.
      axis_name: over which BatchNorm takes its statistics; "" outside the parallel step.
    """

    widths: Sequence[int] = (256, 512, 1024)
    batch_norm: bool = True
    dropout_rate: float = 0.0
    momentum: float = 0.8
    axis_name: str = AXIS

    def draw(self, latents: Latents, labels: Labels, train: bool, keys: Keys) -> Images:
        """Draws images in [-1, 1]."""
        x = latents
        for layer, width in enumerate(self.widths):
            x = nn.leaky_relu(Dense(width, name=f"dense_{layer + 1}")(x), _LEAK)
            if layer:
                x = dropout_after(x, keys.dropout, layer, self.dropout_rate)
            if self.batch_norm:
                x = normalise(self, x, f"norm_{layer + 1}", train)
        shape = (self.image_size, self.image_size, self.channels)
        x = Dense(shape[0] * shape[1] * shape[2], name="to_image")(x)
        return jnp.tanh(x).reshape(-1, *shape)


class Discriminator(networks.Discriminator):
    """pixels -> (dense, LeakyReLU) ... -> one number.

    Attributes:
      widths: of the hidden layers.
    """

    widths: Sequence[int] = (512, 256)

    def decide(self, images: Images, labels: Labels, train: bool, keys: Keys) -> Decision:
        """Decides whether images in [-1, 1] are real."""
        x = images.reshape(images.shape[0], -1)
        for layer, width in enumerate(self.widths):
            x = nn.leaky_relu(Dense(width, name=f"dense_{layer + 1}")(x), _LEAK)
        logits = Dense(1, name="real_or_generated")(x)
        return Decision(logits[:, 0], None)
