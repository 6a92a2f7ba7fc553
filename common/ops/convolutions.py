"""Convolutions as pure functions, each in the form that is fastest on the platform at hand.

Images are NHWC; kernels are HWIO, the layout of Flax and Keras, so that weights can be exchanged.
Every function equals its plain `jax.lax` form, gradients included, in every floating dtype.

On an accelerator the plain form is used. On a CPU, XLA reaches the machine's peak in matrix
products and in most convolutions and their gradients, including strided ones; it is slow where

- an image is dilated: transposed convolutions, 4x4 ones of stride 2 and ones with a kernel as
  large as the stride have their own forms, with gradients (`common/ops/strided.py`);
- a kernel is one pixel: a product, with gradients;
- every output sees the whole of a small image: a product, too;
- a convolution has few features: one product with all taps, then shifted sums;
- a 3x3 kernel has many channels and features: Winograd's form, with gradients
  (`common/ops/winograd.py`), needs a quarter of the multiplications;
- the gradient of another kernel is taken: one-dimensional convolutions along the rows, with batch
  and height as their channels.

A convolution with very many taps goes through the Fourier domain on every platform
(`common/ops/fourier.py`).

`bench/results/` has the measured times.
"""

from collections.abc import Sequence
from functools import partial
from typing import TypeAlias

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from common.ops import thresholds
from common.ops.blocks import (
    LAYOUT,
    Factors,
    Kernel,
    Pairs,
    lax_conv,
    mirrored,
    outer_sum,
    pad,
    pairs,
    pointwise,
    project,
    set_gradients,
)
from common.ops.forms import Form, form_on_target, plain_is_asked_for
from common.ops.fourier import conv_fourier
from common.ops.strided import strided_conv, transposed_conv
from common.ops.winograd import conv_winograd, fills_tiles

Padding: TypeAlias = str | Sequence[tuple[int, int]]


def conv(
    x: Float[Array, "batch height width channels"],
    kernel: Float[Array, "kernel_height kernel_width channels features"],
    stride: int = 1,
    padding: Padding = "SAME",
    form: Form = "auto",
    bias: Float[Array, " features"] | None = None,
) -> Float[Array, "batch out_height out_width features"]:
    """Convolves images with a kernel (cross-correlation, as usual in this field).

    `y[i, j] = sum_ab x[s i + a - low_h, s j + b - low_w] kernel[a, b] + bias`, equal to
    `lax.conv_general_dilated` and a sum.

    Args:
        x: images.
        kernel: the weights.
        stride: s, the same in both directions.
        padding: "SAME" (out = ceil(in / s); an odd row of padding goes below and to the right, as
            in TensorFlow and Flax), "VALID", or explicit ((top, bottom), (left, right)).
        form: "auto" chooses by platform; tests and benchmarks name one.
        bias: added to each output channel; None adds nothing.
    """
    pads = forward_pads(x, kernel, stride, padding)
    if form_on_target(form) == "products" and stride == 1 and _winograd_pays(x, kernel, pads):
        # Added tile by tile: otherwise XLA would keep the outputs with and without the bias.
        return conv_winograd(x, Kernel(kernel), bias, pads)
    y = _without_bias(x, kernel, stride, pads, form)
    return y if bias is None else y + bias


def _without_bias(x: Array, kernel: Array, stride: int, pads: Pairs, form: Form) -> Array:
    many_taps = kernel.shape[0] * kernel.shape[1] >= thresholds.MANY_TAPS
    if form != "lax" and not plain_is_asked_for() and stride == 1 and many_taps:
        return conv_fourier(x, kernel, pads)
    if form_on_target(form) == "lax":
        return lax_conv(x, kernel, stride, pads)
    if kernel.shape[:2] == (1, 1) and pads == ((0, 0), (0, 0)):
        return pointwise(x[:, ::stride, ::stride], kernel.reshape(kernel.shape[2:]))
    if stride > 1:
        return strided_conv(x, kernel, stride, pads)
    if _all_see_all(x, kernel, pads):
        return _conv_of_all(x, kernel, pads)
    return _conv_on_cpu(x, kernel, pads)


def _conv_on_cpu(x: Array, kernel: Array, pads: Pairs) -> Array:
    """Convolves with stride 1 in the fastest form other than Winograd's."""
    if _few_features(kernel):
        return _conv_to_few(x, kernel, pads)
    if _many_channels(kernel):
        return _conv_of_many(x, kernel, pads)
    return lax_conv(x, kernel, 1, pads)


