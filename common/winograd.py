"""Convolutions with a small kernel and stride 1 in a fraction of the multiplications.

Winograd's F(4x4, r x r) (Lavin and Gray, 2016, "Fast algorithms for convolutional neural
networks"): the image is cut into tiles that each give 4x4 pixels of the output; a tile and the
kernel are taken to as many points as the tile has pixels, where the convolution is one product a
point. For a 3x3 kernel that is 36 products for 16 pixels in place of 144, for a 2x2 kernel 25 in
place of 64. Over the channels each point is a matrix product, and so are the transforms.

The tiles pass in chunks that stay in the caches of a CPU, one after the other in a loop: their
transforms, twice the size of the image, are never in memory as a whole.

In float32 the result differs from the exact one by some 3e-6 of its largest value.
"""

from functools import cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from common.fourier import Pairs

_SIDE = 4  # of a tile's output
# And infinity. The rounding is a quarter of that of the usual 0, 1, -1, 2, -2 (256 channels, 3x3).
_POINTS = (0.0, 0.75, -0.75, 1.5, -1.5)
_TILES_IN_CHUNK = 256  # the fastest of 64 to 1024 in most layers of VGG16


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def conv_winograd(
    x: Float[Array, "batch height width channels"],
    kernel: Float[Array, "size size channels features"],
    pads: Pairs,
) -> Float[Array, "batch out_height out_width features"]:
    """Convolves with stride 1, as `common.convolutions.conv` does; `size` is 2 or 3.

    `Y = A^T [(G k G^T) (B^T d B)] A` for each tile d.
    """
    size, _, channels, features = kernel.shape
    to_output, to_kernel, _ = _matrices(size)
    tiling = _tiling(x.shape, size, pads)
    taps = jnp.matmul(to_kernel, kernel.reshape(size * size, -1)).reshape(-1, channels, features)
    pixels = _padded(x, size, pads, tiling, jnp.zeros((), x.dtype))

    def with_band(index: Int[Array, ""], bands: Array) -> Array:
        """Fills in some rows of tiles of the output."""
        points = _at_points(pixels, size, tiling, index)
        products = lax.dot_general(points, taps, (((2,), (1,)), ((0,), (0,))))
        tiles = jnp.matmul(to_output, products.reshape(len(taps), -1)).reshape(
            _SIDE, _SIDE, tiling.rows_in_chunk, tiling.columns, features
        )
        return bands.at[index].set(tiles.transpose(2, 0, 3, 1, 4))

    shape = tiling.chunks, tiling.rows_in_chunk, _SIDE, tiling.columns, _SIDE, features
    bands = lax.fori_loop(0, tiling.chunks, with_band, jnp.full(shape, _zero_after(x)))
    whole = bands.reshape(len(x), tiling.rows * _SIDE, tiling.columns * _SIDE, features)
    return whole[:, : tiling.out_height, : tiling.out_width]


def _forward(x: Array, kernel: Array, pads: Pairs) -> tuple[Array, tuple[Array, Array]]:
    return conv_winograd(x, kernel, pads), (x, kernel)


def _backward(pads: Pairs, residuals: tuple[Array, Array], cotangent: Array) -> tuple[Array, Array]:
    x, kernel = residuals
    size = len(kernel)
    return _toward_x(kernel, cotangent, pads), kernel_gradient(x, cotangent, size, pads)


def _toward_x(kernel: Array, cotangent: Array, pads: Pairs) -> Array:
    """Gives the gradient of the image: the convolution with the mirrored kernel."""
    (top, bottom), (left, right) = pads
    last = len(kernel) - 1
    mirrored = (last - top, last - bottom), (last - left, last - right)
    return conv_winograd(cotangent, kernel[::-1, ::-1].swapaxes(2, 3), mirrored)


conv_winograd.defvjp(_forward, _backward)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def kernel_gradient(
    x: Float[Array, "batch height width channels"],
    cotangent: Float[Array, "batch out_height out_width features"],
    size: int,
    pads: Pairs,
) -> Float[Array, "size size channels features"]:
    """Gives the gradient of a kernel, `sum_nij x[n, i + a - top, j + b - left] c[n, i, j]`."""
    to_output, to_kernel, _ = _matrices(size)
    tiling = _tiling(x.shape, size, pads)
    channels, features = x.shape[-1], cotangent.shape[-1]
    below = _SIDE * tiling.rows - tiling.out_height
    beside = _SIDE * tiling.columns - tiling.out_width
    bands = jnp.pad(cotangent, ((0, 0), (0, below), (0, beside), (0, 0))).reshape(
        tiling.chunks, tiling.rows_in_chunk, _SIDE, tiling.columns, _SIDE, features
    )
    zero = _zero_after(cotangent)
    pixels = _padded(x, size, pads, tiling, zero)

    def add(total: Array, chunk: tuple[Array, Array]) -> tuple[Array, None]:
        index, band = chunk
        points = _at_points(pixels, size, tiling, index)
        tiles = band.transpose(1, 3, 0, 2, 4).reshape(_SIDE * _SIDE, -1)
        weights = jnp.matmul(to_output.T, tiles).reshape(*points.shape[:2], features)
        return total + lax.dot_general(points, weights, (((1,), (1,)), ((0,), (0,)))), None

    start = jnp.full((len(to_kernel), channels, features), zero)
    taps, _ = lax.scan(add, start, (jnp.arange(tiling.chunks), bands))
    gradient = jnp.matmul(to_kernel.T, taps.reshape(len(to_kernel), -1))
    return gradient.reshape(size, size, channels, features)


