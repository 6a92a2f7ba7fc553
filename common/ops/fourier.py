"""Convolution with a large kernel, by the Fourier transform.

A direct convolution multiplies every pixel by every tap: 38 billion multiplications per image for
50x50 taps, 128 channels and 3 features at 200x200. Here a large kernel costs no more than a small
one.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Complex, Float
from scipy.fft import next_fast_len

from common.ops.blocks import Pairs

Size = tuple[int, int]
Spectra = Complex[Array, "_ _ _rows _half_columns"]


def conv_fourier(
    x: Float[Array, "batch height width channels"],
    kernel: Float[Array, "kernel_height kernel_width channels features"],
    pads: Pairs,
) -> Float[Array, "batch out_height out_width features"]:
    """Convolves with stride 1, equal to the direct form up to rounding, gradients included.

    A cyclic correlation is `ifft(fft(x) conj(fft(kernel)))`. The cycle is just long enough for the
    wrap-around to fall on pixels that are cut off: 225 for 200 pixels and 50 taps.

    Args:
        x: images.
        kernel: the weights.
        pads: zeros added, ((top, bottom), (left, right)); negative padding crops.
    """
    height, width = x.shape[1:3]
    return _conv_fourier(x, kernel, pads, (height, width), kernel.shape[:2])


@partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _conv_fourier(x: Array, kernel: Array, pads: Pairs, size: Size, taps: Size) -> Array:
    """See `conv_fourier`; `size` and `taps` are the heights and widths of x and of the kernel."""
    return _forward(x, kernel, pads, size, taps)[0]


def _forward(
    x: Array, kernel: Array, pads: Pairs, size: Size, taps: Size
) -> tuple[Array, tuple[Array, Array]]:
    cycle, ((top, bottom), (left, right)) = _cycle(size, taps, pads), pads
    of_x = _spectra(x.transpose(0, 3, 1, 2), cycle)
    of_kernel = _spectra(kernel.transpose(2, 3, 0, 1), cycle)
    # Written as sums, here and below: `einsum` copies the spectra into another layout first, and
    # both gradients together took 1.5 times as long.
    of_y = (of_x[:, :, None] * jnp.conj(of_kernel)).sum(1)
    out = (size[0] + top + bottom - taps[0] + 1, size[1] + left + right - taps[1] + 1)
    y = _signals(of_y, cycle, (top, left), out).transpose(0, 2, 3, 1)
    return y.astype(x.dtype), (of_x, of_kernel)


def _backward(
    pads: Pairs, size: Size, taps: Size, spectra: tuple[Array, Array], cotangent: Array
) -> tuple[Array, Array]:
    """Returns both gradients: for x by a convolution, for the kernel by a correlation."""
    of_x, of_kernel = spectra
    cycle, ((top, _), (left, _)) = _cycle(size, taps, pads), pads
    of_cotangent = _spectra(cotangent.transpose(0, 3, 1, 2), cycle)
    toward_x = (of_cotangent[:, None] * of_kernel).sum(2)
    toward_kernel = (of_x[:, :, None] * jnp.conj(of_cotangent)[:, None]).sum(0)
    toward_x = _signals(toward_x, cycle, (-top, -left), size).transpose(0, 2, 3, 1)
    toward_kernel = _signals(toward_kernel, cycle, (top, left), taps).transpose(2, 3, 0, 1)
    return toward_x.astype(cotangent.dtype), toward_kernel.astype(cotangent.dtype)


_conv_fourier.defvjp(_forward, _backward)


def _cycle(size: Size, taps: Size, pads: Pairs) -> Size:
    """Returns the shortest cycle without wrap-around for which the transform is fast."""
    rows, columns = (
        next_fast_len(max(length + max(0, *pair), length + sum(pair) - tap + 1, tap), real=True)
        for length, tap, pair in zip(size, taps, pads, strict=True)
    )
    return rows, columns


def _spectra(signals: Array, cycle: Size) -> Spectra:
    dtype = jnp.promote_types(signals.dtype, jnp.float32)
    return jnp.fft.rfft2(signals.astype(dtype), cycle)


def _signals(spectra: Spectra, cycle: Size, start: Size, size: Size) -> Array:
    """Transforms back, rotates the cycle by `start` and returns the first `size` pixels."""
    signals = jnp.roll(jnp.fft.irfft2(spectra, cycle), start, (2, 3))
    return signals[:, :, : size[0], : size[1]]