def conv_transpose(
    x: Float[Array, "batch height width channels"],
    kernel: Float[Array, "kernel_height kernel_width channels features"],
    stride: int = 2,
    padding: Padding = "SAME",
    form: Form = "auto",
) -> Float[Array, "batch out_height out_width features"]:
    """Spreads each pixel over a window of the output: the transposed convolution of Flax.

    `y[s i + low_h - a, s j + low_w - b] += x[i, j] kernel[a, b]`, equal to `lax.conv_transpose`.
    PyTorch's `ConvTranspose2d(4, stride=2, padding=1)` is "SAME" here, with its kernel reversed in
    both directions: `weight.permute(2, 3, 0, 1).flip(0, 1)`; Keras' `Conv2DTranspose` likewise with
    its last two axes swapped.

    Args:
        x: images.
        kernel: the weights.
        stride: s, the same in both directions.
        padding: "SAME" (out = s in), "VALID" (out = s (in - 1) + max(k, s)), or explicit pairs
            that pad the image after it has been dilated by s, as in `lax.conv_transpose`.
        form: "auto" chooses by platform; tests and benchmarks name one.
    """
    pads = _backward_pads(kernel, stride, padding)
    if form_on_target(form) == "lax":
        return lax.conv_transpose(x, kernel, (stride, stride), pads, dimension_numbers=LAYOUT)
    return transposed_conv(x, kernel, stride, pads)


# The convolution whose outputs see the whole image.


def _all_see_all(x: Array, kernel: Array, pads: Pairs) -> bool:
    """Returns whether every output sees every pixel, as through 3x3 taps on 2x2 pixels.

    Output i sees pixel p through tap `p - i + low`; there are `size + low + high - taps + 1`.
    """
    sizes = zip(x.shape[1:3], kernel.shape, pads, strict=False)
    return all(size + max(around) <= taps <= size + sum(around) for size, taps, around in sizes)


def _conv_of_all(x: Array, kernel: Array, pads: Pairs) -> Array:
    """Convolves with stride 1: one product of whole images with a matrix of all outputs."""
    batch, height, width, channels = x.shape
    (top, bottom), (left, right) = pads
    rows, columns, _, features = kernel.shape
    out_height = height + top + bottom - rows + 1
    out_width = width + left + right - columns + 1
    seen = [
        kernel[top - i : top - i + height, left - j : left - j + width]
        for i in range(out_height)
        for j in range(out_width)
    ]
    matrix = jnp.stack(seen, 3).reshape(height * width * channels, -1)
    y = pointwise(x.reshape(batch, -1), matrix)
    return y.reshape(batch, out_height, out_width, features)


# The convolution to few features, with its gradients.


def _few_features(kernel: Array) -> bool:
    """Returns whether a kernel has too few outputs to fill the vectors of XLA's convolution."""
    few = kernel.shape[3] <= thresholds.FEW_FEATURES
    return few and kernel.shape[2] >= thresholds.ENOUGH_CHANNELS


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _conv_to_few(x: Array, kernel: Array, pads: Pairs) -> Array:
    """Convolves with stride 1: one product with all taps, then a sum of the shifted results."""
    rows, columns, _, features = kernel.shape
    taps = pad(project(x, kernel), *pads)
    height, width = taps.shape[1] - rows + 1, taps.shape[2] - columns + 1
    corners = [(a, b) for a in range(rows) for b in range(columns)]
    total = jnp.zeros((x.shape[0], height, width, features), taps.dtype)
    for tap, (a, b) in enumerate(corners):
        here = slice(tap * features, (tap + 1) * features)
        total = total + taps[:, a : a + height, b : b + width, here]
    return total


def _few_toward_kernel(pads: Pairs, factors: Factors, cotangent: Array) -> Array:
    """Returns the kernel's gradient from the windows of the cotangent, which are small."""
    x, kernel = factors
    rows, columns, channels, _ = kernel.shape
    windows = _windows(cotangent, rows, columns, _pads_back(kernel, pads))
    gradient: Array = outer_sum(x, windows).reshape(channels, rows, columns, -1)
    return gradient.transpose(1, 2, 0, 3)[::-1, ::-1]


def _toward_x(pads: Pairs, factors: Factors, cotangent: Array) -> Array:
    """Returns the gradient of the images of a convolution with stride 1."""
    kernel = factors[1]
    return lax_conv(cotangent, mirrored(kernel), 1, _pads_back(kernel, pads))


