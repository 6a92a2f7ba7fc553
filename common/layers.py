"""Layers that are fast on every platform: convolutions, normalisation, dropout.

The modules hold parameters (`kernel`, `bias`; NHWC images, HWIO kernels as in Flax), compute in the
dtype of a narrow input (`common/training/precision.py`), and call the functions of
`common/convolutions.py` and `common/resampling.py`, which choose their form by platform and are
re-exported here.

Milliseconds in the plain `lax` form and in ours, forward and with all gradients, from

    GLIBC_TUNABLES=glibc.malloc.hugetlb=1 python bench/layers.py --repeats=7

(medians, float32, two cores of an AMD EPYC that other programs were using too: compare within a
row, not between rows; batch 32 for AC-GAN, 64 for DCGAN, 16 for U-Net; the last number of a name
is the image's height). Where both columns run the same operation, as in strided convolutions,
their difference is noise.

    layer                                lax     all      ours     all
    AC-GAN G upsample 128->128, 16        62.4   205.8      27.3    73.2
    AC-GAN G upsample 128->64, 32        105.7   547.0      40.6    80.8
    AC-GAN G conv 64->1, 64               12.1    40.0       4.4    16.1
    AC-GAN D conv/2 1->16, 64              1.3     3.4       1.1     2.3
    AC-GAN D conv/2 16->32, 32             0.6     2.8       0.7     2.8
    AC-GAN D conv/2 32->64, 17             0.6     2.3       0.7     2.2
    AC-GAN D conv 64->128, 9               2.5     8.0       2.2     7.7
    DCGAN G transpose 100->512, 1          8.7    21.7       1.4     7.3
    DCGAN G transpose/2 512->256, 4       25.6  1760.1      38.0   122.1
    DCGAN G transpose/2 256->128, 8       24.9  1916.6      28.2   101.9
    DCGAN G transpose/2 128->64, 16       44.5  2013.3      32.1   107.3
    DCGAN G transpose/2 64->3, 32          5.1   108.5       7.4    17.8
    DCGAN D conv/2 64->128, 32            31.6   112.8      31.8   111.2
    CNN GAN G conv 15x15 128->3, 60       20.8   245.9      15.0    32.2
    U-Net up 2x2/2 512->256, 8             3.4   379.8       3.7    16.5
    U-Net up 2x2/2 64->32, 64             18.0   392.6      16.4    48.8
    U-Net conv 1x1 32->1, 128              5.7    14.0       1.2     6.9
    U-Net max pool 32, 128                 1.5    53.1       2.0     8.8

The same on two cores of an Intel Xeon (Sapphire Rapids) that were free, batch 16, --repeats=5:

    layer                                lax     all      ours     all
    U-Net conv 32->32, 128                43.3   228.6      41.7   157.3
    U-Net conv 64->64, 64                 37.1   221.1      38.7   110.9
    U-Net conv 128->128, 32               18.2   120.6      17.0    60.1
    U-Net conv 256->256, 16               16.9    57.9      16.9    54.7
    conv 1x1 16->96, 112                  20.4   116.9       8.6    21.8
    conv 1x1 144->24, 56                   8.2    60.5       3.4    10.2
    conv 1x1 112->672, 14                  3.4    14.5       2.0     7.6
    depthwise 3x3/2 96, 112              125.5  1152.0      12.8    68.5
    depthwise 5x5 240, 28                113.6   652.4       4.1    25.0
    depthwise 5x5 1152, 7                 33.9   307.4       2.6     8.1

Many channels, 3x3 (Winograd's form, `common/winograd.py`, before its transforms were sums of
slices, which took a fifth to a half off its time), on two cores of an AMD EPYC that were free,
batch 16, --repeats=3 and 5:

    layer                                lax     all      ours     all
    VGG16 conv 64->64, 224               358.6  2289.9     533.5  1695.4
    VGG16 conv 128->128, 112             345.0  2713.9     267.0   767.8
    VGG16 conv 256->256, 56              323.2  1476.5     154.8   477.1
    VGG16 conv 512->512, 28              327.5  1079.7     126.1   527.1
    VGG16 conv 512->512, 14               78.9   245.7      57.7   204.6
    U-Net conv 64->64, 64                 47.7   157.2      38.1   112.7
    U-Net conv 128->128, 32               26.1    82.5      22.7    63.3

Without huge pages (the first word of the command left out) the two upsampling layers took 2 to 3
times as long, a whole AC-GAN update 1.5 times: the kernel hands large temporary arrays to the
program anew, page by page, each time.
"""

import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.linen.dtypes import promote_dtype
from jaxtyping import Array, Float, Key

from common.axis import AXIS
from common.convolutions import Form, Padding, conv, conv_transpose
from common.depthwise import depthwise_conv
from common.resampling import max_pool_2x2, upsample_conv

