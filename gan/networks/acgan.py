"""AC-GAN: a generator that draws a given class, a discriminator that also predicts the class.

Odena, Olah and Shlens, "Conditional Image Synthesis with Auxiliary Classifier GANs" (2017), in the
small form of the COVID CT report that this project reproduces: nearest-neighbour upsampling and 3x3
convolutions, BatchNorm momentum 0.8, dropout 0.25.

Differences from that report's Keras program: the discriminator is updated once, from the sum of its
two halves (there: twice); the images that the discriminator sees are drawn with the statistics of
their batch (there: with running ones), and in the generator's update the discriminator, too,
normalises with the statistics of the batch.
"""

from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from common.devices.axis import AXIS
from common.networks.layers import Conv, Dense, UpsampleConv, dropout_after, in_one_dtype
from common.program.errors import UserError
from gan import networks
from gan.networks import Decision, Images, Keys, Labels, Latents, class_head, normalise

_LEAK = 0.2


class Generator(networks.Generator):
    """latent * embedding of the label -> dense -> two upsampling blocks -> tanh.

    The image size is a multiple of 4. For shares of classes it draws from the mean of their
    embeddings, weighted by the shares.

    Attributes:
      embedding_scale: the embedding is initialised uniformly between minus and plus this.
      momentum: of the running statistics of BatchNorm.
      axis_name: over which BatchNorm takes its statistics; "" outside the parallel step.
    """

    conditional: ClassVar[bool] = True
    embedding_scale: float = 1.0
    momentum: float = 0.8
    axis_name: str = AXIS

    def draw(self, latents: Latents, labels: Labels, train: bool, keys: Keys) -> Images:
        """Draws images in [-1, 1]."""
        if self.image_size % 4:
            raise UserError(
                f"config.data.image_size is {self.image_size}; the AC-GAN needs a multiple of 4."
            )
        small = self.image_size // 4

        scale = self.embedding_scale

        def uniform(key: Key[Array, ""], shape: tuple[int, ...], dtype: Any) -> Array:
            return jax.random.uniform(key, shape, dtype, -scale, scale)

        embedding = nn.Embed(
            self.num_classes, self.latent_size, embedding_init=uniform, name="embedding"
        )
        of_labels = embedding(labels) if labels.ndim == 1 else labels @ embedding.embedding
        latents, of_labels = in_one_dtype(latents, of_labels)
        x = latents * of_labels
        x = nn.relu(Dense(128 * small**2, name="dense")(x))
        x = normalise(self, x.reshape(-1, small, small, 128), "norm_1", train)
        x = nn.relu(UpsampleConv(128, name="upsample_1")(x))
        x = normalise(self, x, "norm_2", train)
        x = nn.relu(UpsampleConv(64, name="upsample_2")(x))
        x = normalise(self, x, "norm_3", train)
        return jnp.tanh(Conv(self.channels, name="to_image")(x))


class Discriminator(networks.Discriminator):
    """Four convolutions, then one head for real or generated and one for the class.

    Attributes:
      dropout_rate: after each activation.
      embedding_size: of the embeddings that loss.class_loss = "data_to_data" compares; 0: none.
      momentum: of the running statistics of BatchNorm.
      axis_name: over which BatchNorm takes its statistics; "" outside the parallel step.
    """

    dropout_rate: float = 0.25
    embedding_size: int = 0
    momentum: float = 0.8
    axis_name: str = AXIS

    def decide(self, images: Images, labels: Labels, train: bool, keys: Keys) -> Decision:
        """Decides whether images in [-1, 1] are real."""

        def activate(x: Array, layer: int) -> Array:
            return dropout_after(nn.leaky_relu(x, _LEAK), keys.dropout, layer, self.dropout_rate)

        x = activate(Conv(16, stride=2, name="conv_1")(images), 1)
        x = Conv(32, stride=2, name="conv_2")(x)
        x = jnp.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0)))  # a row below, a column to the right
        x = normalise(self, activate(x, 2), "norm_2", train)
        x = activate(Conv(64, stride=2, name="conv_3")(x), 3)
        x = normalise(self, x, "norm_3", train)
        x = activate(Conv(128, name="conv_4")(x), 4)
        x = x.reshape(x.shape[0], -1)
        logits = Dense(1, name="real_or_generated")(x)[:, 0]
        return Decision(logits, *class_head(x, self.num_classes, self.embedding_size))
