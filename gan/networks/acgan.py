"""AC-GAN: a generator told which class to draw, a discriminator that also names the class.

Odena, Olah and Shlens, "Conditional Image Synthesis with Auxiliary Classifier GANs" (2017), in the
small form of the COVID CT report that this project reproduces: nearest-neighbour upsampling and 3x3
convolutions, BatchNorm momentum 0.8, dropout 0.25.

What differs from that report's Keras program: one discriminator update follows from the sum of its
two halves (it made two); the images that the discriminator sees are drawn with the statistics of
their batch (it drew them with running ones), and in the generator's update the discriminator, too,
normalises with the statistics of the batch.
"""

from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from common.devices.axis import AXIS
from common.networks.layers import BatchNorm, Conv, Dense, UpsampleConv, dropout_after, in_one_dtype
from common.program.errors import UserError
from gan.networks import Judgement, Labels

_LEAK = 0.2
_EPSILON = 1e-3  # Keras' default, in which the original was written


class Generator(nn.Module):
    """latent * embedding of the label -> dense -> two upsampling blocks -> tanh.

    Attributes:
      image_size: height and width, a multiple of 4.
      channels: of the images.
      num_classes: labels are 0 .. num_classes - 1.
      latent_size: of the standard normal latent.
      embedding_scale: the embedding starts uniform between minus and plus this.
      momentum: of the running statistics of BatchNorm.
      axis_name: over which BatchNorm takes its statistics; "" outside the parallel step.
    """

    conditional: ClassVar[bool] = True
    image_size: int
    channels: int
    num_classes: int
    latent_size: int = 100
    embedding_scale: float = 1.0
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
        """Draws images in [-1, 1]; `train` normalises with the statistics of this batch.

        Shares of classes draw from the mean of their embeddings, weighted by the shares.
        """
        del dropout_keys  # this generator drops nothing
        if self.image_size % 4:
            raise UserError(
                f"config.data.image_size is {self.image_size}; the AC-GAN needs a multiple of 4."
            )
        small = self.image_size // 4

        def normalise(x: Array, name: str) -> Array:
            layer = BatchNorm(self.momentum, _EPSILON, axis_name=self.axis_name, name=name)
            return layer(x, use_running_average=not train)

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
        x = normalise(x.reshape(-1, small, small, 128), "norm_1")
        x = nn.relu(UpsampleConv(128, name="upsample_1")(x))
        x = normalise(x, "norm_2")
        x = nn.relu(UpsampleConv(64, name="upsample_2")(x))
        x = normalise(x, "norm_3")
        return jnp.tanh(Conv(self.channels, name="to_image")(x))


class Discriminator(nn.Module):
    """Four convolutions, then one head for real or generated and one for the class.

    Attributes:
      image_size: height and width.
      channels: of the images.
      num_classes: of the class head.
      dropout_rate: after each activation.
      momentum: of the running statistics of BatchNorm.
      axis_name: over which BatchNorm takes its statistics; "" outside the parallel step.
    """

    image_size: int
    channels: int
    num_classes: int
    dropout_rate: float = 0.25
    momentum: float = 0.8
    axis_name: str = AXIS

    @nn.compact
    def __call__(
        self,
        images: Float[Array, "batch height width channels"],
        *,
        train: bool,
        dropout_keys: Key[Array, " batch"] | None = None,
    ) -> Judgement:
        """Judges images in [-1, 1]; in training with dropout from one key per example."""

        def activate(x: Array, layer: int) -> Array:
            return dropout_after(nn.leaky_relu(x, _LEAK), dropout_keys, layer, self.dropout_rate)

        def normalise(x: Array, name: str) -> Array:
            layer = BatchNorm(self.momentum, _EPSILON, axis_name=self.axis_name, name=name)
            return layer(x, use_running_average=not train)

        x = activate(Conv(16, stride=2, name="conv_1")(images), 1)
        x = Conv(32, stride=2, name="conv_2")(x)
        x = jnp.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0)))  # a row below, a column to the right
        x = normalise(activate(x, 2), "norm_2")
        x = activate(Conv(64, stride=2, name="conv_3")(x), 3)
        x = normalise(x, "norm_3")
        x = activate(Conv(128, name="conv_4")(x), 4)
        x = x.reshape(x.shape[0], -1)
        logits = Dense(1, name="real_or_generated")(x)[:, 0]
        class_logits = Dense(self.num_classes, name="classes")(x)
        return Judgement(logits, class_logits)