__all__ = [
    "BatchNorm",
    "Conv",
    "ConvTranspose",
    "Dense",
    "DepthwiseConv",
    "Dropout",
    "Form",
    "Padding",
    "UpsampleConv",
    "conv",
    "conv_transpose",
    "depthwise_conv",
    "dropout",
    "dropout_after",
    "in_one_dtype",
    "max_pool_2x2",
    "upsample_conv",
]

Initializer = Callable[..., Any]


class Conv(nn.Module):
    """A convolution with weights: see `conv`.

    Attributes:
        features: output channels.
        kernel_size: height and width, or one number for both.
        stride: the same in both directions.
        padding: "SAME", "VALID" or pairs.
        use_bias: whether a number is added to each output channel.
        kernel_init: how the kernel starts; Glorot uniform, as in Keras.
    """

    features: int
    kernel_size: int | tuple[int, int] = 3
    stride: int = 1
    padding: Padding = "SAME"
    use_bias: bool = True
    kernel_init: Initializer = nn.initializers.glorot_uniform()

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width channels"]
    ) -> Float[Array, "batch out_height out_width {self.features}"]:
        """Convolves x."""
        x, kernel, bias = _weights(self, x, self.kernel_size)
        return conv(x, kernel, self.stride, self.padding, bias=bias)


class ConvTranspose(nn.Module):
    """A transposed convolution with weights: see `conv_transpose`; attributes as in `Conv`."""

    features: int
    kernel_size: int | tuple[int, int] = 4
    stride: int = 2
    padding: Padding = "SAME"
    use_bias: bool = True
    kernel_init: Initializer = nn.initializers.glorot_uniform()

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width channels"]
    ) -> Float[Array, "batch out_height out_width {self.features}"]:
        """Convolves x backwards."""
        x, kernel, bias = _weights(self, x, self.kernel_size)
        y = conv_transpose(x, kernel, self.stride, self.padding)
        return y if bias is None else y + bias


class DepthwiseConv(nn.Module):
    """A convolution of each channel by itself, with weights: see `depthwise_conv`.

    Attributes:
        kernel_size: height and width.
        stride: the same in both directions.
        padding: "SAME", "VALID" or pairs.
        kernel_init: how the kernel starts; Glorot uniform, as in Keras.
    """

    kernel_size: int = 3
    stride: int = 1
    padding: Padding = "SAME"
    kernel_init: Initializer = nn.initializers.glorot_uniform()

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width channels"]
    ) -> Float[Array, "batch out_height out_width channels"]:
        """Convolves x."""
        dtype = jnp.promote_types(x.dtype, jnp.float32)
        shape = (self.kernel_size, self.kernel_size, 1, x.shape[-1])
        kernel = self.param("kernel", self.kernel_init, shape, dtype)
        x, kernel = in_one_dtype(x, kernel)
        return depthwise_conv(x, kernel, self.stride, self.padding)


class UpsampleConv(nn.Module):
    """Nearest-neighbour doubling and a 3x3 convolution with weights: see `upsample_conv`."""

    features: int
    use_bias: bool = True
    kernel_init: Initializer = nn.initializers.glorot_uniform()

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width channels"]
    ) -> Float[Array, "batch 2*height 2*width {self.features}"]:
        """Doubles x and convolves it."""
        x, kernel, bias = _weights(self, x, 3)
        return upsample_conv(x, kernel, bias=bias)


class Dense(nn.Module):
    """A matrix product with weights; attributes as in `Conv`."""

    features: int
    kernel_init: Initializer = nn.initializers.glorot_uniform()

    @nn.compact
    def __call__(self, x: Float[Array, "batch inputs"]) -> Float[Array, "batch {self.features}"]:
        """Multiplies x with the kernel and adds the bias."""
        dtype = jnp.promote_types(x.dtype, jnp.float32)
        kernel = self.param("kernel", self.kernel_init, (x.shape[-1], self.features), dtype)
        bias = self.param("bias", nn.initializers.zeros_init(), (self.features,), dtype)
        x, kernel, bias = in_one_dtype(x, kernel, bias)
        return x @ kernel + bias


class BatchNorm(nn.Module):
    """Batch normalisation over the examples of all devices; equal to `flax.linen.BatchNorm`.

    `y = (x - mean) / sqrt(variance + epsilon) * scale + bias` per channel; in training the moments
    are those of the global batch, and the running ones become
    `momentum * old + (1 - momentum) * new` (Ioffe and Szegedy, 2015). On a CPU, forward and
    backward, Flax's own was measured to take 1.2 to 1.8 times as long.

    Attributes:
        momentum: what is kept of the old running moments; PyTorch's 0.1 is 0.9 here.
        epsilon: added to the variance.
        axis_name: the axis of `pmap` that the batch is divided over; "" for none.
        scale_init: how the scale starts.
    """

    momentum: float
    epsilon: float
    axis_name: str = AXIS
    scale_init: Initializer = nn.initializers.ones_init()

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch *space channels"], use_running_average: bool
    ) -> Float[Array, "batch *space channels"]:
        """Normalises x with the batch's moments or the running ones."""
        dtype = jnp.promote_types(x.dtype, jnp.float32)
        shape = x.shape[-1:]
        mean = self.variable("batch_stats", "mean", jnp.zeros, shape, dtype)
        var = self.variable("batch_stats", "var", jnp.ones, shape, dtype)
        scale = self.param("scale", self.scale_init, shape, dtype)
        bias = self.param("bias", nn.initializers.zeros_init(), shape, dtype)
        if use_running_average:
            batch_mean, batch_var = mean.value, var.value
        else:
            axis_name = "" if self.is_initializing() else self.axis_name
            batch_mean, batch_var = _moments(x.astype(dtype), axis_name)
            if not self.is_initializing():
                kept = self.momentum
                mean.value = kept * mean.value + (1 - kept) * batch_mean
                var.value = kept * var.value + (1 - kept) * batch_var
        factor = scale * jax.lax.rsqrt(batch_var + self.epsilon)
        return (x * factor + (bias - batch_mean * factor)).astype(x.dtype)


