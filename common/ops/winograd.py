"""Convolutions with a small kernel and stride 1 in a fraction of the multiplications.

Winograd's F(4x4, r x r) (Lavin and Gray, 2016, "Fast algorithms for convolutional neural
networks"): the image is cut into tiles that each produce 4x4 pixels of the output; a tile and the
kernel are evaluated at as many points as the tile has pixels, where the convolution is one product
per point. For a 3x3 kernel that is 36 products for 16 pixels instead of 144, for a 2x2 kernel 25
instead of 64. Over the channels each point is a matrix product; the transforms are sums of every
fourth row, then of every fourth column.

A loop processes the tiles in chunks that stay in a CPU's caches: their transforms, twice the size
of the image, are never in memory as a whole.

In float32 the result differs from the exact one by about 2e-6 of its largest value (256 channels).
"""

from collections.abc import Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from common.ops import thresholds
from common.ops.blocks import Kernel, Pairs, set_gradients, zero_after

_SIDE = 4  # of a tile's output
# And infinity. The rounding error is half that of the usual 0, 1, -1, 2, -2 (256 channels, 3x3).
_POINTS = (0.0, 0.75, -0.75, 1.5, -1.5)


def fills_tiles(x: Array, out_size: tuple[int, int]) -> bool:
    """Returns whether outputs of a height and width fill their tiles well enough for this form.

    It depends on the size of an image and not on their number, so a result is the same on any
    number of devices. The rounding is that of float32, so other dtypes do not use this form.
    """
    height, width = out_size
    tiles = -(-height // _SIDE) * -(-width // _SIDE)
    return bool(x.dtype == jnp.float32 and height * width >= thresholds.FILLED * tiles * _SIDE**2)


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def conv_winograd(
    x: Float[Array, "batch height width channels"],
    kernel: Kernel,
    bias: Float[Array, " features"] | None,
    pads: Pairs,
) -> Float[Array, "batch out_height out_width features"]:
    """Convolves with stride 1 and a kernel of 2x2 or 3x3, as `common.ops.convolutions.conv` does.

    `Y = A^T [(G k G^T) (B^T d B)] A + bias` for each tile d.

    A transposed kernel is exchanged in the products, where that costs next to nothing; in memory it
    would take longer than the transforms.
    """
    size, array, channel_axis = len(kernel.array), kernel.array, 1
    if kernel.transposed:
        array, channel_axis = array[::-1, ::-1], 2
    tiling = _tiling(x.shape, size, pads)
    taps = _on_both_axes(_transforms(size).to_kernel, array).reshape(-1, *array.shape[2:])
    padded = _padded(x, zero_after(x), size, pads, tiling)

    def with_chunk(index: Int[Array, ""], output: Array) -> Array:
        """Fills in some rows of tiles of the output."""
        points = _at_points(_chunk(padded, tiling, index, size - 1), size)
        axes = ((2,), (channel_axis,)), ((0,), (0,))
        products = lax.dot_general(_as_matrices(points), taps, axes)
        tiles = _on_both_axes(_transforms(size).to_output, products.reshape(*points.shape[:5], -1))
        rows = tiles.transpose(2, 3, 0, 4, 1, 5).reshape(*_chunk_size(tiling), kernel.features)
        rows = rows if bias is None else rows + bias
        return lax.dynamic_update_slice(output, rows, _chunk_corner(tiling, index))

    shape = len(x), tiling.rows * _SIDE, tiling.columns * _SIDE, kernel.features
    output = lax.fori_loop(0, tiling.chunks, with_chunk, jnp.full(shape, zero_after(x)))
    cut: Array = output[:, : tiling.out_height, : tiling.out_width]
    return cut


def _forward(x: Any, kernel: Any, bias: Any, pads: Pairs) -> tuple[Array, Any]:
    """Returns the output, and what the gradients need: the image only for the kernel's.

    With `symbolic_zeros` each argument says whether its gradient is needed.
    """
    added = None if bias is None else bias.value
    kept = x.value if kernel.array.perturbed else None
    kernel = Kernel(kernel.array.value, kernel.transposed)
    return conv_winograd(x.value, kernel, added, pads), (kept, kernel, added)


def _backward(
    pads: Pairs, residuals: tuple[Array | None, Kernel, Array | None], cotangent: Array
) -> tuple[Array, Kernel | None, Array | None]:
    x, kernel, bias = residuals
    toward_bias = None if bias is None else cotangent.sum((0, 1, 2))
    if x is None:
        return _toward_x(kernel, cotangent, pads), None, toward_bias
    toward_kernel = kernel_gradient(x, cotangent, len(kernel.array), pads, kernel.transposed)
    # The image's gradient comes last: after it x and the cotangent are no longer needed.
    array = kernel.array + zero_after(toward_kernel.array)
    if toward_bias is not None:
        array = array + zero_after(toward_bias)
    waiting = Kernel(array, kernel.transposed)
    return _toward_x(waiting, cotangent, pads), toward_kernel, toward_bias


def _toward_x(kernel: Kernel, cotangent: Array, pads: Pairs) -> Array:
    """Returns the gradient of the image: the convolution with the transposed kernel."""
    (top, bottom), (left, right) = pads
    last = len(kernel.array) - 1
    back = (last - top, last - bottom), (last - left, last - right)
    return conv_winograd(cotangent, kernel.transpose, None, back)


conv_winograd.defvjp(_forward, _backward, symbolic_zeros=True)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def kernel_gradient(
    x: Float[Array, "batch height width channels"],
    cotangent: Float[Array, "batch out_height out_width features"],
    size: int,
    pads: Pairs,
    transposed: bool,
) -> Kernel:
    """Returns the gradient of a kernel, `sum_nij x[n, i + a - top, j + b - left] c[n, i, j]`."""
    tiling = _tiling(x.shape, size, pads)
    below = _SIDE * tiling.rows - tiling.out_height
    beside = _SIDE * tiling.columns - tiling.out_width
    # Not the zero of x: XLA would see that the forward pass pads x alike, and keep the result.
    zero = zero_after(cotangent)
    whole = lax.pad(cotangent, zero, ((0, 0, 0), (0, below, 0), (0, beside, 0), (0, 0, 0)))
    padded = _padded(x, zero, size, pads, tiling)
    back = _transforms(size).to_output.T

    def with_chunk(index: Int[Array, ""], total: Array) -> Array:
        points = _at_points(_chunk(padded, tiling, index, size - 1), size)
        tiles = _tiles(_chunk(whole, tiling, index, 0))
        factors = _as_matrices(points), _as_matrices(_on_both_axes(back, tiles))
        left, right = reversed(factors) if transposed else factors
        return total + lax.dot_general(left, right, (((1,), (1,)), ((0,), (0,))))

    shape = x.shape[-1], cotangent.shape[-1]
    shape = shape[::-1] if transposed else shape
    side = _SIDE + size - 1
    start = jnp.full((side**2, *shape), zero)
    taps = lax.fori_loop(0, tiling.chunks, with_chunk, start)
    array = _on_both_axes(_transforms(size).to_kernel.T, taps.reshape(side, side, *shape))
    return Kernel(array[::-1, ::-1] if transposed else array, transposed)


set_gradients(  # for gradient penalties
    kernel_gradient,
    lambda _size, pads, _transposed, factors, kernel: _toward_x(kernel, factors[1], pads),
    lambda _size, pads, _transposed, factors, kernel: conv_winograd(factors[0], kernel, None, pads),
)


class _Tiling(NamedTuple):
    """How tiles cover a batch.

    Attributes:
      rows, columns: of tiles in an image.
      out_height, out_width: of the output in pixels; the tiles may overhang it.
      chunk_images, chunk_rows: images in a chunk, and rows of tiles of each.
      chunks: their number.
    """

    rows: int
    columns: int
    out_height: int
    out_width: int
    chunk_images: int
    chunk_rows: int
    chunks: int


def _tiling(shape: tuple[int, ...], size: int, pads: Pairs) -> _Tiling:
    batch, *sides, _ = shape
    height, width = (side + sum(pad) - size + 1 for side, pad in zip(sides, pads, strict=True))
    rows, columns = -(-height // _SIDE), -(-width // _SIDE)
    # Some rows of one image, or some whole images.
    choices = [(1, part) for part in range(1, rows + 1) if rows % part == 0]
    choices += [(part, rows) for part in range(2, batch + 1) if batch % part == 0]
    wanted = np.log(thresholds.TILES_IN_CHUNK / columns)
    images, part = min(choices, key=lambda choice: abs(np.log(choice[0] * choice[1]) - wanted))
    chunks = (batch // images) * (rows // part)
    return _Tiling(rows, columns, height, width, images, part, chunks)


def _padded(x: Array, zero: Array, size: int, pads: Pairs, tiling: _Tiling) -> Array:
    """Pads the images to the ends of the last tiles."""
    edges = [
        (low, _SIDE * number + size - 1 - low - side, 0)
        for side, number, (low, _) in zip(
            x.shape[1:3], (tiling.rows, tiling.columns), pads, strict=True
        )
    ]
    return lax.pad(x, zero, ((0, 0, 0), *edges, (0, 0, 0)))


def _chunk_size(tiling: _Tiling) -> tuple[int, int, int]:
    """Returns the number of images, output rows and output columns of a chunk."""
    return tiling.chunk_images, tiling.chunk_rows * _SIDE, tiling.columns * _SIDE


def _chunk_corner(tiling: _Tiling, chunk: Int[Array, ""]) -> tuple[Array, Array, int, int]:
    """Returns the position of a chunk's first pixel in a batch."""
    image, part = divmod(chunk, tiling.rows // tiling.chunk_rows)
    return image * tiling.chunk_images, part * tiling.chunk_rows * _SIDE, 0, 0


def _chunk(x: Array, tiling: _Tiling, index: Int[Array, ""], beyond: int) -> Array:
    """Returns a chunk of a batch, with `beyond` pixels more than its output."""
    images, height, width = _chunk_size(tiling)
    shape = images, height + beyond, width + beyond, x.shape[-1]
    return lax.dynamic_slice(x, _chunk_corner(tiling, index), shape)


def _tiles(
    x: Float[Array, "images height width channels"],
) -> Float[Array, "side side images rows columns channels"]:
    """Cuts images into tiles without overlap: one array for each pixel of a tile."""
    images, height, width, channels = x.shape
    shape = images, height // _SIDE, _SIDE, width // _SIDE, _SIDE, channels
    return x.reshape(shape).transpose(2, 4, 0, 1, 3, 5)


def _at_points(
    x: Float[Array, "images height width channels"], size: int
) -> Float[Array, "side side images rows columns channels"]:
    """Returns the tiles evaluated at the points, where the convolution is a product."""
    to_points = _transforms(size).to_points
    rows = jnp.stack(_combined(to_points, _every_fourth(x, 1, size)))
    return jnp.stack(_combined(to_points, _every_fourth(rows, 3, size)), 1)


def _every_fourth(x: Array, axis: int, size: int) -> list[Array]:
    """Returns pixel 0 of all tiles along an axis, pixel 1 of all, and so on."""
    span = x.shape[axis] - size - _SIDE + 2  # from the first tile's pixel to the last one's
    return [
        lax.slice_in_dim(x, start, start + span, _SIDE, axis) for start in range(_SIDE + size - 1)
    ]


def _on_both_axes(matrix: np.ndarray, x: Float[Array, "n n *rest"]) -> Float[Array, "m m *rest"]:
    """Multiplies the first two axes by a matrix [m, n]."""
    x = jnp.stack(_combined(matrix, list(x)))
    return jnp.stack(_combined(matrix, [x[:, i] for i in range(x.shape[1])]), 1)


def _combined(matrix: np.ndarray, parts: Sequence[Array]) -> list[Array]:
    """Returns the sums of arrays weighted by the rows of a matrix; zeros cost nothing."""
    return [
        sum(weight * part for weight, part in zip(row, parts, strict=True) if weight)
        for row in matrix
    ]


def _as_matrices(points: Array) -> Float[Array, "points tiles channels"]:
    return points.reshape(points.shape[0] * points.shape[1], -1, points.shape[-1])


class _Transforms(NamedTuple):
    """Matrices of one dimension.

    Attributes:
      to_output: `A^T [4, points]` maps products to the output.
      to_kernel: `G [points, size]` maps a kernel to the points.
      to_points: `B^T [points, points]` maps a tile to the points.
    """

    to_output: np.ndarray
    to_kernel: np.ndarray
    to_points: np.ndarray


@cache
def _transforms(size: int) -> _Transforms:
    """Returns the transforms: polynomials multiplied by their values at `_POINTS` and infinity."""
    count = _SIDE + size - 1
    points = np.array(_POINTS[: count - 1])
    to_output, to_kernel, to_points = (
        np.zeros(shape, np.float32) for shape in ((_SIDE, count), (count, size), (count, count))
    )
    to_output[:, :-1] = points ** np.arange(_SIDE)[:, None]
    to_output[-1, -1] = to_kernel[-1, -1] = 1
    for i, point in enumerate(points):
        others = np.delete(points, i)
        to_kernel[i] = point ** np.arange(size) / np.prod(point - others)
        to_points[i, :-1] = np.poly(others)[::-1]
    to_points[-1] = np.poly(points)[::-1]
    return _Transforms(to_output, to_kernel, to_points)
