"""Strided convolutions and their transposes, in the forms that are fastest on a CPU.

A transposed convolution is the gradient of a strided one and vice versa. With 4x4 kernels and
stride 2, which halve and double an image, both are 2x2 convolutions of stride 1, in Winograd's form
if there are many channels: halving takes the image's 2x2 blocks as channels, doubling computes the
output's even and odd rows and columns separately. Each takes its gradients from the other, and
other transposed convolutions from the strided one, so that XLA sees no dilated image; strided ones
with other kernels, or few channels, are left to XLA. With kernels as large as the stride both are
products.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array

from common.ops import thresholds
from common.ops.blocks import (
    Kernel,
    Pairs,
    depth_to_space,
    lax_conv,
    pad,
    pairs,
    pointwise,
    project,
    set_gradients,
    space_to_depth,
)
from common.ops.winograd import conv_winograd, fills_tiles, kernel_gradient

_NONE = ((0, 0), (0, 0))


def strided_conv(x: Array, kernel: Array, stride: int, pads: Pairs) -> Array:
    """See `common.ops.convolutions.conv`."""
    if kernel.shape[:2] == (stride, stride):
        return _gather_blocks(x, kernel, stride, pads)
    return _strided(x, Kernel(kernel), stride, pads)


def transposed_conv(x: Array, kernel: Array, stride: int, pads: Pairs) -> Array:
    """See `common.ops.convolutions.conv_transpose`."""
    if kernel.shape[:2] == (stride, stride):
        return _spread_apart(x, kernel, stride, pads)
    return _transposed(x, Kernel(kernel), stride, pads)


# Windows that do not overlap: products, with the gradients of products.


def _gather_blocks(x: Array, kernel: Array, size: int, pads: Pairs) -> Array:
    """Maps each block of the image to one pixel."""
    whole = pairs(
        (low, (n + low + high) // size * size - n - low)
        for n, (low, high) in zip(x.shape[1:3], pads, strict=True)
    )
    return pointwise(space_to_depth(pad(x, *whole), size), kernel.reshape(-1, kernel.shape[3]))


def _spread_apart(x: Array, kernel: Array, size: int, pads: Pairs) -> Array:
    """Maps each pixel to one block of the output."""
    (top, bottom), (left, right) = pads
    taps = kernel[::-1, ::-1].transpose(2, 0, 1, 3).reshape(kernel.shape[2], -1)
    rows, columns = (top + 1 - size, bottom + 1 - size), (left + 1 - size, right + 1 - size)
    return pad(depth_to_space(pointwise(x, taps), size), rows, columns)


# Windows that overlap: each one's gradients are the other, with the same kernel transposed.


def _strided(x: Array, kernel: Kernel, stride: int, pads: Pairs) -> Array:
    if (
        _is_4x4_by_2(kernel, stride)
        and min(kernel.channels, kernel.features) >= thresholds.MANY_CHANNELS
        and fills_tiles(x, _halved(x, pads))
    ):
        return _halve(x, kernel, pads)
    return lax_conv(x, kernel.plain, stride, pads)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _transposed(x: Array, kernel: Kernel, stride: int, pads: Pairs) -> Array:
    if (
        _is_4x4_by_2(kernel, stride)
        and kernel.channels >= thresholds.MANY_CHANNELS
        and kernel.features >= thresholds.MANY_FEATURES
        and fills_tiles(x, (x.shape[1], x.shape[2]))
    ):
        return _double(x, kernel, pads)
    if x.shape[1:3] == (1, 1):
        return _spread_pixel(x, kernel.plain, pads)
    return _spread_blocks(x, kernel.plain, stride, pads)


def _transposed_toward_x(
    stride: int, pads: Pairs, factors: tuple[Array, Kernel], cotangent: Array
) -> Array:
    """Returns the strided convolution that maps outputs to inputs."""
    x, kernel = factors
    sizes = zip(kernel.array.shape, pads, x.shape[1:3], cotangent.shape[1:3], strict=False)
    back = pairs(
        (k - 1 - low, (inner - 1) * stride + low + 1 - outer) for k, (low, _), inner, outer in sizes
    )
    return _strided(cotangent, kernel.transpose, stride, back)


def _transposed_toward_kernel(
    stride: int, pads: Pairs, factors: tuple[Array, Kernel], cotangent: Array
) -> Kernel:
    """Returns the gradient of the strided convolution's kernel with x as its cotangent.

    y is linear in x, `<y, c> = <x, strided(c, kernel)>`.
    """
    x, kernel = factors
    _, pullback = jax.vjp(
        lambda kernel: _transposed_toward_x(stride, pads, (x, kernel), cotangent), kernel
    )
    gradient: Kernel = pullback(x)[0]
    return gradient


set_gradients(_transposed, _transposed_toward_x, _transposed_toward_kernel)


# Halving: 4x4 and stride 2.


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _halve(x: Array, kernel: Kernel, pads: Pairs) -> Array:
    """Convolves the image's 2x2 blocks."""
    taps = _block_taps(kernel)
    return conv_winograd(_in_blocks(x, pads), taps, None, _NONE)


def _halve_toward_x(pads: Pairs, factors: tuple[Array, Kernel], cotangent: Array) -> Array:
    x, kernel = factors
    sizes = zip(x.shape[1:3], cotangent.shape[1:3], pads, strict=True)
    back = pairs((3 - low, outer + 1 - 2 * inner + low) for outer, inner, (low, _) in sizes)
    gradient: Array = _transposed(cotangent, kernel.transpose, 2, back)
    return gradient


