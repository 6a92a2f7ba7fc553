"""Layers that are fast on every platform: convolutions, normalisation, dropout.

The modules hold parameters (`kernel`, `bias`; NHWC images, HWIO kernels as in Flax), compute in the
dtype of a narrow input (`common/learning/precision.py`), and call the functions of
`common/ops/convolutions.py` and `common/ops/resampling.py`, which choose their form by platform and are
re-exported here.

Milliseconds in the plain `lax` form and in ours, forward and with all gradients, from

    GLIBC_TUNABLES=glibc.malloc.hugetlb=1 python bench/layers.py --repeats=5

(medians, float32, two cores of an AMD EPYC (Zen 5) on which nothing else of ours ran; batch 32 for
AC-GAN, 64 for DCGAN, 4 and 1 for the CNN GAN, 16 where it is not named; the last number of a name
is the image's height). Where both columns run the same operation, as in strided convolutions of few
channels, their difference is noise.

    layer                                 lax      all     ours     all
    AC-GAN G upsample 128->128, 16       41.8    124.3     10.2    33.3
    AC-GAN G upsample 128->64, 32        95.0    413.9     23.1    63.4
    AC-GAN G conv 64->1, 64              10.7     30.6      2.0     9.4
    AC-GAN D conv/2 1->16, 64             0.6      1.4      0.6     1.4
    AC-GAN D conv/2 16->32, 32            0.5      1.9      0.5     2.0
    AC-GAN D conv/2 32->64, 17            0.6      1.8      0.5     1.8
    AC-GAN D conv 64->128, 9              1.9      6.2      1.8     5.0
    DCGAN G transpose 100->512, 1         4.1     10.1      0.8     3.9
    DCGAN G transpose/2 512->256, 4      13.3    761.5     13.3    41.0
    DCGAN G transpose/2 256->128, 8      15.6    927.3     11.5    29.9
    DCGAN G transpose/2 128->64, 16      25.1    971.9     15.0    36.1
    DCGAN G transpose/2 64->3, 32         3.9     52.2      3.6     9.3
    CNN GAN G conv 15x15 128->3, 60      23.6    173.1      9.5    30.1
    CNN GAN G conv 50x50 128->3, 200    419.1  13865.9    287.5   486.1
    DCGAN D conv/2 3->64, 64              3.0     13.6      3.1    12.5
    DCGAN D conv/2 64->128, 32           17.1     66.6     14.8    40.1
    DCGAN D conv/2 128->256, 16          19.0     57.0     13.3    34.5
    DCGAN D conv/2 256->512, 8           20.7     56.1     17.0    46.8
    U-Net conv 3->32, 128, batch 2        2.0      4.0      1.9     4.1
    U-Net conv 32->32, 128, batch 2       3.2     14.0      3.9    13.1
    U-Net conv 64->64, 64, batch 2        3.4     11.5      2.2     6.6
    U-Net conv 128->128, 32, batch 2      3.3     10.2      2.0     6.8
    U-Net conv 256->256, 16, batch 2      3.7      9.3      2.1     6.0
    U-Net conv 512->512, 8, batch 2       5.0     14.9      3.7    12.5
    U-Net conv 3->32, 128, batch 16      16.0     43.5     16.2    41.4
    U-Net conv 32->32, 128, batch 16     30.0    160.2     28.1   103.4
    U-Net conv 64->64, 64, batch 16      23.1     93.1     12.6    45.8
    U-Net conv 128->128, 32, batch 16    14.4     47.3      9.2    30.9
    U-Net conv 256->256, 16, batch 16    13.2     44.9      6.7    29.9
    U-Net conv 512->512, 8, batch 16     16.1     50.2     14.6    47.1
    VGG16 conv 64->64, 224              188.6   1733.7    140.3   627.7
    VGG16 conv 128->128, 112            162.4   1416.4    111.8   368.6
    VGG16 conv 256->256, 56             164.9    936.3     70.8   222.7
    VGG16 conv 512->512, 28             160.5    566.8     66.0   209.0
    VGG16 conv 512->512, 14              40.6    140.8     24.2    75.7
    U-Net up 2x2/2 512->256, 8            2.9    332.0      2.8     8.3
    U-Net up 2x2/2 64->32, 64            14.6    327.3      8.1    17.3
    conv 2x2/2 32->64, 128               12.1     45.1      7.5    20.0
    U-Net conv 1x1 32->1, 128             5.2     10.7      1.1     5.0
    U-Net max pool 32, 128                1.5     45.5      2.0    13.8
    conv 1x1 16->96, 112                  8.2     76.1      5.1    11.7
    conv 1x1 144->24, 56                  5.8     24.4      2.5     6.3
    conv 1x1 112->672, 14                 2.1     11.9      1.5     5.0
    depthwise 3x3/2 96, 112             102.6    914.8      7.8    48.8
    depthwise 3x3/1 144, 56             141.6    509.4      5.8    25.1
    depthwise 5x5/1 240, 28              90.5    290.7      3.3    30.4
    depthwise 5x5/1 480, 14              44.9    185.0      2.4     8.3
    depthwise 5x5/2 672, 14              16.7    198.6      1.9     5.5
    depthwise 5x5/1 1152, 7              27.9    205.3      2.1     4.2

The first word of the command asks for huge pages of memory, as `launch.py` does
(`common/program/memory.py`).
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

from common.devices.axis import AXIS
from common.ops.convolutions import Form, Padding, conv, conv_transpose
from common.ops.depthwise import depthwise_conv
from common.ops.resampling import max_pool_2x2, upsample_conv

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
    `common/learning/precision.py`.
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
