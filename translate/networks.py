"""The networks: a residual generator, and a discriminator that judges patches.

The other generator is the U-Net of common/networks/unet.py.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from common.networks.layers import Conv, Initializer, UpsampleConv
from common.ops import Padding

_HALVINGS = 2  # of the residual generator
_START = nn.initializers.normal(0.02)  # of kernels, as the authors of both
SMALLEST = 24  # pixels along the side of an image that the discriminator takes


class ResidualGenerator(nn.Module):
    """Halves the image twice, changes it in residual blocks, doubles it twice.

    A 7x7 convolution, two 3x3 ones with stride 2, blocks of two 3x3 ones, two doublings, a 7x7 one;
    instance normalisation and ReLU between. Johnson et al., "Perceptual Losses for Real-Time Style
    Transfer and Super-Resolution" (2016), as in Zhu et al., "Unpaired Image-to-Image Translation
    using Cycle-Consistent Adversarial Networks" (2017), but for the doubling: the nearest pixel and
    a convolution, which leave no chequered pattern.

    Attributes:
      out_channels: maps of the output.
      width: maps of the first convolution.
      blocks: number of residual blocks.
      output_init: how the last kernel starts.
    """

    out_channels: int
    width: int = 32
    blocks: int = 6
    output_init: Initializer = _START

    @property
    def multiple(self) -> int:
        """Returns the number of which height and width of the images must be multiples."""
        return 1 << _HALVINGS

    @nn.compact
    def __call__(
        self, images: Float[Array, "batch height width channels"], *, train: bool
    ) -> Float[Array, "batch height width {self.out_channels}"]:
        """Maps images to the values of the translation; alike in training and after it."""
        del train
        x = nn.relu(_normalised(_mirrored_conv(self.width, 7, "first")(images)))
        for i in range(1, _HALVINGS + 1):
            x = nn.relu(_normalised(_conv(self.width << i, 3, f"halve_{i}", 2)(x)))
        for i in range(self.blocks):
            y = nn.relu(_normalised(_mirrored_conv(x.shape[-1], 3, f"block_{i}_conv_1")(x)))
            x = x + _normalised(_mirrored_conv(x.shape[-1], 3, f"block_{i}_conv_2")(y))
        for i in reversed(range(_HALVINGS)):
            x = nn.relu(
                _normalised(
                    UpsampleConv(self.width << i, kernel_init=_START, name=f"double_{i}")(x)
                )
            )
        return _mirrored_conv(self.out_channels, 7, "output", self.output_init)(x)


class PatchDiscriminator(nn.Module):
    """Decides for each patch of 70x70 pixels whether it is real.

    Four 4x4 convolutions, of which three halve the image, and one to a logit, with leaky ReLU
    between. Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks"
    (2017), section 6.1.2.

    Attributes:
      width: maps of the first layer; the next have 2, 4 and 8 times as many.
      norm: "spectral": every kernel is divided by its largest singular value (Miyato et al.,
        "Spectral Normalization for GANs", 2018); "instance": the middle layers are normalised.
    """

    width: int = 64
    norm: str = "spectral"

    @nn.compact
    def __call__(
        self, images: Float[Array, "batch height width channels"], *, train: bool
    ) -> Float[Array, "batch rows columns 1"]:
        """Returns a logit of each patch of images in [-1, 1].

        Args:
          images: with sides of `SMALLEST` pixels or more.
          train: whether the estimates of singular values improve.
        """
        x = images
        for i, stride in enumerate((2, 2, 2, 1)):
            x = self._conv(self.width << i, stride, f"conv_{i}", train)(x)
            if self.norm == "instance" and i:
                x = _normalised(x)
            x = nn.leaky_relu(x, 0.2)
        logits: Array = self._conv(1, 1, "output", train)(x)
        return logits

    def _conv(self, features: int, stride: int, name: str, train: bool) -> Callable[[Array], Array]:
        layer = _conv(features, 4, name, stride, ((1, 1), (1, 1)))
        if self.norm != "spectral":
            return layer
        limited = nn.SpectralNorm(layer, name=f"{name}_spectral")
        return lambda x: limited(x, update_stats=train)


def _conv(features: int, size: int, name: str, stride: int = 1, padding: Padding = "SAME") -> Conv:
    return Conv(features, size, stride, padding, kernel_init=_START, name=name)


def _mirrored_conv(
    features: int, size: int, name: str, start: Initializer = _START
) -> Callable[[Array], Array]:
    """Returns a convolution of images that go on as in a mirror beyond their edges."""
    around = size // 2
    layer = Conv(features, size, padding="VALID", kernel_init=start, name=name)
    sides = (0, 0), (around, around), (around, around), (0, 0)
    return lambda x: layer(jnp.pad(x, sides, mode="reflect"))


def _normalised(
    x: Float[Array, "batch height width channels"],
) -> Float[Array, "batch height width channels"]:
    """Returns maps of mean 0 and deviation 1 over each image (Ulyanov et al., 2016)."""
    deviations = x - x.mean((1, 2), keepdims=True)
    variance = (deviations**2).mean((1, 2), keepdims=True)
    return deviations * jax.lax.rsqrt(variance + 1e-5)