def _halve_toward_kernel(pads: Pairs, factors: tuple[Array, Kernel], cotangent: Array) -> Kernel:
    x, kernel = factors
    taps = kernel_gradient(_in_blocks(x, pads), cotangent, 2, _NONE, kernel.transposed)
    gradient: Kernel = jax.linear_transpose(_block_taps, kernel)(taps)[0]
    return gradient


set_gradients(_halve, _halve_toward_x, _halve_toward_kernel)


def _block_taps(kernel: Kernel) -> Kernel:
    """Returns the 2x2 taps of a 4x4 kernel on 2x2 blocks: channels are (row, column, channel).

    Those of a transposed kernel are transposed, too; rotated as a whole, their pixels come in the
    opposite order.
    """
    pixels = kernel.array.reshape(2, 2, 2, 2, *kernel.array.shape[2:])
    if kernel.transposed:
        taps = pixels[:, ::-1, :, ::-1].transpose(0, 2, 4, 1, 3, 5)
        return Kernel(taps.reshape(2, 2, kernel.features, -1), transposed=True)
    return Kernel(pixels.transpose(0, 2, 1, 3, 4, 5).reshape(2, 2, -1, kernel.features))


def _is_4x4_by_2(kernel: Kernel, stride: int) -> bool:
    return bool(kernel.array.shape[:2] == (4, 4)) and stride == 2


def _halved(x: Array, pads: Pairs) -> tuple[int, int]:
    """Returns height and width of the output."""
    height, width = ((n + sum(p) - 4) // 2 + 1 for n, p in zip(x.shape[1:3], pads, strict=True))
    return height, width


def _in_blocks(x: Array, pads: Pairs) -> Array:
    """Returns the 2x2 blocks of the padded image that windows cover, as channels."""
    sizes = zip(x.shape[1:3], _halved(x, pads), pads, strict=True)
    cut = pairs((low, 2 * out + 2 - low - size) for size, out, (low, _) in sizes)
    return space_to_depth(pad(x, *cut), 2)


# Doubling and other transposed convolutions.


def _double(x: Array, kernel: Kernel, pads: Pairs) -> Array:
    """Convolves with every other tap, once for each of the even and odd rows and columns.

    Row j = 2 t + p of the output uses the taps a for which the dilated image's rows j + a - low are
    even, the rows 2 i of x: every other tap from `(low + p) % 2` on; for a transposed kernel, whose
    taps are rotated, the others.
    """
    sides = [2 * n + sum(p) - 4 for n, p in zip(x.shape[1:3], pads, strict=True)]

    def phase(parity: int, axis: int) -> tuple[int, tuple[int, int]]:
        """Returns the first tap, and the padding of x."""
        low, size = pads[axis][0], x.shape[1 + axis]
        first = (low + parity) % 2
        before = (low - parity - first) // 2
        return first, (before, -(-sides[axis] // 2) + 1 - size - before)

    def of(row: int, column: int) -> Array:
        (top, rows), (left, columns) = phase(row, 0), phase(column, 1)
        if kernel.transposed:
            top, left = 1 - top, 1 - left
        taps = Kernel(kernel.array[top::2, left::2], kernel.transposed)
        return conv_winograd(x, taps, None, (rows, columns))

    # [batch, rows, 2, columns, 2, features]
    whole = jnp.stack([jnp.stack([of(row, 0), of(row, 1)], 3) for row in (0, 1)], 2)
    height, width = (-(-side // 2) * 2 for side in sides)
    return whole.reshape(len(x), height, width, kernel.features)[:, : sides[0], : sides[1]]


def _spread_pixel(x: Array, kernel: Array, pads: Pairs) -> Array:
    """Spreads images of one pixel: a product."""
    height, width, _, features = kernel.shape
    (top, bottom), (left, right) = pads
    image = project(x, kernel[::-1, ::-1]).reshape(-1, height, width, features)
    rows, columns = 1 - height, 1 - width
    return pad(image, (top + rows, bottom + rows), (left + columns, right + columns))


def _spread_blocks(x: Array, kernel: Array, stride: int, pads: Pairs) -> Array:
    """Maps each pixel and its neighbours to one block of the output.

    This is a convolution of stride 1 whose features are the pixels of the block. The blocks
    overhang the output; the overhang is cut off.
    """
    height, width, channels, _ = kernel.shape
    (top, bottom), (left, right) = pads
    blocks = _kernel_in_blocks(kernel[::-1, ::-1], stride)[::-1, :, ::-1]
    rows, _, columns, _, _, _ = blocks.shape
    blocks = blocks.transpose(0, 2, 4, 1, 3, 5).reshape(rows, columns, channels, -1)
    image = lax_conv(x, blocks, 1, ((rows - 1,) * 2, (columns - 1,) * 2))
    return pad(
        depth_to_space(image, stride),
        (top - height + 1, bottom - stride * rows + 1),
        (left - width + 1, right - stride * columns + 1),
    )


def _kernel_in_blocks(kernel: Array, stride: int) -> Array:
    """Cuts a kernel, zeros appended, into [rows, stride, columns, stride, channels, features]."""
    height, width, channels, features = kernel.shape
    rows, columns = -(-height // stride), -(-width // stride)
    spare = ((0, rows * stride - height), (0, columns * stride - width), (0, 0), (0, 0))
    return jnp.pad(kernel, spare).reshape(rows, stride, columns, stride, channels, features)
