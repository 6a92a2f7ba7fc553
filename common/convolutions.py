"""Convolutions as pure functions, each in the form that is fastest on the platform at hand.

Images are NHWC; kernels are HWIO, the layout of Flax and Keras, so that weights can be exchanged.
Every function equals its plain `jax.lax` form, gradients included, in every floating dtype.

On an accelerator the plain form is used. XLA's CPU backend reaches the peak of the machine in
stride-1 convolutions and in matrix products, and is slow at strided and dilated convolutions and
at their gradients; there every function is rewritten in terms of those two:

- a convolution of stride s is one of stride 1 on the image cut into s x s blocks (the pixels of a
  block become channels), a transposed convolution is the same read backwards;
- upsampling followed by a 3x3 convolution needs nine products per small pixel, see `upsample_conv`;
- the gradient of a kernel is a matrix product of patches and cotangents.

`bench/layers.py` measures both forms at the shapes of this project's networks.
"""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

Form = Literal["auto", "lax", "products"]
Pairs = tuple[tuple[int, int], tuple[int, int]]
Padding = str | Sequence[tuple[int, int]]

LAYOUT = ("NHWC", "HWIO", "NHWC")


def form_on_this_platform(form: Form = "auto") -> Literal["lax", "products"]:
    """Names the form that a function takes: `form` itself unless that is "auto".

    This is the only place that asks which platform the program runs on; it is asked at trace time.
    """
    if form == "auto":
        return "products" if jax.default_backend() == "cpu" else "lax"
    return form


