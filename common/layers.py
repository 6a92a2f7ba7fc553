"""Layers that are fast on every platform: convolutions, normalisation, dropout.

The modules hold parameters (`kernel`, `bias`; NHWC images, HWIO kernels as in Flax) and call the
functions of `common/convolutions.py` and `common/resampling.py`, which choose their form by
platform and are re-exported here.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jaxtyping import Array, Float, Key

from common.convolutions import Form, Padding, conv, conv_transpose
from common.resampling import max_pool_2x2, upsample_conv

__all__ = [
    "BatchNorm",
    "Conv",
    "ConvTranspose",
    "Dropout",
    "Form",
    "Padding",
    "UpsampleConv",
    "conv",
    "conv_transpose",
    "dropout",
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
        return _add(conv(x, kernel, self.stride, self.padding), bias)


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
        return _add(conv_transpose(x, kernel, self.stride, self.padding), bias)


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
        return _add(upsample_conv(x, kernel), bias)


class BatchNorm(nn.Module):
    """Batch normalisation over all devices' examples, by `flax.linen.BatchNorm`.

    `y = (x - mean) / sqrt(variance + epsilon) * scale + bias` per channel; in training the moments
    are those of the global batch (averaged over `axis_name` while that axis exists), and the
    running ones become `momentum * old + (1 - momentum) * new` (Ioffe and Szegedy, 2015).

    Attributes:
        momentum: what is kept of the old running moments; PyTorch's 0.1 is 0.9 here.
        epsilon: added to the variance.
        axis_name: the axis of `pmap` that the batch is divided over; "" for none.
    """

    momentum: float
    epsilon: float
    axis_name: str = "batch"

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch *space channels"], use_running_average: bool
    ) -> Float[Array, "batch *space channels"]:
        """Normalises x with the batch's moments or the running ones."""
        return nn.BatchNorm(
            use_running_average=use_running_average,
            momentum=self.momentum,
            epsilon=self.epsilon,
            axis_name=self.axis_name or None,
            name="norm",
        )(x)


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
    lies on devices. An entry costs 16 random bits: `rate` is rounded to a multiple of 2**-16
    (0.5 and 0.25 are exact), and the division is by the rounded probability, so that the mean is
    kept exactly.

    Args:
        x: examples.
        keys: one random key per example; another layer needs other keys.
        rate: the probability of zero, in [0, 1).
    """
    if not 0 <= rate < 1:
        raise ValueError(f"a dropout rate lies in [0, 1), not {rate}")
    size = x[0].size
    threshold = min(round(rate * 2**16), 2**16 - 1)
    words = jax.vmap(lambda key: jax.random.bits(key, (-(-size // 2),), jnp.uint32))(keys)
    bits = jax.lax.bitcast_convert_type(words, jnp.uint16).reshape(x.shape[0], -1)[:, :size]
    kept = bits.reshape(x.shape) >= threshold
    return jnp.where(kept, x * (2**16 / (2**16 - threshold)), 0)


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
    x, kernel, bias = promote_dtype(x, kernel, bias, dtype=None)
    return x, kernel, bias


def _add(x: Array, bias: Array | None) -> Array:
    return x if bias is None else x + bias