def _moments(x: Array, axis_name: str) -> tuple[Array, Array]:
    """Gives mean and variance per channel over all examples of all devices."""
    axes = tuple(range(x.ndim - 1))
    moments = jnp.stack([x.mean(axes), (x * x).mean(axes)])
    mean, square = jax.lax.pmean(moments, axis_name) if axis_name else moments
    return mean, jnp.maximum(square - mean * mean, 0)


class Dropout(nn.Module):
    """Dropout whose masks come from one key per example: see `dropout`."""

    rate: float

    def __call__(
        self, x: Float[Array, "batch ..."], keys: Key[Array, " batch"], deterministic: bool
    ) -> Float[Array, "batch ..."]:
        """Drops entries of x unless deterministic."""
        return x if deterministic else dropout(x, keys, self.rate)


def dropout(
    x: Float[Array, "batch ..."], keys: Key[Array, " batch"], rate: float
) -> Float[Array, "batch ..."]:
    """Sets entries to zero with probability `rate` and divides the others by `1 - rate`.

    The mask of an example is a function of its own key, so a run does not depend on how the batch
    lies on devices. An entry costs 8 random bits where `rate` is a multiple of 1/256 (0.25, 0.5),
    else 16, and `rate` is rounded to a multiple of 2**-16; the division is by the rounded
    probability, so that the mean is kept exactly.

    Args:
        x: examples.
        keys: one random key per example; another layer needs other keys.
        rate: the probability of zero, in [0, 1).
    """
    if not 0 <= rate < 1:
        raise ValueError(f"a dropout rate lies in [0, 1), not {rate}")
    width, dtype = (8, jnp.uint8) if float(rate * 2**8).is_integer() else (16, jnp.uint16)
    levels = 2**width
    threshold = min(round(rate * levels), levels - 1)
    size = math.prod(x.shape[1:])
    num_words = -(-size * width // 32)
    # Whole words cut into pieces: asked for 8 bits, `jax.random.bits` draws a word for each.
    words = jax.vmap(lambda key: jax.random.bits(key, (num_words,), jnp.uint32))(keys)
    bits = jax.lax.bitcast_convert_type(words, dtype).reshape(x.shape[0], -1)[:, :size]
    kept = bits.reshape(x.shape) >= threshold
    return jnp.where(kept, x * (levels / (levels - threshold)), 0)


def dropout_after(
    x: Float[Array, "batch ..."], keys: Key[Array, " batch"] | None, layer: int, rate: float
) -> Float[Array, "batch ..."]:
    """Drops entries after one of a network's layers, whose number makes the keys its own.

    Args:
        x: examples.
        keys: one per example, of the whole network; None for no dropout.
        layer: its number in the network.
        rate: see `dropout`.
    """
    if keys is None or rate == 0:
        return x
    return dropout(x, jax.vmap(jax.random.fold_in, (0, None))(keys, layer), rate)


def in_one_dtype(x: Array | np.ndarray, *weights: Array | np.ndarray) -> list[Array]:
    """Returns x and weights in x's dtype where that is narrower than float32, else in the widest.

    Weights are NumPy arrays where a checkpoint was restored to the host. See
    `common/training/precision.py`.
    """
    narrow = x.dtype if x.dtype.itemsize < 4 else None
    return list(promote_dtype(x, *weights, dtype=narrow))


def _weights(
    module: Any, x: Array, kernel_size: int | tuple[int, int]
) -> tuple[Array, Array, Array | None]:
    """Creates or reads a module's kernel and bias and brings all to one dtype."""
    if isinstance(kernel_size, int):
        kernel_size = (kernel_size, kernel_size)
    dtype = jnp.promote_types(x.dtype, jnp.float32)
    shape = (*kernel_size, x.shape[-1], module.features)
    kernel = module.param("kernel", module.kernel_init, shape, dtype)
    bias = None
    if module.use_bias:
        bias = module.param("bias", nn.initializers.zeros_init(), (module.features,), dtype)
    x, kernel, *rest = in_one_dtype(x, kernel, *(() if bias is None else (bias,)))
    return x, kernel, rest[0] if rest else None
