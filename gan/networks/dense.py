"""A GAN of dense layers only, for small images, for one pixel, and to compare with convolutions.

With the widths 256-512-1024 the MNIST GAN of the lecture, with 512-1024-2048 and dropout the
200x200 one of the report that this project reproduces (configs/dense_gan_*.py).
"""

from collections.abc import Sequence
from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from common.devices.axis import AXIS
from common.networks.layers import BatchNorm, Dense, dropout_after
from gan.networks import Judgement, Labels

_LEAK = 0.2
_EPSILON = 1e-3  # Keras' default, in which the originals were written


class Generator(nn.Module):
    """latent -> (dense, LeakyReLU, dropout but for the first, BatchNorm) ... -> dense -> tanh.

    Attributes:
      image_size: height and width.
      channels: of the images.
      num_classes: unused; it draws without being told a class.
      latent_size: of the latent.
      widths: of the hidden layers.
      batch_norm: whether hidden layers are normalised.
      dropout_rate: after each hidden layer but the first.
      momentum: of the running statistics of BatchNorm.
      axis_name: over which BatchNorm takes its statistics; "" outside the parallel step.
    """

    conditional: ClassVar[bool] = False
    image_size: int
    channels: int
    num_classes: int
    latent_size: int = 100
    widths: Sequence[int] = (256, 512, 1024)
    batch_norm: bool = True
    dropout_rate: float = 0.0
    momentum: float = 0.8
    axis_name: str = AXIS

    @nn.compact
    def __call__(
        self,
        latents: Float[Array, "batch latent"],
        labels: Labels,
        *,
        train: bool,
        dropout_keys: Key[Array, " batch"] | None = None,
    ) -> Float[Array, "batch height width channels"]:
        """Draws images in [-1, 1]; in training with dropout from one key per example."""
        del labels
        x = latents
        for layer, width in enumerate(self.widths):
            x = nn.leaky_relu(Dense(width, name=f"dense_{layer + 1}")(x), _LEAK)
            if layer:
                x = dropout_after(x, dropout_keys, layer, self.dropout_rate)
            if self.batch_norm:
                norm = BatchNorm(self.momentum, _EPSILON, self.axis_name, name=f"norm_{layer + 1}")
                x = norm(x, use_running_average=not train)
        shape = (self.image_size, self.image_size, self.channels)
        x = Dense(shape[0] * shape[1] * shape[2], name="to_image")(x)
        return jnp.tanh(x).reshape(-1, *shape)


class Discriminator(nn.Module):
    """pixels -> (dense, LeakyReLU) ... -> one number.

    Attributes:
      image_size: height and width.
      channels: of the images.
      num_classes: unused.
      widths: of the hidden layers.
    """

    image_size: int
    channels: int
    num_classes: int
    widths: Sequence[int] = (512, 256)

    @nn.compact
    def __call__(
        self,
        images: Float[Array, "batch height width channels"],
        *,
        train: bool,
        dropout_keys: Key[Array, " batch"] | None = None,
    ) -> Judgement:
        """Judges images in [-1, 1]."""
        del train, dropout_keys
        x = images.reshape(images.shape[0], -1)
        for layer, width in enumerate(self.widths):
            x = nn.leaky_relu(Dense(width, name=f"dense_{layer + 1}")(x), _LEAK)
        logits = Dense(1, name="real_or_generated")(x)
        return Judgement(logits[:, 0], None)