def conv(
    x: Float[Array, "batch height width channels"],
    kernel: Float[Array, "kernel_height kernel_width channels features"],
    stride: int = 1,
    padding: Padding = "SAME",
    form: Form = "auto",
) -> Float[Array, "batch out_height out_width features"]:
    """Convolves images with a kernel (cross-correlation, as everywhere in this field).

    `y[i, j] = sum_ab x[s i + a - low_h, s j + b - low_w] kernel[a, b]`, equal to
    `lax.conv_general_dilated`.

    Args:
        x: images.
        kernel: the weights.
        stride: s, the same in both directions.
        padding: "SAME" (out = ceil(in / s); the odd row of padding goes below and to the right, as
            in TensorFlow and Flax), "VALID", or explicit ((top, bottom), (left, right)).
        form: "auto" chooses by platform; tests and benchmarks name one.
    """
    pads = _forward_pads(x, kernel, stride, padding)
    if form_on_this_platform(form) == "lax":
        return lax_conv(x, kernel, stride, pads)
    if stride == 1:
        return _correlate(x, kernel, pads)
    blocks = _kernel_in_blocks(kernel, stride)
    rows, _, columns, _, _, features = blocks.shape
    blocks = blocks.swapaxes(1, 2).reshape(rows, columns, -1, features)
    exact = []
    for size, (low, high), k, steps in zip(
        x.shape[1:3], pads, kernel.shape[:2], (rows, columns), strict=True
    ):
        needed = ((size + low + high - k) // stride + steps) * stride
        exact.append((low, needed - size - low))
    image = space_to_depth(pad(x, *_pairs(exact)), stride)
    return _correlate(image, blocks, ((0, 0), (0, 0)))


def conv_transpose(
    x: Float[Array, "batch height width channels"],
    kernel: Float[Array, "kernel_height kernel_width channels features"],
    stride: int = 2,
    padding: Padding = "SAME",
    form: Form = "auto",
) -> Float[Array, "batch out_height out_width features"]:
    """Spreads each pixel over a window of the output: the transposed convolution of Flax.

    `y[s i + low_h - a, s j + low_w - b] += x[i, j] kernel[a, b]`, equal to `lax.conv_transpose`.
    PyTorch's `ConvTranspose2d(4, stride=2, padding=1)` is "SAME" here, its kernel reversed in both
    directions: `weight.permute(2, 3, 0, 1).flip(0, 1)`; Keras' `Conv2DTranspose` likewise with
    its last two axes exchanged.

    Args:
        x: images.
        kernel: the weights.
        stride: s, the same in both directions.
        padding: "SAME" (out = s in), "VALID" (out = s (in - 1) + max(k, s)), or explicit pairs
            that pad the image after it has been dilated by s, as in `lax.conv_transpose`.
        form: "auto" chooses by platform; tests and benchmarks name one.
    """
    pads = _backward_pads(kernel, stride, padding)
    if form_on_this_platform(form) == "lax":
        return lax.conv_transpose(x, kernel, (stride, stride), pads, dimension_numbers=LAYOUT)
    backwards = kernel[::-1, ::-1]
    height, width, channels, features = kernel.shape
    (top, bottom), (left, right) = pads
    if x.shape[1:3] == (1, 1):
        image = _project(x, backwards).reshape(-1, height, width, features)
        return pad(
            image, (top - height + 1, bottom - height + 1), (left - width + 1, right - width + 1)
        )
    # Each pixel and its neighbours make one block of the output: a stride-1 convolution whose
    # features are the pixels of the block. The blocks overhang the output; the rest is cut off.
    blocks = _kernel_in_blocks(backwards, stride)[::-1, :, ::-1]
    rows, _, columns, _, _, _ = blocks.shape
    blocks = blocks.transpose(0, 2, 4, 1, 3, 5).reshape(rows, columns, channels, -1)
    image = depth_to_space(_correlate(x, blocks, ((rows - 1,) * 2, (columns - 1,) * 2)), stride)
    return pad(
        image,
        (top - height + 1, bottom - stride * rows + 1),
        (left - width + 1, right - stride * columns + 1),
    )


# The stride-1 convolution, with its gradients.


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _correlate(x: Array, kernel: Array, pads: Pairs) -> Array:
    """Convolves with stride 1; the gradients are convolutions and products, never dilated."""
    if _few_features(kernel):
        return _sum_of_taps(x, kernel, pads)
    return lax_conv(x, kernel, 1, pads)


def _correlate_forward(x: Array, kernel: Array, pads: Pairs) -> tuple[Array, tuple[Array, Array]]:
    return _correlate(x, kernel, pads), (x, kernel)


def _correlate_backward(
    pads: Pairs, residuals: tuple[Array, Array], cotangent: Array
) -> tuple[Array, Array]:
    x, kernel = residuals
    rows, columns = kernel.shape[:2]
    mirrored = _pairs(
        (k - 1 - low, k - 1 - high) for k, (low, high) in zip((rows, columns), pads, strict=True)
    )
    flipped = kernel[::-1, ::-1].swapaxes(2, 3)
    toward_x = _correlate(cotangent, flipped, mirrored)
    if _few_features(kernel):
        patches = _patches(cotangent, rows, columns, mirrored)
        toward_kernel = outer_sum(x, patches).reshape(x.shape[-1], rows, columns, -1)
        return toward_x, toward_kernel.transpose(1, 2, 0, 3)[::-1, ::-1]
    _, pullback = jax.vjp(lambda kernel: lax_conv(x, kernel, 1, pads), kernel)
    return toward_x, pullback(cotangent)[0]


_correlate.defvjp(_correlate_forward, _correlate_backward)


def _few_features(kernel: Array) -> bool:
    """Whether a kernel has so few outputs that XLA's convolution cannot fill its vectors."""
    return kernel.shape[3] < 8 <= kernel.shape[2]


def _sum_of_taps(x: Array, kernel: Array, pads: Pairs) -> Array:
    """Convolves as one product with all taps, then adds the shifted results."""
    rows, columns = kernel.shape[:2]
    products = pad(_project(x, kernel), *pads)
    height, width = products.shape[1] - rows + 1, products.shape[2] - columns + 1
    features = kernel.shape[3]
    return sum(
        products[:, a : a + height, b : b + width, start : start + features]
        for a in range(rows)
        for b in range(columns)
        for start in ((a * columns + b) * features,)
    )


# Building blocks.


def pad(x: Array, rows: tuple[int, int], columns: tuple[int, int]) -> Array:
    """Pads images with zeros; a negative number crops."""
    return lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), (*rows, 0), (*columns, 0), (0, 0, 0)))


def matmul(x: Array, matrix: Array) -> Array:
    """Multiplies the channels of every pixel with a matrix [channels, features]."""
    return lax.dot_general(x, matrix, (((x.ndim - 1,), (0,)), ((), ())))


