"""The convolutional GAN of the 200x200 report: few layers, the last of them with huge kernels.

The kernel of the last convolution is a quarter of the image, 50x50 taps at 200x200: each pixel sees
a sixteenth of the picture. Computed directly it would be nearly all of the work; it is computed in
the Fourier domain (common/ops/fourier.py).
"""

import flax.linen as nn
import jax.numpy as jnp

from common.networks.layers import Conv, ConvTranspose, Dense, dropout_after
from common.program.errors import UserError
from gan import networks
from gan.networks import Decision, Images, Keys, Labels, Latents

_LEAK = 0.2


class Generator(networks.Generator):
    """latent -> dense -> two transposed convolutions 4x4 -> one huge convolution -> tanh.

    Attributes:
      width: maps in all hidden layers.
    """

    latent_size: int = 256
    width: int = 128

    def draw(self, latents: Latents, labels: Labels, train: bool, keys: Keys) -> Images:
        """Draws images in [-1, 1]."""
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


class Discriminator(networks.Discriminator):
    """Three convolutions 3x3, each halving the image, then one number.

    Attributes:
      dropout_rate: after each activation.
    """

    dropout_rate: float = 0.25

    def decide(self, images: Images, labels: Labels, train: bool, keys: Keys) -> Decision:
        """Decides whether images in [-1, 1] are real."""
        x = images
        for layer, features in enumerate((64, 96, 128), 1):
            x = nn.leaky_relu(Conv(features, stride=2, name=f"conv_{layer}")(x), _LEAK)
            x = dropout_after(x, keys.dropout, layer, self.dropout_rate)
        x = x.reshape(x.shape[0], -1)
        logits = Dense(1, name="real_or_generated")(x)
        return Decision(logits[:, 0], None)