def _kernel_gradient_forward(
    x: Array, cotangent: Array, size: int, pads: Pairs
) -> tuple[Array, tuple[Array, Array]]:
    return kernel_gradient(x, cotangent, size, pads), (x, cotangent)


def _kernel_gradient_backward(
    size: int, pads: Pairs, residuals: tuple[Array, Array], kernel: Array
) -> tuple[Array, Array]:
    """Gives both gradients of what is linear in both (a gradient penalty asks for them)."""
    x, cotangent = residuals
    return _toward_x(kernel, cotangent, pads), conv_winograd(x, kernel, pads)


kernel_gradient.defvjp(_kernel_gradient_forward, _kernel_gradient_backward)


def _zero_after(x: Array) -> Float[Array, ""]:
    """Gives a zero that is known only when x is.

    What is made of a constant XLA makes as early as it likes, and keeps: the empty output of each
    loop from the program's start on, a padded image from the forward to the backward pass.
    """
    return 0 * x[(0,) * x.ndim]


class _Tiling(NamedTuple):
    """How tiles cover a batch.

    Attributes:
      rows, columns: of tiles in an image.
      out_height, out_width: of the output in pixels; the tiles may overhang it.
      rows_in_chunk: rows of tiles that are computed at a time; divides those of the batch.
      chunks: their number.
    """

    rows: int
    columns: int
    out_height: int
    out_width: int
    rows_in_chunk: int
    chunks: int


def _tiling(shape: tuple[int, ...], size: int, pads: Pairs) -> _Tiling:
    batch, *sides, _ = shape
    height, width = (side + sum(pad) - size + 1 for side, pad in zip(sides, pads, strict=True))
    rows, columns = -(-height // _SIDE), -(-width // _SIDE)
    divisors = [part for part in range(1, batch * rows + 1) if batch * rows % part == 0]
    wanted = np.log(_TILES_IN_CHUNK / columns)
    rows_in_chunk = min(divisors, key=lambda part: abs(np.log(part) - wanted))
    return _Tiling(rows, columns, height, width, rows_in_chunk, batch * rows // rows_in_chunk)


def tiles_per_image(shape: tuple[int, ...], size: int, pads: Pairs) -> int:
    """Says how many tiles cover the output of one image."""
    tiling = _tiling(shape, size, pads)
    return tiling.rows * tiling.columns


def _padded(
    x: Array, size: int, pads: Pairs, tiling: _Tiling, zero: Float[Array, ""]
) -> Float[Array, "pixels channels"]:
    """Gives all pixels of the images, padded to the last tiles' ends."""
    edges = [
        (low, _SIDE * number + size - 1 - low - side, 0)
        for side, number, (low, _) in zip(
            x.shape[1:3], (tiling.rows, tiling.columns), pads, strict=True
        )
    ]
    return lax.pad(x, zero, ((0, 0, 0), *edges, (0, 0, 0))).reshape(-1, x.shape[-1])


def _at_points(
    pixels: Float[Array, "pixels channels"], size: int, tiling: _Tiling, chunk: Int[Array, ""]
) -> Float[Array, "points tiles channels"]:
    """Gives the tiles of a chunk at the points, where the convolution is a product."""
    side = _SIDE + size - 1
    height, width = (_SIDE * number + size - 1 for number in (tiling.rows, tiling.columns))
    number = tiling.rows_in_chunk * tiling.columns
    row, column = divmod(chunk * number + jnp.arange(number), tiling.columns)  # of tiles
    image, row = divmod(row, tiling.rows)
    corner = (image * height + row * _SIDE) * width + column * _SIDE
    inside = (np.arange(side)[:, None] * width + np.arange(side)).reshape(-1, 1)
    taken = pixels.at[(inside + corner).ravel()].get(mode="promise_in_bounds")
    to_points = _matrices(size)[2]
    return jnp.matmul(to_points, taken.reshape(side * side, -1)).reshape(side * side, number, -1)


@cache
def _matrices(size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gives the transforms `A^T`, `G` and `B^T` of two dimensions at once.

    The polynomials of one dimension are multiplied through their values at `_POINTS` and infinity;
    `A^T [16, points]` takes products to the output, `G [points, size^2]` and `B^T [points, points]`
    take kernel and tile to the points.
    """
    count = _SIDE + size - 1
    points = np.array(_POINTS[: count - 1])
    to_output, to_kernel, to_points = (
        np.zeros(shape) for shape in ((_SIDE, count), (count, size), (count, count))
    )
    to_output[:, :-1] = points ** np.arange(_SIDE)[:, None]
    to_output[-1, -1] = to_kernel[-1, -1] = 1
    for i, point in enumerate(points):
        others = np.delete(points, i)
        to_kernel[i] = point ** np.arange(size) / np.prod(point - others)
        to_points[i, :-1] = np.poly(others)[::-1]
    to_points[-1] = np.poly(points)[::-1]
    matrices = (to_output, to_kernel, to_points)
    first, second, third = (np.kron(each, each).astype(np.float32) for each in matrices)
    return first, second, third
