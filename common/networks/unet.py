"""The U-Net: coarse context, decided at full resolution.

Ronneberger, Fischer and Brox, "U-Net: Convolutional Networks for Biomedical Image Segmentation"
(2015), with "SAME" padding, so that the output has the size of the input, and BatchNorm.
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from common.devices.axis import AXIS
from common.networks.efficientnet_lite import FACTORS, HALVED, EfficientNetLite
from common.networks.halvings import Halvings
from common.networks.layers import BatchNorm, Conv, ConvTranspose, Initializer
from common.ops import max_pool_2x2


class UNet(nn.Module):
    """Levels that halve the image and double the maps, then the way back up with skip connections.

    A level is two 3x3 convolutions, each with BatchNorm and ReLU. Down: 2x2 max pooling; up: a 2x2
    transposed convolution that doubles the image, joined to the maps of that size on the way down.
    With the encoder "dcgan" the levels below the first are the layers of a DCGAN's discriminator,
    with "efficientnet_lite0", 1 or 2 the stages of that network's trunk; by the names they have
    there.

    With `residual_blocks` a level on the way down is so many pairs of convolutions, to each of
    which its input is added before the last ReLU (He et al. 2016), as in the encoders of Isensee et
    al., "nnU-Net Revisited" (2024).

    Attributes:
      out_channels: maps of the output.
      width: maps of the first level.
      depth: number of levels; each is half as large as the one before.
      norm_output: whether a BatchNorm follows the output.
      output_init: how the last kernel starts.
      residual_blocks: of each level on the way down and of the lowest; 0: plain convolutions.
      deep_supervision: whether training also maps each level on the way up, but for the lowest and
        the last, to an output: the intermediates "deep_1", of half the size, "deep_2" and so on.
      momentum: of the running statistics of BatchNorm.
      epsilon: of BatchNorm.
      axis_name: over which BatchNorm takes its statistics; "" outside the parallel step.
      encoder: "levels"; "dcgan": see common/networks/halvings.py; "efficientnet_lite0", 1 or 2: see
        common/networks/efficientnet_lite.py, for grey or RGB images and a depth from 2 to 6.
      frozen: this many stages of an EfficientNet-Lite, from the image on, never learn.
      to_unit: an EfficientNet-Lite sees the images times the first plus the second, in [0, 1].
    """

    out_channels: int
    width: int = 32
    depth: int = 5
    norm_output: bool = False
    output_init: Initializer = nn.initializers.glorot_uniform()
    residual_blocks: int = 0
    deep_supervision: bool = False
    momentum: float = 0.9
    epsilon: float = 1e-3
    axis_name: str = AXIS
    encoder: str = "levels"
    frozen: int = 0
    to_unit: tuple[float, float] = (1.0, 0.0)

    @property
    def multiple(self) -> int:
        """Returns the number of which height and width of the images must be multiples."""
        return 1 << (self.depth - 1)

    @nn.compact
    def __call__(
        self, images: Float[Array, "batch height width channels"], *, train: bool
    ) -> Float[Array, "batch height width {self.out_channels}"]:
        """Maps images to logits, or whatever the last layer stands for."""

        def norm(x: Array, name: str) -> Array:
            layer = BatchNorm(self.momentum, self.epsilon, self.axis_name, name=name)
            return layer(x, use_running_average=not train)

        def level(x: Array, features: int, name: str) -> Array:
            for i in (1, 2):
                x = Conv(features, 3, name=f"{name}_conv_{i}")(x)
                x = nn.relu(norm(x, f"{name}_norm_{i}"))
            return x

        def residual(x: Array, features: int, name: str) -> Array:
            y = nn.relu(norm(Conv(features, 3, name=f"{name}_conv_1")(x), f"{name}_norm_1"))
            y = norm(Conv(features, 3, name=f"{name}_conv_2")(y), f"{name}_norm_2")
            if x.shape[-1] != features:
                x = norm(Conv(features, 1, name=f"{name}_input_conv")(x), f"{name}_input_norm")
            return nn.relu(x + y)

        def encoded(x: Array, features: int, name: str) -> Array:
            if not self.residual_blocks:
                return level(x, features, name)
            for block in range(self.residual_blocks):
                x = residual(x, features, f"{name}_block_{block}")
            return x

        x, seen = images, []
        if self.encoder != "levels":
            *seen, x = level(images, self.width, "down_0"), *self._halved(images, train)
        else:
            for i in range(self.depth - 1):
                seen.append(encoded(x, self.width << i, f"down_{i}"))
                x = max_pool_2x2(seen[-1])
            x = encoded(x, self.width << (self.depth - 1), "bottom")
        for i in reversed(range(self.depth - 1)):
            x = ConvTranspose(self.width << i, 2, name=f"double_{i}")(x)
            x = level(jnp.concatenate([seen[i], x], axis=-1), self.width << i, f"up_{i}")
            if i and train and self.deep_supervision:
                logits = Conv(self.out_channels, 1, name=f"deep_{i}_output")(x)
                self.sow("intermediates", f"deep_{i}", logits)
        x = Conv(self.out_channels, 1, kernel_init=self.output_init, name="output")(x)
        return norm(x, "output_norm") if self.norm_output else x

    def _halved(
        self, images: Float[Array, "batch height width channels"], train: bool
    ) -> list[Float[Array, "batch _rows _columns _maps"]]:
        """Returns the maps of another network, of half the images' size, a quarter and so on."""
        if self.encoder == "dcgan":
            halvings = Halvings(self.width, self.momentum, self.axis_name, layers=self.depth - 1)
            nn.share_scope(self, halvings)  # its layers have the names that a discriminator gives
            return halvings(images, train=train)
        depth, width = FACTORS[int(self.encoder[-1])]
        trunk = EfficientNetLite(depth, width, frozen=self.frozen, axis_name=self.axis_name)
        nn.share_scope(self, trunk)  # those that a classifier gives
        scale, shift = self.to_unit
        names = HALVED[: self.depth - 1]
        found = trunk.stages(images * scale + shift, train=train, last=names[-1])
        return [found[name] for name in names]
