"""Upsampling convolution and pooling, each in the form that is fastest on the platform at hand.

See `common/ops/forms.py`, which decides the form.
"""

from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from common.ops import thresholds
from common.ops.blocks import (
    depth_to_space,
    lax_conv,
    matmul,
    matmul_transposed,
    outer_sum,
    pad,
    space_to_depth,
    zero_after,
)
from common.ops.forms import Form, form_on_target


def upsample_conv(
    x: Float[Array, "batch height width channels"],
    kernel: Float[Array, "3 3 channels features"],
    form: Form = "auto",
    bias: Float[Array, " features"] | None = None,
) -> Float[Array, "batch 2*height 2*width features"]:
    """Doubles images by repeating pixels, then convolves them 3x3 with "SAME" padding.

    Along one direction, with taps `w0, w1, w2`, their sum `S` and differences
    `d[i] = x[i-1] - x[i]` (zero outside the image), the even and odd outputs are

        y[2i] = S x[i] + w0 d[i]        y[2i+1] = S x[i] - w2 d[i+1]

    that is, three products per small pixel where the plain form has six and two-tap phase kernels
    four; in two directions nine, thirty-six and sixteen.

    Args:
        x: the small images.
        kernel: the weights of the convolution on the large images.
        form: "auto" chooses by platform; tests and benchmarks name one.
        bias: added to each output channel; None adds nothing.
    """
    if form_on_target(form) == "lax":
        large = jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)
        y = lax_conv(large, kernel, 1, ((1, 1), (1, 1)))
        return y if bias is None else y + bias
    return _upsample_correlate(x, kernel, bias)


def max_pool_2x2(
    x: Float[Array, "batch height width channels"],
    form: Form = "auto",
) -> Float[Array, "batch height//2 width//2 channels"]:
    """Returns the maximum of each 2x2 block; an odd last row or column is dropped.

    The gradient goes to the block's maximum; among equal ones to the first in reading order, as in
    `lax.reduce_window` and PyTorch, so it is never spread or counted twice.

    Args:
        x: images.
        form: "auto" chooses by platform; tests and benchmarks name one.
    """
    if form_on_target(form) == "lax":
        window = (1, 2, 2, 1)
        pooled: Array = lax.reduce_window(x, -jnp.inf, lax.max, window, window, "VALID")
        return pooled
    return _max_of_slices(x)


# The upsampling convolution, with its gradients. A loop processes the images in chunks: their
# differences and products, together three to four times the size of the output, are never in memory
# as a whole (a gradient of the gradient keeps them), and stay in a CPU's caches if the images are
# small.

_Gradients: TypeAlias = tuple[Array, tuple[Array, ...], Array | None]  # of images, taps and bias


