"""Building blocks of convolutions: kernels, products, rearranged pixels, plain convolution."""

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float, PyTree

Pairs: TypeAlias = tuple[tuple[int, int], tuple[int, int]]  # (top, bottom), (left, right)
Factors: TypeAlias = tuple[Array, Array]  # images and a kernel, or what a product is of

LAYOUT = ("NHWC", "HWIO", "NHWC")


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Kernel:
    """A kernel as it is stored: as its own convolution's, or as the transposed one's.

    A convolution's gradient toward its images is the convolution with `transpose`, which costs
    nothing: rearranging the array in memory would take longer than some of the forms.

    Attributes:
      array: [rows, columns, channels, features]; if transposed, [rows, columns, features, channels]
        with the taps reversed in both directions.
      transposed: whether it is, as in `lax.conv_transpose`.
    """

    array: Array | Any  # JAX puts in place of an array what it knows of it, too
    transposed: bool = field(default=False, metadata={"static": True})

    @property
    def channels(self) -> int:
        """Number of channels of the images."""
        return int(self.array.shape[3 if self.transposed else 2])

    @property
    def features(self) -> int:
        """Number of features of the output."""
        return int(self.array.shape[2 if self.transposed else 3])

    @property
    def transpose(self) -> "Kernel":
        """The kernel of the gradient toward the images."""
        return Kernel(self.array, not self.transposed)

    @property
    def plain(self) -> Float[Array, "rows columns channels features"]:
        """The array as `lax` expects it."""
        return mirrored(self.array) if self.transposed else self.array


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class _Wanted:
    """Of which arguments a gradient is wanted."""

    first: bool = field(metadata={"static": True})
    second: bool = field(metadata={"static": True})


def set_gradients(
    operation: "jax.custom_vjp[PyTree]",
    toward_first: Callable[..., PyTree],
    toward_second: Callable[..., PyTree],
) -> None:
    """Sets the gradients of what is linear in each of its first two arguments.

    Both are called as `toward(*static arguments, (first, second), cotangent)`, which is all that
    they need, and only if somebody asks: XLA would leave out the gradients of weights that never
    learn, but first they would be traced.
    """

    def forward(
        first: PyTree, second: PyTree, *static: Hashable
    ) -> tuple[PyTree, tuple[_Wanted, tuple[PyTree, PyTree]]]:
        wanted = _Wanted(*(any(x.perturbed for x in jax.tree.leaves(y)) for y in (first, second)))
        factors = jax.tree.map(lambda x: x.value, (first, second))
        return operation(*factors, *static), (wanted, factors)

    def backward(*arguments: Any) -> tuple[PyTree, PyTree]:
        *static, (wanted, factors), cotangent = arguments
        return (
            toward_first(*static, factors, cotangent) if wanted.first else None,
            toward_second(*static, factors, cotangent) if wanted.second else None,
        )

    operation.defvjp(forward, backward, symbolic_zeros=True)


def pad(x: Array, rows: tuple[int, int], columns: tuple[int, int]) -> Array:
    """Returns images padded with zeros; negative padding crops."""
    return lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), (*rows, 0), (*columns, 0), (0, 0, 0)))


def matmul(x: Array, matrix: Array) -> Array:
    """Multiplies the channels of every pixel by a matrix [channels, features]."""
    return lax.dot_general(x, matrix, (((x.ndim - 1,), (0,)), ((), ())))


def matmul_transposed(x: Array, matrix: Array) -> Array:
    """Multiplies the channels of every pixel by the transpose of a matrix."""
    return lax.dot_general(x, matrix, (((x.ndim - 1,), (1,)), ((), ())))


def outer_sum(x: Array, y: Array, dtype: DTypeLike | None = None) -> Array:
    """Sums the outer products of two images' channels over all pixels, in their dtype or `dtype`.

    Written as a contraction of the first axes: XLA's own gradient of a product first copies one of
    the two into a transposed layout.
    """
    x, y = (part.reshape(-1, part.shape[-1]) for part in (x, y))
    return lax.dot_general(x, y, (((0,), (0,)), ((), ())), preferred_element_type=dtype)


@jax.custom_vjp
def pointwise(x: Array, matrix: Array) -> Array:
    """Computes `matmul`, with gradients that copy no factor into another layout."""
    return matmul(x, matrix)


set_gradients(
    pointwise,
    lambda factors, cotangent: matmul_transposed(cotangent, factors[1]),
    lambda factors, cotangent: outer_sum(factors[0], cotangent),
)


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


def project(x: Array, kernel: Array) -> Array:
    """Multiplies every pixel by every tap: [..., rows * columns * features]."""
    return matmul(x, kernel.transpose(2, 0, 1, 3).reshape(kernel.shape[2], -1))


def mirrored(kernel: Array) -> Array:
    """Returns a kernel rotated by 180 degrees, channels and features swapped, for gradients."""
    return kernel[::-1, ::-1].swapaxes(2, 3)


def pairs(pads: Iterable[Sequence[int]]) -> Pairs:
    """Returns padding as pairs."""
    (top, bottom), (left, right) = pads
    return (top, bottom), (left, right)


def zero_after(x: Array) -> Float[Array, ""]:
    """Returns a zero that is known only when x is.

    XLA computes results of constants as early as it likes, and keeps them: the empty output of each
    loop from the program's start on, a padded image from the forward to the backward pass. It is
    NaN if the first pixel of x is not finite: one such pixel spoils a whole gradient.
    """
    return 0 * x[(0,) * x.ndim]
