"""The convolutional GAN of the 200x200 report: few layers, the last of them with huge kernels.

The kernel of the last convolution is a quarter of the image, 50x50 taps at 200x200: each pixel sees
a sixteenth of the picture. Directly it would be nearly all of the work; it goes through the Fourier
domain (common/ops/fourier.py).
"""

from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from common.networks.layers import Conv, ConvTranspose, Dense, dropout_after
from common.program.errors import UserError
from gan.networks import Judgement, Labels

_LEAK = 0.2


class Generator(nn.Module):
    """latent -> dense -> two transposed convolutions 4x4 -> one huge convolution -> tanh.

    Attributes:
      image_size: height and width, a multiple of 4.
      channels: of the images.
      num_classes: unused; it draws without being told a class.
      latent_size: of the latent.
      width: maps in all hidden layers.
    """

    conditional: ClassVar[bool] = False
    image_size: int
    channels: int
    num_classes: int
    latent_size: int = 256
    width: int = 128

    @nn.compact
    def __call__(
        self,
        latents: Float[Array, "batch latent"],
        labels: Labels,
        *,
        train: bool,
        dropout_keys: Key[Array, " batch"] | None = None,
    ) -> Float[Array, "batch height width channels"]:
        """Draws images in [-1, 1]."""
        del labels, train, dropout_keys
        if self.image_size % 4:
            raise UserError(
                f"config.data.image_size is {self.image_size}; the convolutional GAN needs a"
                " multiple of 4."
            )
        quarter, width = self.image_size // 4, self.width
        x = Dense(quarter**2 * width, name="dense")(latents)
        x = nn.leaky_relu(x, _LEAK).reshape(-1, quarter, quarter, width)
        x = nn.leaky_relu(ConvTranspose(width, name="double_1")(x), _LEAK)
        x = nn.leaky_relu(ConvTranspose(width, name="double_2")(x), _LEAK)
        return jnp.tanh(Conv(self.channels, quarter, name="to_image")(x))


class Discriminator(nn.Module):
    """Three convolutions 3x3, each halving the image, then one number.

    Attributes:
      image_size: height and width.
      channels: of the images.
      num_classes: unused.
      dropout_rate: after each activation.
    """

    image_size: int
    channels: int
    num_classes: int
    dropout_rate: float = 0.25

    @nn.compact
    def __call__(
        self,
        images: Float[Array, "batch height width channels"],
        *,
        train: bool,
        dropout_keys: Key[Array, " batch"] | None = None,
    ) -> Judgement:
        """Judges images in [-1, 1]; in training with dropout from one key per example."""
        del train
        x = images
        for layer, features in enumerate((64, 96, 128), 1):
            x = nn.leaky_relu(Conv(features, stride=2, name=f"conv_{layer}")(x), _LEAK)
            x = dropout_after(x, dropout_keys, layer, self.dropout_rate)
        x = x.reshape(x.shape[0], -1)
        logits = Dense(1, name="real_or_generated")(x)
        return Judgement(logits[:, 0], None)
