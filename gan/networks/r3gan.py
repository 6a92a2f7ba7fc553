"""R3GAN: residual blocks without normalisation, which at first change nothing.

Huang, Gokaslan, Kuleshov and Tompkin, "The GAN is dead; long live the GAN! A Modern GAN Baseline"
(2024), but for a tanh at the generator's end. It is trained with `config.loss.name="relativistic"`
and penalties on the discriminator's gradients at real and at generated images.

An image is halved while it stays even and 4 or more pixels remain. Maps double with each halving,
to 8 times `width` at most.
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from common.networks.halvings import halvings_of
from common.networks.layers import Conv, DepthwiseConv, Initializer, in_one_dtype
from common.ops import grouped_conv
from gan import networks
from gan.networks import Decision, Images, Keys, Labels, Latents

_LEAK = 0.2
_GAIN = math.sqrt(2 / (1 + _LEAK**2))  # keeps the variance through a leaky ReLU (He et al., 2015)
_MOST = 8  # times `width`
_EXPANSION = 2
_GROUP = 16  # maps that a 3x3 convolution mixes
_BLOCKS = 2  # at each size

Maps = Float[Array, "batch _rows _columns _maps"]


class Block(nn.Module):
    """1x1 convolution to twice the maps, 3x3 in groups, 1x1 back; added to what it is given.

    The last kernel starts at 0, the others the smaller, the more blocks there are, so that these
    need no norms (Zhang, Dauphin and Ma, "Fixup Initialization", 2019).

    Attributes:
      number: of the network's blocks.
    """

    number: int

    @nn.compact
    def __call__(self, x: Maps) -> Maps:
        """Returns maps of the same shape."""
        maps, init = x.shape[-1], he_normal(_GAIN * self.number**-0.25)
        y = plain(x, _EXPANSION * maps, "widen", init)
        y = GroupedConv(init, name="mix")(self._activated(y, "bias_1"))
        return x + plain(self._activated(y, "bias_2"), maps, "narrow", nn.initializers.zeros)

    def _activated(self, x: Maps, name: str) -> Maps:
        bias = self.param(name, nn.initializers.zeros, x.shape[-1:])
        x, bias = in_one_dtype(x, bias)
        return nn.leaky_relu(x + bias, _LEAK)


class GroupedConv(nn.Module):
    """A 3x3 convolution within groups of 16 maps, or of fewer that divide them."""

    kernel_init: Initializer

    @nn.compact
    def __call__(self, x: Maps) -> Maps:
        """Returns maps of the same shape."""
        maps = x.shape[-1]
        group = math.gcd(_GROUP, maps)
        kernel = self.param("kernel", self.kernel_init, (3, 3, group, maps))
        x, kernel = in_one_dtype(x, kernel)
        return grouped_conv(x, kernel)


class Generator(networks.Generator):
    """latent, class -> weights of learned 4x4 maps -> blocks and doublings -> tanh.

    Attributes:
      width: maps at the image's full size.
      class_size: of the embedding of a class.
      remat: whether a block's maps are computed again for its gradient, which saves memory.
    """

    latent_size: int = 64
    width: int = 32
    class_size: int = 64
    remat: bool = False

    @property
    def conditional(self) -> bool:
        """Returns whether there are classes to choose from."""
        return self.num_classes > 1

    def draw(self, latents: Latents, labels: Labels, train: bool, keys: Keys) -> Images:
        """Draws images in [-1, 1]; those of shares of classes by the mean of embeddings."""
        if self.conditional:
            of_class = linear(self, shares(labels, self.num_classes), self.class_size, "class")
            latents, of_class = in_one_dtype(latents, of_class)
            latents = jnp.concatenate([latents, of_class], -1)
        block = nn.remat(Block) if self.remat else Block
        smallest, doublings = halvings_of(self.image_size)
        maps = [self.width * min(_MOST, 1 << i) for i in reversed(range(doublings + 1))]
        shape = (smallest, smallest, maps[0])
        basis = self.param("basis", nn.initializers.normal(1), shape)
        x, basis = in_one_dtype(linear(self, latents, maps[0], "start")[:, None, None], basis)
        x = x * basis
        for i, number in enumerate(maps):
            if i:
                x = resized(plain(x, number, f"maps_{i}"), 2 * x.shape[1])
            for j in range(_BLOCKS):
                x = block(_BLOCKS * len(maps), name=f"block_{i}_{j}")(x)
        return jnp.tanh(plain(x, self.channels, "to_image"))


class Discriminator(networks.Discriminator):
    """Blocks and halvings -> a weighted sum of each 4x4 map -> one number.

    With classes, the number is the product of what the image and what the class is embedded to.

    Attributes:
      width: maps at the image's full size.
      class_size: of both embeddings.
      remat: as of the generator.
    """

    width: int = 32
    class_size: int = 64
    remat: bool = False

    def decide(self, images: Images, labels: Labels, train: bool, keys: Keys) -> Decision:
        """Decides whether images in [-1, 1] are real."""
        block = nn.remat(Block) if self.remat else Block
        smallest, halvings = halvings_of(self.image_size)
        maps = [self.width * min(_MOST, 1 << i) for i in range(halvings + 1)]
        x = plain(images, self.width, "from_image")
        for i, number in enumerate(maps):
            if i:
                x = plain(resized(x, x.shape[1] // 2), number, f"maps_{i}")
            for j in range(_BLOCKS):
                x = block(_BLOCKS * len(maps), name=f"block_{i}_{j}")(x)
        x = DepthwiseConv(smallest, 1, "VALID", he_normal(1.0), name="basis")(x)[:, 0, 0]
        if self.num_classes == 1:
            return Decision(linear(self, x, 1, "logit")[:, 0], None)
        of_image = linear(self, x, self.class_size, "logit")
        of_labels, size = shares(labels, self.num_classes), self.class_size
        of_class = linear(self, of_labels.astype(x.dtype), size, "class", size**-0.5)
        return Decision((of_image * of_class).sum(-1), None)


def he_normal(gain: float) -> Initializer:
    """Returns normal weights with a deviation of the gain over the root of a sum's length."""
    return nn.initializers.variance_scaling(gain**2, "fan_in", "normal")


def plain(x: Maps, maps: int, name: str, init: Initializer | None = None) -> Maps:
    """Returns a 1x1 convolution without bias."""
    return Conv(maps, 1, use_bias=False, kernel_init=init or he_normal(1.0), name=name)(x)


def linear(
    player: nn.Module, x: Float[Array, "batch _inputs"], features: int, name: str, gain: float = 1.0
) -> Float[Array, "batch {features}"]:
    """Returns a product with a learned matrix of the player."""
    x, kernel = in_one_dtype(x, player.param(name, he_normal(gain), (x.shape[-1], features)))
    return x @ kernel


def shares(labels: Labels, classes: int) -> Float[Array, "batch {classes}"]:
    """Returns the share of each class."""
    return jax.nn.one_hot(labels, classes) if labels.ndim == 1 else labels


def resized(x: Maps, size: int) -> Maps:
    """Returns maps of another size, linearly interpolated."""
    maps: Array = jax.image.resize(x, (x.shape[0], size, size, x.shape[-1]), "linear")
    return maps
