"""DCGAN: strided convolutions only, BatchNorm in both players, no dense layers.

Radford, Metz and Chintala, "Unsupervised Representation Learning with Deep Convolutional Generative
Adversarial Networks" (2016), in the form of the PyTorch tutorial that the lecture followed: weights
start from N(0, 0.02), BatchNorm's scale from N(1, 0.02), and the generator has 512 maps of 4x4. The
paper's 1024 are `width=128`.

The image size is even and at least 8. An image is halved while it stays even and 4 or more pixels
remain: from 64 pixels to 4 in four halvings, from 28 to 7 in two. Maps double from layer to layer.
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array

from common.devices.axis import AXIS
from common.networks.halvings import EPSILON, INIT, Halvings, around_one, halvings_of
from common.networks.layers import Conv, ConvTranspose, Dense, MinibatchDeviation
from gan import networks
from gan.networks import (
    Decision,
    Images,
    Keys,
    Labels,
    Latents,
    decision_of_classes,
    normalise,
)


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
            return nn.relu(normalise(self, x, f"norm_{layer}", train, EPSILON, around_one))

        def doubled(x: Array, features: int, layer: int) -> Array:
            return ConvTranspose(
                features, use_bias=False, kernel_init=INIT, name=f"double_{layer}"
            )(x)

        smallest, halvings = halvings_of(self.image_size)
        x = ConvTranspose(
            self.width << (halvings - 1),
            smallest,
            stride=1,
            padding="VALID",
            use_bias=False,
            kernel_init=INIT,
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
      k_plus_one: whether the means of the last maps give a logit of each class instead, see
        `decision_of_classes`: the network of classify/networks/dcgan.py.
      momentum: of the running statistics of BatchNorm.
      axis_name: over which BatchNorm takes its statistics; "" outside the parallel step.
    """

    width: int = 64
    minibatch_deviation: bool = False
    k_plus_one: bool = False
    momentum: float = 0.9
    axis_name: str = AXIS

    @property
    def classifies(self) -> bool:
        """Returns whether its decision is that of a classifier."""
        return self.k_plus_one

    @property
    def joint(self) -> bool:
        """Returns whether BatchNorm sees real and generated images together.

        Normalised each by their own, their features would have nearly equal means, which
        `loss.feature_matching` compares.
        """
        return self.k_plus_one

    def decide(self, images: Images, labels: Labels, train: bool, keys: Keys) -> Decision:
        """Decides whether images in [-1, 1] are real."""
        trunk = Halvings(self.width, self.momentum, self.axis_name)
        nn.share_scope(self, trunk)  # its layers have the names that a classifier gives them
        x = trunk(images, train=train)[-1]
        if self.k_plus_one:
            features = x.mean((1, 2))
            return decision_of_classes(Dense(self.num_classes, name="classes")(features), features)
        if self.minibatch_deviation:
            deviation = MinibatchDeviation(self.momentum, self.axis_name, name="deviation")
            x = deviation(x, use_running_average=not train)
        smallest, _ = halvings_of(self.image_size)
        logits = Conv(1, smallest, 1, "VALID", False, INIT, name="real_or_generated")(x)
        return Decision(logits[:, 0, 0, 0], None)
