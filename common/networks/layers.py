"""Layers that are fast on every platform: convolutions, normalisation, dropout.

The modules hold parameters (`kernel`, `bias`; NHWC images, HWIO kernels as in Flax), compute in the
dtype of a narrow input (`common/learning/precision.py`), and call the functions of `common/ops`,
which choose their form by platform; bench/results/ has their times.
"""

import math
from collections.abc import Callable
from typing import Any, TypeVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.linen.dtypes import promote_dtype
from jaxtyping import Array, Float, Key

from common.devices.axis import AXIS
from common.ops import Padding, conv, conv_transpose, depthwise_conv, upsample_conv

Initializer = Callable[..., Any]
_ZEROS = nn.initializers.zeros_init()
Network = TypeVar("Network", bound=nn.Module)


class Conv(nn.Module):
    """A convolution with weights: see `conv`.

    Attributes:
        features: output channels.
        kernel_size: height and width, or one number for both.
        stride: the same in both directions.
        padding: "SAME", "VALID" or pairs.
        use_bias: whether a bias is added to each output channel.
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


class ConvTranspose(Conv):
    """A transposed convolution with weights: see `conv_transpose`; attributes as in `Conv`."""

    kernel_size: int | tuple[int, int] = 4
    stride: int = 2

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width channels"]
    ) -> Float[Array, "batch out_height out_width {self.features}"]:
        """Applies the transposed convolution to x."""
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
        use_bias: whether a bias is added to each channel.
    """

    kernel_size: int = 3
    stride: int = 1
    padding: Padding = "SAME"
    kernel_init: Initializer = nn.initializers.glorot_uniform()
    use_bias: bool = False

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width channels"]
    ) -> Float[Array, "batch out_height out_width channels"]:
        """Convolves x."""
        dtype = jnp.promote_types(x.dtype, jnp.float32)
        shape = (self.kernel_size, self.kernel_size, 1, x.shape[-1])
        kernel = parameter(self, "kernel", self.kernel_init, shape, dtype)
        x, kernel = in_one_dtype(x, kernel)
        y = depthwise_conv(x, kernel, self.stride, self.padding)
        if self.use_bias:
            bias = parameter(self, "bias", _ZEROS, x.shape[-1:], dtype)
            y += bias.astype(y.dtype)
        return y


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
        kernel = parameter(self, "kernel", self.kernel_init, (x.shape[-1], self.features), dtype)
        bias = parameter(self, "bias", _ZEROS, (self.features,), dtype)
        x, kernel, bias = in_one_dtype(x, kernel, bias)
        return x @ kernel + bias


class BatchNorm(nn.Module):
    """Batch normalisation over the examples of all devices; equal to `flax.linen.BatchNorm`.

    `y = (x - mean) / sqrt(variance + epsilon) * scale + bias` per channel; in training the moments
    are those of the global batch, and the running moments become
    `momentum * old + (1 - momentum) * new` (Ioffe and Szegedy, 2015). On a CPU, forward and
    backward, Flax's own was measured to take 1.2 to 1.8 times as long.

    Attributes:
        momentum: share of the old running moments that is kept; PyTorch's 0.1 is 0.9 here.
        epsilon: added to the variance.
        axis_name: the `pmap` axis that the batch is spread over; "" for none.
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
        scale = parameter(self, "scale", self.scale_init, shape, dtype)
        bias = parameter(self, "bias", _ZEROS, shape, dtype)
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
        y: Array = (x * factor + (bias - batch_mean * factor)).astype(x.dtype)
        return y


def with_statistics(network: Network, batch_norm: str) -> Network:
    """Returns a network whose layers look at as many images as `config.train.batch_norm` says.

    "synchronised": at those of all devices. "device": each device at its own, which exchanges
    nothing; `updated` of common/learning/network.py then averages the running statistics.

    Args:
      network: one without such layers has no field `axis_name`, and is returned as it is.
      batch_norm: which of the two.
    """
    if batch_norm == "synchronised" or "axis_name" not in network.__dataclass_fields__:
        return network
    return network.clone(axis_name="")


class MinibatchDeviation(nn.Module):
    """Appends a map that says how much the images of a batch differ, those of all devices.

    It holds one number, the standard deviation of each feature at each place over the batch,
    averaged over all of them: a generator that repeats itself is found out (Karras et al.,
    "Progressive Growing of GANs", 2018, section 3). Outside training it is the running mean of what
    training saw, so that an image's judgement does not depend on those beside it.

    Attributes:
        momentum: share of the old running mean that is kept.
        axis_name: the `pmap` axis that the batch is spread over; "" for none.
        epsilon: added to the variance, whose root has no derivative at 0.
    """

    momentum: float
    axis_name: str = AXIS
    epsilon: float = 1e-8

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch *space channels"], use_running_average: bool
    ) -> Float[Array, "batch *space channels+1"]:
        """Appends the batch's deviation to x, or the running one."""
        dtype = jnp.promote_types(x.dtype, jnp.float32)
        running = self.variable("batch_stats", "deviation", jnp.zeros, (), dtype)
        if use_running_average:
            deviation = running.value
        else:
            axis_name = "" if self.is_initializing() else self.axis_name
            deviation = batch_deviation(x.astype(dtype), axis_name, self.epsilon)
            if not self.is_initializing():
                kept = self.momentum
                running.value = kept * running.value + (1 - kept) * deviation
        appended = jnp.broadcast_to(deviation.astype(x.dtype), (*x.shape[:-1], 1))
        return jnp.concatenate([x, appended], -1)


