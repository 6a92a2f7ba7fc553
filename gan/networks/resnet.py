"""Residual GAN: blocks that double or halve the image; the SNGAN, and with its switches the BigGAN.

Miyato et al., "Spectral Normalization for Generative Adversarial Networks" (2018), with classes as
in Miyato and Koyama, "cGANs with Projection Discriminator" (2018). The switches are what Brock,
Donahue and Simonyan added in "Large Scale GAN Training for High Fidelity Natural Image Synthesis"
(2019); configs/biggan_chest_xray.py sets all of them.

An image is halved while it stays even and 4 or more pixels remain: from 128 pixels to 4 in five
halvings, from 200 to 25 in three. Maps double with each halving, to 16 times `width` at most.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from common.devices.axis import AXIS
from common.networks.halvings import halvings_of
from common.networks.layers import Conv, Dense, Initializer, UpsampleConv, in_one_dtype
from common.program.errors import UserError
from gan import networks
from gan.networks import Decision, Images, Keys, Labels, Latents, normalise

_EPSILON = 1e-5
_MOST = 16  # times `width`

Maps = Float[Array, "batch _rows _columns _maps"]
Style = Float[Array, "batch _style"]  # what a block draws: its class, and its part of the latent


@dataclass(frozen=True)
class Layers:
    """How a player makes its layers in one call.

    Attributes:
      train: whether the call is one of training.
      spectral_norm: whether kernels are divided by their largest singular value, which one step of
        the power iteration estimates in each call.
      orthogonal: whether kernels start orthogonal; otherwise Glorot uniform.
      momentum: of the running statistics of BatchNorm.
      axis_name: over which BatchNorm takes its statistics; "" outside the parallel step.
    """

    train: bool
    spectral_norm: bool
    orthogonal: bool
    momentum: float = 0.9
    axis_name: str = AXIS

    @property
    def _init(self) -> Initializer:
        kind = nn.initializers.orthogonal if self.orthogonal else nn.initializers.glorot_uniform
        return kind()

    def conv(self, x: Maps, maps: int, size: int, name: str, use_bias: bool = True) -> Maps:
        """Convolves x."""
        layer = Conv(maps, size, use_bias=use_bias, kernel_init=self._init, name=name)
        return self._applied(layer, x)

    def doubled_conv(self, x: Maps, maps: int, name: str) -> Maps:
        """Doubles x and convolves it, 3x3."""
        return self._applied(UpsampleConv(maps, kernel_init=self._init, name=name), x)

    def dense(self, x: Array, features: int, name: str) -> Float[Array, "batch {features}"]:
        """Multiplies x with a kernel."""
        return self._applied(Dense(features, kernel_init=self._init, name=name), x)

    def embedded(
        self, labels: Array, classes: int, features: int, name: str
    ) -> Float[Array, "batch {features}"]:
        """Returns a learned vector of each class."""
        return self._applied(nn.Embed(classes, features, name=name), labels)

    def norm(self, x: Maps, name: str, style: Style | None = None) -> Maps:
        """Normalises x; gains and shifts depend on the style (de Vries et al., 2017).

        They start at 1 and 0, as without a style, and so have no spectral norm, which would make
        their kernel large in the first step.
        """
        x = normalise(self, x, name, self.train, _EPSILON)
        if style is None or not style.shape[-1]:
            return x
        modulation = Dense(2 * x.shape[-1], nn.initializers.zeros, name=f"{name}_modulation")
        gain, shift = jnp.split(modulation(style)[:, None, None], 2, -1)
        return x * (1 + gain) + shift

    def _applied(self, layer: Any, x: Array) -> Array:
        if self.spectral_norm:
            limited = nn.SpectralNorm(layer, name=f"{layer.name}_spectral")
            layer = partial(limited, update_stats=self.train)
        applied: Array = layer(x)
        return applied


class UpBlock(nn.Module):
    """norm, ReLU, doubling, convolution; norm, ReLU, convolution; beside a 1x1 convolution."""

    maps: int
    layers: Layers

    @nn.compact
    def __call__(self, x: Maps, style: Style) -> Maps:
        """Returns maps of twice the size."""
        layers = self.layers
        shortcut = doubled(layers.conv(x, self.maps, 1, "shortcut"))
        x = nn.relu(layers.norm(x, "norm_1", style))
        x = layers.doubled_conv(x, self.maps, "conv_1")
        x = nn.relu(layers.norm(x, "norm_2", style))
        return layers.conv(x, self.maps, 3, "conv_2") + shortcut


class DownBlock(nn.Module):
    """ReLU, convolution, ReLU, convolution, halving; beside a halving and a 1x1 convolution.

    Attributes:
      maps: of the result.
      layers: how its layers are made.
      halves: whether the result is half as large; otherwise the other way changes nothing.
      activated: whether it begins with a ReLU, which an image does not pass.
    """

    maps: int
    layers: Layers
    halves: bool = True
    activated: bool = True

    @nn.compact
    def __call__(self, x: Maps) -> Maps:
        """Returns maps of half the size, or of the same."""
        layers, shortcut = self.layers, x
        if self.halves:
            shortcut = layers.conv(halved(x), self.maps, 1, "shortcut")
        x = layers.conv(nn.relu(x) if self.activated else x, self.maps, 3, "conv_1")
        x = layers.conv(nn.relu(x), self.maps, 3, "conv_2")
        return (halved(x) if self.halves else x) + shortcut


class SelfAttention(nn.Module):
    """Each place adds what it asks of all others, which are seen at half the size.

    Zhang et al., "Self-Attention Generative Adversarial Networks" (2019), in the form of Brock et
    al. (2019). Its share starts at 0.
    """

    layers: Layers

    @nn.compact
    def __call__(self, x: Maps) -> Maps:
        """Returns maps of the same shape."""
        layers, maps = self.layers, x.shape[-1]

        def flat(y: Maps) -> Float[Array, "batch places maps"]:
            return y.reshape(y.shape[0], -1, y.shape[-1])

        def seen(y: Maps) -> Float[Array, "batch places maps"]:
            return flat(nn.max_pool(y, (2, 2), (2, 2)))

        def conv(y: Maps, maps: int, name: str) -> Maps:
            return layers.conv(y, maps, 1, name, use_bias=False)

        few, half = max(1, maps // 8), max(1, maps // 2)
        queries = flat(conv(x, few, "queries"))
        keys, values = seen(conv(x, few, "keys")), seen(conv(x, half, "values"))
        weights = nn.softmax(jnp.einsum("bqc,bkc->bqk", queries, keys))
        found = jnp.einsum("bqk,bkc->bqc", weights, values).reshape(*x.shape[:-1], half)
        share = self.param("share", nn.initializers.zeros, (), jnp.float32)
        return x + share.astype(x.dtype) * conv(found, maps, "result")


class Generator(networks.Generator):
    """latent -> dense -> residual blocks that double the image -> tanh.

    Attributes:
      width: maps at the image's full size.
      shared_class_size: of an embedding of the class that all blocks share; 0: each has its own.
      hierarchical: whether each block is given a part of the latent of its own.
      attention: size of the maps with self-attention; 0: none.
      spectral_norm: see `Layers`.
      orthogonal: see `Layers`.
      remat: whether a block's maps are computed again for its gradient, which saves memory.
      momentum: of the running statistics of BatchNorm.
      axis_name: over which BatchNorm takes its statistics; "" outside the parallel step.
    """

    latent_size: int = 128
    width: int = 64
    shared_class_size: int = 0
    hierarchical: bool = False
    attention: int = 0
    spectral_norm: bool = False
    orthogonal: bool = False
    remat: bool = False
    momentum: float = 0.9
    axis_name: str = AXIS

    @property
    def conditional(self) -> bool:
        """Returns whether there are classes to choose from."""
        return self.num_classes > 1

    def draw(self, latents: Latents, labels: Labels, train: bool, keys: Keys) -> Images:
        """Draws images in [-1, 1]."""
        layers = Layers(train, self.spectral_norm, self.orthogonal, self.momentum, self.axis_name)
        block = nn.remat(UpBlock) if self.remat else UpBlock
        smallest, doublings = halvings_of(self.image_size)
        _check_attention(self, smallest, doublings)
        start, *styles = self._styles(latents, labels, doublings)
        maps = [self.width * min(_MOST, 1 << i) for i in reversed(range(doublings))]
        x = layers.dense(start, maps[0] * smallest**2, "start")
        x = x.reshape(-1, smallest, smallest, maps[0])
        for i, style in enumerate(styles):
            if x.shape[1] == self.attention:
                x = SelfAttention(layers, name="attention")(x)
            x = block(maps[i], layers, name=f"double_{i + 1}")(x, style)
        x = nn.relu(layers.norm(x, "norm"))
        return jnp.tanh(layers.conv(x, self.channels, 3, "to_image"))

    def _styles(self, latents: Latents, labels: Labels, blocks: int) -> list[Style]:
        """Returns what the first layer is given, and what each block is.

        For shares of classes these are the means of what single classes have.
        """
        parts = [latents, *[latents[:, :0]] * blocks]
        if self.hierarchical:
            parts = jnp.array_split(latents, blocks + 1, -1)
        if not self.conditional:
            return parts
        of_class = jax.nn.one_hot(labels, self.num_classes) if labels.ndim == 1 else labels
        if self.shared_class_size:
            shape = (self.num_classes, self.shared_class_size)
            of_class = of_class @ self.param("class", nn.initializers.normal(1), shape)
        latents, of_class = in_one_dtype(latents, of_class)
        return [parts[0], *(jnp.concatenate([of_class, part], -1) for part in parts[1:])]


class Discriminator(networks.Discriminator):
    """Residual blocks that halve the image -> sums of maps -> one number.

    With classes, the number grows with the product of the sums and the class's embedding.

    Attributes:
      width: maps after the first halving.
      attention: size of the maps with self-attention; 0: none.
      spectral_norm: see `Layers`.
      orthogonal: see `Layers`.
      remat: as of the generator.
    """

    width: int = 64
    attention: int = 0
    spectral_norm: bool = True
    orthogonal: bool = False
    remat: bool = False

    def decide(self, images: Images, labels: Labels, train: bool, keys: Keys) -> Decision:
        """Decides whether images in [-1, 1] are real."""
        layers = Layers(train, self.spectral_norm, self.orthogonal)
        block = nn.remat(DownBlock) if self.remat else DownBlock
        smallest, number = halvings_of(self.image_size)
        _check_attention(self, smallest, number)
        x = images
        for i in range(number):
            maps = self.width * min(_MOST, 1 << i)
            x = block(maps, layers, activated=i > 0, name=f"halve_{i + 1}")(x)
            if x.shape[1] == self.attention:
                x = SelfAttention(layers, name="attention")(x)
        x = block(maps, layers, halves=False, name="last")(x)
        x = nn.relu(x).sum((1, 2))
        logits = layers.dense(x, 1, "real_or_generated")[:, 0]
        if self.num_classes > 1:
            logits += (x * layers.embedded(labels, self.num_classes, maps, "class")).sum(-1)
        return Decision(logits, None)


def doubled(x: Maps) -> Maps:
    """Returns each pixel four times."""
    return x.repeat(2, 1).repeat(2, 2)


def halved(x: Maps) -> Maps:
    """Returns the means of 2x2 pixels."""
    batch, rows, columns, maps = x.shape
    return x.reshape(batch, rows // 2, 2, columns // 2, 2, maps).mean((2, 4))


def _check_attention(player: Generator | Discriminator, smallest: int, number: int) -> None:
    """Refuses a size that no maps have."""
    sizes = [smallest << i for i in range(number)]
    if player.attention not in (0, *sizes):
        part = "generator" if isinstance(player, Generator) else "discriminator"
        raise UserError(
            f"config.model.{part}.attention is {player.attention}; of images of"
            f" {player.image_size} pixels it must be 0 (none) or one of"
            f" {', '.join(map(str, sizes))}, the sizes of the maps."
        )