@jax.custom_vjp
def _upsample_correlate(x: Array, kernel: Array, bias: Array | None) -> Array:
    """See `upsample_conv`."""
    batch, height, width, _ = x.shape
    taps = _tap_sums(kernel)
    size = _images_in_chunk(x.shape)

    def fill_in(index: Int[Array, ""], output: Array) -> Array:
        """Puts some images into the output."""
        parts = _differences(_chunk(x, index, size))
        y = _assembled(*(matmul(part, tap) for part, tap in zip(parts, taps, strict=True)))
        return _put_chunk(output, index, y if bias is None else y + bias)

    shape = batch, 2 * height, 2 * width, kernel.shape[-1]
    large: Array = lax.fori_loop(0, batch // size, fill_in, jnp.full(shape, zero_after(x)))
    return large


def _upsample_forward(
    x: Array, kernel: Array, bias: Array | None
) -> tuple[Array, tuple[Array, Array, Array | None]]:
    return _upsample_correlate(x, kernel, bias), (x, kernel, bias)


def _upsample_backward(
    residuals: tuple[Array, Array, Array | None], cotangent: Array
) -> tuple[Array, Array, Array | None]:
    x, kernel, bias = residuals
    wide = jnp.promote_types(x.dtype, jnp.float32)  # for sums over the chunks
    wide_taps, from_taps = jax.vjp(_tap_sums, kernel.astype(wide))
    taps = [tap.astype(x.dtype) for tap in wide_taps]
    size = _images_in_chunk(x.shape)

    def add_gradients(index: Int[Array, ""], gradients: _Gradients) -> _Gradients:
        """Stores the gradient of some images and adds that of the weights."""
        toward_x, toward_taps, toward_bias = gradients
        above = _chunk(cotangent, index, size)
        sums = _cotangent_sums(above)
        toward_taps = tuple(
            total + outer_sum(part, sum_, wide)
            for total, part, sum_ in zip(
                toward_taps, _differences(_chunk(x, index, size)), sums, strict=True
            )
        )
        whole, across, down, both = (
            matmul_transposed(sum_, tap) for sum_, tap in zip(sums, taps, strict=True)
        )
        toward_images = whole + _step(across, 2) + _step(down + _step(both, 2), 1)
        if toward_bias is not None:
            toward_bias = toward_bias + above.sum((0, 1, 2), wide)
        return _put_chunk(toward_x, index, toward_images), toward_taps, toward_bias

    zero = zero_after(cotangent)
    start = (
        jnp.full(x.shape, zero),
        tuple(jnp.full(tap.shape, zero, wide) for tap in taps),
        None if bias is None else jnp.full(bias.shape, zero, wide),
    )
    toward_x, toward_taps, toward_bias = lax.fori_loop(0, len(x) // size, add_gradients, start)
    toward_kernel = from_taps(toward_taps)[0].astype(kernel.dtype)
    return toward_x, toward_kernel, None if bias is None else toward_bias.astype(bias.dtype)


_upsample_correlate.defvjp(_upsample_forward, _upsample_backward)


def _images_in_chunk(shape: tuple[int, ...]) -> int:
    """Returns the number of images in a chunk: a divisor of the batch, one or more."""
    batch, height, width, _ = shape
    wanted = np.log(thresholds.PIXELS_IN_CHUNK / (height * width))
    divisors = [size for size in range(1, batch + 1) if batch % size == 0]
    return min(divisors, key=lambda size: abs(np.log(size) - wanted))


def _chunk(x: Array, index: Int[Array, ""], size: int) -> Array:
    return lax.dynamic_slice_in_dim(x, index * size, size)


def _put_chunk(x: Array, index: Int[Array, ""], chunk: Array) -> Array:
    return lax.dynamic_update_slice_in_dim(x, chunk, index * len(chunk), 0)


def _assembled(whole: Array, across: Array, down: Array, both: Array) -> Array:
    """Sums the products of `x` and its differences to the large images.

    The channels of `across` at column j belong to the large columns 2j-1 and 2j; `down` and `both`
    work alike. All four meet in one elementwise kernel.
    """
    batch, height, width, features = whole.shape
    whole = whole.reshape(batch, height, 1, width, 1, features)
    across = across.reshape(batch, height, 1, 2 * width + 2, features)[:, :, :, 1:-1]
    across = across.reshape(batch, height, 1, width, 2, features)
    down = down.reshape(batch, height + 1, width, 2, features).swapaxes(2, 3)
    down = down.reshape(batch, 2 * height + 2, width, features)[:, 1:-1]
    down = down.reshape(batch, height, 2, width, 1, features)
    both = depth_to_space(both, 2)[:, 1:-1, 1:-1].reshape(batch, height, 2, width, 2, features)
    return (whole + across + down + both).reshape(batch, 2 * height, 2 * width, features)


def _differences(x: Array) -> tuple[Array, Array, Array, Array]:
    """Returns x and its differences `d[i] = x[i-1] - x[i]` across, down, and both."""

    def difference(x: Array, axis: int) -> Array:
        ahead, behind = ([(0, 0)] * 4 for _ in range(2))
        ahead[axis], behind[axis] = (1, 0), (0, 1)
        return jnp.pad(x, ahead) - jnp.pad(x, behind)

    down = difference(x, 1)
    return x, difference(x, 2), down, difference(down, 2)


def _step(d: Array, axis: int) -> Array:
    """Returns the transpose of a difference: `d[i+1] - d[i]`."""
    return lax.slice_in_dim(d, 1, None, axis=axis) - lax.slice_in_dim(d, 0, -1, axis=axis)


def _tap_sums(kernel: Array) -> tuple[Array, Array, Array, Array]:
    """Returns, for x and its differences, the taps that multiply them, side by side.

    A direction that was not differenced has the sum of its taps, one that was has `-w2`, which
    reaches the odd outputs, and `w0`, which reaches the even ones.
    """
    channels = kernel.shape[2]

    def ends(taps: Array, axis: int) -> Array:
        first, _, last = jnp.split(taps, 3, axis)
        return jnp.concatenate([-last, first], axis)

    whole = kernel.sum((0, 1))[None]
    across = ends(kernel.sum(0), 0)
    down = ends(kernel.sum(1), 0)
    both = ends(ends(kernel, 0), 1).reshape(4, *kernel.shape[2:])
    whole, across, down, both = (
        taps.swapaxes(0, 1).reshape(channels, -1) for taps in (whole, across, down, both)
    )
    return whole, across, down, both


def _cotangent_sums(cotangent: Array) -> tuple[Array, Array, Array, Array]:
    """Returns the cotangents of the four products of `_upsample_correlate`."""
    batch, large_height, large_width, features = cotangent.shape
    height, width = large_height // 2, large_width // 2
    rows = cotangent.reshape(batch, height, 2, large_width, features).sum(2)
    columns = cotangent.reshape(batch, large_height, width, 2, features).sum(3)
    whole = rows.reshape(batch, height, width, 2, features).sum(3)
    across = pad(rows, (0, 0), (1, 1)).reshape(batch, height, width + 1, 2 * features)
    down = pad(columns, (1, 1), (0, 0)).reshape(batch, height + 1, 2, width, features)
    down = down.swapaxes(2, 3).reshape(batch, height + 1, width, 2 * features)
    return whole, across, down, space_to_depth(pad(cotangent, (1, 1), (1, 1)), 2)


# The maximum of four slices, with its gradient.


@jax.custom_vjp
def _max_of_slices(x: Array) -> Array:
    """See `max_pool_2x2`."""
    first, second, third, fourth = _quarters(x)
    return jnp.maximum(jnp.maximum(first, second), jnp.maximum(third, fourth))


def _max_forward(x: Array) -> tuple[Array, tuple[Array, Array]]:
    y = _max_of_slices(x)
    return y, (x, y)


def _max_backward(residuals: tuple[Array, Array], cotangent: Array) -> tuple[Array]:
    x, y = residuals
    batch, height, width, channels = y.shape
    unclaimed = jnp.ones(y.shape, bool)
    shares = []
    for quarter in _quarters(x):
        here = unclaimed & (quarter == y)
        shares.append(jnp.where(here, cotangent, 0))
        unclaimed &= ~here
    rows = [jnp.stack(pair, 3) for pair in (shares[:2], shares[2:])]
    blocks = jnp.stack(rows, 2).reshape(batch, 2 * height, 2 * width, channels)
    return (pad(blocks, (0, x.shape[1] % 2), (0, x.shape[2] % 2)),)


_max_of_slices.defvjp(_max_forward, _max_backward)


def _quarters(x: Array) -> list[Array]:
    """Returns the four pixels of each 2x2 block, in reading order, as four images."""
    height, width = x.shape[1] // 2 * 2, x.shape[2] // 2 * 2
    return [x[:, a:height:2, b:width:2] for a in (0, 1) for b in (0, 1)]