def batch_deviation(
    x: Float[Array, "batch *space channels"], axis_name: str, epsilon: float = 1e-8
) -> Float[Array, ""]:
    """Returns the mean of the deviations over the examples of all devices: `MinibatchDeviation`."""
    return batch_deviations(x, axis_name, epsilon).mean()


def batch_deviations(
    x: Float[Array, "batch *features"], axis_name: str, epsilon: float = 1e-8
) -> Float[Array, "*features"]:
    """Returns the deviation of each feature over the examples of all devices."""
    square = (x - _mean_over_batch(x, axis_name)) ** 2
    return jnp.sqrt(_mean_over_batch(square, axis_name) + epsilon)


def _mean_over_batch(x: Array, axis_name: str) -> Array:
    """Returns the mean over the examples of all devices."""
    mean = x.mean(0)
    return jax.lax.pmean(mean, axis_name) if axis_name else mean


def _moments(x: Array, axis_name: str) -> tuple[Array, Array]:
    """Returns mean and variance per channel over all examples of all devices."""
    axes = tuple(range(x.ndim - 1))
    moments = jnp.stack([x.mean(axes), (x * x).mean(axes)])
    mean, square = jax.lax.pmean(moments, axis_name) if axis_name else moments
    return mean, jnp.maximum(square - mean * mean, 0)


def dropout(
    x: Float[Array, "batch ..."], keys: Key[Array, " batch"], rate: float
) -> Float[Array, "batch ..."]:
    """Sets entries to zero with probability `rate` and divides the others by `1 - rate`.

    The mask of an example is a function of its own key, so a run does not depend on how the batch
    is spread over devices. An entry costs 8 random bits if `rate` is a multiple of 1/256 (0.25,
    0.5), else 16, with `rate` rounded to a multiple of 2**-16; the division uses the rounded
    probability, so that the mean is exact.

    Args:
        x: examples.
        keys: one random key per example; another layer needs other keys.
        rate: the probability of zero, in [0, 1).
    """
    if not 0 <= rate < 1:
        raise ValueError(f"the dropout rate is {rate}; it must be in [0, 1)")
    width, dtype = (8, jnp.uint8) if float(rate * 2**8).is_integer() else (16, jnp.uint16)
    levels = 2**width
    threshold = min(round(rate * levels), levels - 1)
    size = math.prod(x.shape[1:])
    num_words = -(-size * width // 32)
    # Whole words cut into pieces: `jax.random.bits` draws a whole word even for 8 bits.
    words = jax.vmap(lambda key: jax.random.bits(key, (num_words,), jnp.uint32))(keys)
    bits = jax.lax.bitcast_convert_type(words, dtype).reshape(x.shape[0], -1)[:, :size]
    kept = bits.reshape(x.shape) >= threshold
    return jnp.where(kept, x * (levels / (levels - threshold)), 0)


def dropout_after(
    x: Float[Array, "batch ..."], keys: Key[Array, " batch"] | None, layer: int, rate: float
) -> Float[Array, "batch ..."]:
    """Applies dropout after one of a network's layers, whose number makes its keys distinct.

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
    """Returns x and weights in x's dtype if that is narrower than float32, else in the widest.

    Weights are NumPy arrays if a checkpoint was restored to the host. See
    `common/learning/precision.py`.
    """
    narrow = x.dtype if x.dtype.itemsize < 4 else None
    return list(promote_dtype(x, *weights, dtype=narrow))


def parameter(
    module: nn.Module, name: str, init: Initializer, shape: tuple[int, ...], dtype: Any
) -> Array | np.ndarray:
    """Returns a parameter as `module.param` does, which traces `init` anew to compare the shape.

    That was a tenth of the time that it takes to trace a training step.
    """
    if module.has_variable("params", name):
        value: Array | np.ndarray = module.get_variable("params", name)
        if np.shape(value) == shape:
            return value
    made: Array = module.param(name, init, shape, dtype)
    return made


def _weights(
    module: "Conv | ConvTranspose | UpsampleConv", x: Array, kernel_size: int | tuple[int, int]
) -> tuple[Array, Array, Array | None]:
    """Creates or reads a module's kernel and bias, and casts all to one dtype."""
    if isinstance(kernel_size, int):
        kernel_size = (kernel_size, kernel_size)
    dtype = jnp.promote_types(x.dtype, jnp.float32)
    shape = (*kernel_size, x.shape[-1], module.features)
    kernel = parameter(module, "kernel", module.kernel_init, shape, dtype)
    bias = None
    if module.use_bias:
        bias = parameter(module, "bias", _ZEROS, (module.features,), dtype)
    x, kernel, *rest = in_one_dtype(x, kernel, *(() if bias is None else (bias,)))
    return x, kernel, rest[0] if rest else None
