"""The depthwise convolution: every channel has its own kernel.

On a CPU, XLA computes it pixel by pixel in scalars. As a sum of shifted images, each times one row
of weights, it becomes one vectorised loop: in EfficientNet-Lite0's layers, batch 16, it took 9 to
28 times less time forward and 16 to 38 times less with all gradients (`python bench/layers.py
--only=depthwise`).
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from common.ops import thresholds
from common.ops.blocks import LAYOUT, Factors, Pairs, pad, set_gradients
from common.ops.convolutions import Padding, forward_pads
from common.ops.forms import Form, form_on_target


def depthwise_conv(
    x: Float[Array, "batch height width channels"],
    kernel: Float[Array, "kernel_height kernel_width 1 channels"],
    stride: int = 1,
    padding: Padding = "SAME",
    form: Form = "auto",
) -> Float[Array, "batch out_height out_width channels"]:
    """Convolves each channel with its own kernel.

    `y[i, j, c] = sum_ab x[s i + a - low_h, s j + b - low_w, c] kernel[a, b, 0, c]`, equal to
    `lax.conv_general_dilated` with as many feature groups as channels; arguments as those of
    `common.ops.convolutions.conv`.
    """
    pads = forward_pads(x, kernel, stride, padding)
    if form_on_target(form) == "lax":
        return lax.conv_general_dilated(
            x,
            kernel,
            (stride, stride),
            pads,
            dimension_numbers=LAYOUT,
            feature_group_count=x.shape[-1],
        )
    return _depthwise(x, kernel, stride, pads)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _depthwise(x: Array, kernel: Array, stride: int, pads: Pairs) -> Array:
    y: Array = _sum_of_taps(pad(x, *pads), kernel, stride)
    return y


def _toward_x(stride: int, pads: Pairs, factors: Factors, cotangent: Array) -> Array:
    """Returns the cotangent, dilated, under the kernel reversed in both directions."""
    x, kernel = factors
    sizes = zip(kernel.shape, pads, x.shape[1:3], cotangent.shape[1:3], strict=False)
    around = [
        (size - 1 - low, inner + low - stride * (outer - 1) - 1, stride - 1)
        for size, (low, _), inner, outer in sizes
    ]
    dilated = lax.pad(cotangent, jnp.zeros((), x.dtype), ((0, 0, 0), *around, (0, 0, 0)))
    gradient: Array = _sum_of_taps(dilated, kernel[::-1, ::-1], 1)
    return gradient


def _toward_kernel(stride: int, pads: Pairs, factors: Factors, cotangent: Array) -> Array:
    """Returns the kernel's gradient, a sum over shifted images, too."""
    x, kernel = factors
    rows, columns, _, channels = kernel.shape
    padded, shape = pad(x, *pads), (cotangent.shape[1], cotangent.shape[2])
    taps = [
        _sum_of_products(_tap(padded, a, b, shape, stride), cotangent)
        for a in range(rows)
        for b in range(columns)
    ]
    return jnp.stack(taps).astype(kernel.dtype).reshape(rows, columns, 1, channels)


set_gradients(_depthwise, _toward_x, _toward_kernel)


@partial(jax.jit, static_argnums=2)  # traced once for all layers of one shape
def _sum_of_taps(padded: Array, kernel: Array, stride: int) -> Array:
    rows, columns, _, channels = kernel.shape
    height = (padded.shape[1] - rows) // stride + 1
    width = (padded.shape[2] - columns) // stride + 1
    shape = (len(padded), height, width, channels)
    exact = jnp.promote_types(padded.dtype, jnp.float32)  # bfloat16 would round each of the sums
    kernel = kernel.astype(exact)
    total = jnp.zeros(shape, exact)
    # `lax`'s products and sums, since those of `jnp` take several times as long to trace.
    for a in range(rows):
        for b in range(columns):
            tap = _tap(padded, a, b, (height, width), stride).astype(exact)
            weights = lax.slice(kernel, (a, b, 0, 0), (a + 1, b + 1, 1, channels))
            total = lax.add(total, lax.mul(tap, lax.broadcast_in_dim(weights, shape, range(4))))
    return total.astype(padded.dtype)


def _tap(padded: Array, row: int, column: int, shape: tuple[int, int], stride: int) -> Array:
    """Returns the pixels that one weight of the kernel multiplies."""
    last_row, last_column = (
        first + stride * (n - 1) + 1 for first, n in zip((row, column), shape, strict=True)
    )
    ends = (len(padded), last_row, last_column, padded.shape[-1])
    return lax.slice(padded, (0, row, column, 0), ends, (1, stride, stride, 1))


def _sum_of_products(x: Array, y: Array) -> Array:
    """Sums x y over all but the channels.

    XLA sums in scalars if the same loop computes the summands. Instead a vectorised loop adds up
    parts of the batch, or of the height; the rest is a product with ones.
    """
    exact = jnp.promote_types(x.dtype, jnp.float32)
    x, y = x.astype(exact), y.astype(exact)
    axis = max((0, 1), key=lambda axis: math.gcd(x.shape[axis], thresholds.PARTS))
    parts = math.gcd(x.shape[axis], thresholds.PARTS)
    pairs = zip(jnp.split(x, parts, axis), jnp.split(y, parts, axis), strict=True)
    products = sum(left * right for left, right in pairs)
    rows = jnp.reshape(products, (-1, x.shape[-1]))
    return jnp.ones(len(rows), exact) @ rows