def _pads_back(kernel: Array, pads: Pairs) -> Pairs:
    """Returns the padding of the cotangent with which it gives the images' gradient."""
    return pairs(
        (k - 1 - low, k - 1 - high) for k, (low, high) in zip(kernel.shape, pads, strict=False)
    )


set_gradients(_conv_to_few, _toward_x, _few_toward_kernel)


# The convolution of many channels, with its gradients.


def _many_channels(kernel: Array) -> bool:
    """Returns whether the gradient of a kernel is faster by rows."""
    rows, columns, channels, features = kernel.shape
    return rows * columns > 1 and min(channels, features) >= thresholds.MANY_CHANNELS


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _conv_of_many(x: Array, kernel: Array, pads: Pairs) -> Array:
    return lax_conv(x, kernel, 1, pads)


def _many_toward_kernel(pads: Pairs, factors: Factors, cotangent: Array) -> Array:
    """Returns the gradient of a kernel, `sum_nij x[n, i + a - top, j + b - left] c[n, i, j]`.

    Each of its rows a is a convolution along the image's rows, with batch and height together as
    channels: long runs, where XLA's own form gathers runs as short as the batch, at a fifth to a
    half of the speed.
    """
    x, kernel = factors
    rows, (batch, height, width, channels) = len(kernel), x.shape
    _, out_height, out_width, features = cotangent.shape
    (top, _), columns = pads
    images = x.transpose(3, 2, 1, 0).reshape(channels, width, height * batch)
    shifted = lax.pad(
        cotangent.transpose(2, 1, 0, 3),
        jnp.zeros((), cotangent.dtype),
        ((0, 0, 0), (rows - 1 - top, height + top - out_height, 0), (0, 0, 0), (0, 0, 0)),
    )
    shifted = lax.optimization_barrier(shifted)  # transposed once, not in each row
    of_rows = [
        lax.conv_general_dilated(
            images,
            shifted[:, start : start + height].reshape(out_width, height * batch, features),
            (1,),
            (columns,),
            dimension_numbers=("NWC", "WIO", "NWC"),
        )
        for start in reversed(range(rows))
    ]
    return jnp.stack(of_rows).swapaxes(1, 2)


set_gradients(_conv_of_many, _toward_x, _many_toward_kernel)


# Winograd's form.


def _winograd_pays(x: Array, kernel: Array, pads: Pairs) -> bool:
    """Returns whether Winograd's form is faster."""
    rows, columns, channels, features = kernel.shape
    if (rows, columns) != (3, 3) or min(channels, features) < thresholds.MANY_CHANNELS:
        return False
    height, width = (n + sum(p) - 2 for n, p in zip(x.shape[1:3], pads, strict=True))
    return height * width >= thresholds.MANY_PIXELS and fills_tiles(x, (height, width))


def _windows(x: Array, rows: int, columns: int, pads: Pairs) -> Array:
    """Returns the pixels of each rows x columns window side by side as channels."""
    x = pad(x, *pads)
    height, width = x.shape[1] - rows + 1, x.shape[2] - columns + 1
    windows = [x[:, a : a + height, b : b + width] for a in range(rows) for b in range(columns)]
    return jnp.concatenate(windows, -1)


def _transpose_pads(size: int, stride: int, padding: str) -> tuple[int, int]:
    """Returns the padding of the dilated image that `lax.conv_transpose` derives from a name."""
    if padding == "VALID":
        total, low = size + stride - 2 + max(size - stride, 0), size - 1
    elif padding == "SAME":
        total = size + stride - 2
        low = size - 1 if stride > size - 1 else -(-total // 2)
    else:
        raise ValueError(f'padding is {padding!r}; it must be "SAME", "VALID" or pairs of numbers')
    return low, total - low


def forward_pads(x: Array, kernel: Array, stride: int, padding: Padding) -> Pairs:
    """Returns the padding of a convolution as pairs."""
    if isinstance(padding, str):
        padding = lax.padtype_to_pads(x.shape[1:3], kernel.shape[:2], (stride, stride), padding)
    return pairs(padding)


def _backward_pads(kernel: Array, stride: int, padding: Padding) -> Pairs:
    """Returns the padding of a transposed convolution as pairs."""
    if isinstance(padding, str):
        padding = [_transpose_pads(size, stride, padding) for size in kernel.shape[:2]]
    return pairs(padding)