def matmul_transposed(x: Array, matrix: Array) -> Array:
    """Multiplies the channels of every pixel with the transpose of a matrix."""
    return lax.dot_general(x, matrix, (((x.ndim - 1,), (1,)), ((), ())))


def outer_sum(x: Array, y: Array) -> Array:
    """Sums the outer products of two images' channels over all pixels.

    Written as a contraction of the first axes: where XLA differentiates a product by itself it
    first copies one of the two into a transposed layout.
    """
    x, y = (part.reshape(-1, part.shape[-1]) for part in (x, y))
    return lax.dot_general(x, y, (((0,), (0,)), ((), ())))


def space_to_depth(x: Array, size: int) -> Array:
    """Turns the pixels of each size x size block into channels: (row, column, channel)."""
    batch, height, width, channels = x.shape
    rows, columns = height // size, width // size
    blocks = x.reshape(batch, rows, size, columns, size, channels).swapaxes(2, 3)
    return blocks.reshape(batch, rows, columns, size * size * channels)


def depth_to_space(x: Array, size: int) -> Array:
    """Undoes `space_to_depth`."""
    batch, rows, columns, depth = x.shape
    blocks = x.reshape(batch, rows, columns, size, size, depth // size**2).swapaxes(2, 3)
    return blocks.reshape(batch, rows * size, columns * size, depth // size**2)


def lax_conv(x: Array, kernel: Array, stride: int, pads: Pairs) -> Array:
    """Convolves in the plain form."""
    return lax.conv_general_dilated(x, kernel, (stride, stride), pads, dimension_numbers=LAYOUT)


def _patches(x: Array, rows: int, columns: int, pads: Pairs) -> Array:
    """Puts the pixels of each rows x columns window side by side on the channels."""
    x = pad(x, *pads)
    height, width = x.shape[1] - rows + 1, x.shape[2] - columns + 1
    windows = [x[:, a : a + height, b : b + width] for a in range(rows) for b in range(columns)]
    return jnp.concatenate(windows, -1)


def _project(x: Array, kernel: Array) -> Array:
    """Multiplies every pixel with every tap: [..., rows * columns * features]."""
    return matmul(x, kernel.transpose(2, 0, 1, 3).reshape(kernel.shape[2], -1))


def _kernel_in_blocks(kernel: Array, stride: int) -> Array:
    """Cuts a kernel, zeros appended, into [rows, stride, columns, stride, channels, features]."""
    height, width, channels, features = kernel.shape
    rows, columns = -(-height // stride), -(-width // stride)
    spare = ((0, rows * stride - height), (0, columns * stride - width), (0, 0), (0, 0))
    return jnp.pad(kernel, spare).reshape(rows, stride, columns, stride, channels, features)


def _transpose_pads(size: int, stride: int, padding: str) -> tuple[int, int]:
    """Gives the padding of the dilated image that `lax.conv_transpose` derives from a name."""
    if padding == "VALID":
        total, low = size + stride - 2 + max(size - stride, 0), size - 1
    elif padding == "SAME":
        total = size + stride - 2
        low = size - 1 if stride > size - 1 else -(-total // 2)
    else:
        raise ValueError(f'padding is "SAME", "VALID" or pairs of numbers, not {padding!r}')
    return low, total - low


def _forward_pads(x: Array, kernel: Array, stride: int, padding: Padding) -> Pairs:
    """Gives the padding of a convolution as pairs."""
    if isinstance(padding, str):
        padding = lax.padtype_to_pads(x.shape[1:3], kernel.shape[:2], (stride, stride), padding)
    return _pairs(padding)


def _backward_pads(kernel: Array, stride: int, padding: Padding) -> Pairs:
    """Gives the padding of a transposed convolution as pairs."""
    if isinstance(padding, str):
        padding = [_transpose_pads(size, stride, padding) for size in kernel.shape[:2]]
    return _pairs(padding)


def _pairs(pads: Iterable[Sequence[int]]) -> Pairs:
    (top, bottom), (left, right) = pads
    return (top, bottom), (left, right)
