"""The Fourier form of a convolution equals the plain one; only large kernels take it."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.ops import conv
from common.ops.blocks import LAYOUT
from common.ops.fourier import conv_fourier


def normal(*shape, seed=0, dtype=np.float32):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


def plain(x, kernel, pads):
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), pads, dimension_numbers=LAYOUT)


def value_and_gradients(function, x, kernel):
    """Returns the result and both gradients, along a random cotangent."""

    @jax.jit
    def run(x, kernel):
        y, pullback = jax.vjp(function, x, kernel)
        return [y, *pullback(normal(*y.shape, seed=9, dtype=y.dtype))]

    return run(x, kernel)


def assert_equal(ours, plain, tolerance):
    for a, b in zip(ours, plain, strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * float(jnp.abs(b).max()))


def assert_forms_agree(ours, plain, x, kernel, tolerance=1e-5):
    both = (value_and_gradients(form, x, kernel) for form in (ours, plain))
    assert_equal(*both, tolerance)


def cycles(function, *inputs):
    """Returns the lengths of all Fourier transforms that a function makes."""
    found = re.findall(r"fft_lengths=\((\d+), (\d+)\)", str(jax.make_jaxpr(function)(*inputs)))
    return {(int(rows), int(columns)) for rows, columns in found}


@st.composite
def sides(draw):
    """Draws the length of an image, of a kernel, and paddings that leave at least one pixel."""
    length, taps = draw(st.integers(1, 9)), draw(st.integers(1, 12))
    low = draw(st.integers(0, 6))
    high = max(0, taps - length - low) + draw(st.integers(0, 4))
    return length, taps, (low, high)


SIDES = [
    ((8, 3, (1, 1)), (7, 4, (1, 2))),
    ((5, 5, (0, 0)), (6, 1, (0, 0))),
    ((4, 9, (4, 4)), (3, 10, (4, 5))),
    ((1, 1, (0, 0)), (1, 7, (6, 0))),
    ((9, 2, (0, 5)), (10, 3, (7, 0))),
    ((6, 11, (10, 10)), (2, 2, (1, 1))),
    ((5, 1, (4, 4)), (5, 2, (3, 4))),
]


def problem(rows, columns, batch, channels, features, dtype):
    (height, kernel_height, vertical), (width, kernel_width, horizontal) = rows, columns
    x = normal(batch, height, width, channels, dtype=dtype)
    kernel = normal(kernel_height, kernel_width, channels, features, seed=1, dtype=dtype)
    return x, kernel, (vertical, horizontal)


class TestEqualsThePlainForm:
    @pytest.mark.parametrize(("rows", "columns"), SIDES)
    @pytest.mark.parametrize(("channels", "features"), [(1, 1), (3, 2)])
    def test_in_single_precision(self, rows, columns, channels, features):
        x, kernel, pads = problem(rows, columns, 2, channels, features, np.float32)
        assert_forms_agree(
            lambda x, k: conv_fourier(x, k, pads), lambda x, k: plain(x, k, pads), x, kernel
        )

    @settings(max_examples=15, deadline=None)
    @given(sides(), sides(), st.integers(1, 2), st.integers(1, 3), st.integers(1, 3))
    def test_in_double_precision_for_any_sizes(self, rows, columns, batch, channels, features):
        with jax.enable_x64(True):
            x, kernel, pads = problem(rows, columns, batch, channels, features, np.float64)
            assert_forms_agree(
                lambda x, k: conv_fourier(x, k, pads),
                lambda x, k: plain(x, k, pads),
                x,
                kernel,
                1e-12,
            )

    @pytest.mark.parametrize("pads", [((-2, 3), (4, -1)), ((-1, 0), (0, -2)), ((-2, -2), (-1, -3))])
    def test_where_a_negative_padding_crops(self, pads):
        x, kernel = normal(2, 10, 11, 2), normal(3, 4, 2, 3, seed=1)
        assert_forms_agree(
            lambda x, k: conv_fourier(x, k, pads), lambda x, k: plain(x, k, pads), x, kernel
        )

    @pytest.mark.parametrize("padding", ["SAME", "VALID"])
    @pytest.mark.parametrize(("size", "side"), [(15, 20), (50, 56)])
    @pytest.mark.parametrize(("channels", "features"), [(1, 1), (4, 3)])
    def test_for_the_kernels_that_conv_sends_there(self, padding, size, side, channels, features):
        x, kernel = normal(2, side, side, channels), normal(size, size, channels, features, seed=1)
        assert cycles(lambda x, k: conv(x, k, padding=padding), x, kernel)
        assert_forms_agree(
            lambda x, k: conv(x, k, padding=padding),
            lambda x, k: conv(x, k, padding=padding, form="lax"),
            x,
            kernel,
        )

    def test_where_same_padding_is_wider_than_the_image(self):
        x, kernel = normal(2, 12, 7, 2), normal(50, 50, 2, 2, seed=1)
        assert_forms_agree(conv, lambda x, k: conv(x, k, form="lax"), x, kernel)

    @pytest.mark.parametrize("features", [1, 3])
    def test_in_second_derivatives(self, features):
        """Gradient penalties differentiate a gradient."""
        x, kernel = normal(2, 7, 6, 2), normal(4, 5, 2, features, seed=1)
        pads = ((1, 2), (2, 2))

        def penalty(form, x, kernel):
            toward_x = jax.grad(lambda x: jnp.tanh(form(x, kernel, pads)).sum())(x)
            return jnp.sqrt((toward_x**2).sum())

        ours, expected = (
            jax.jit(jax.value_and_grad(lambda *inputs, f=form: penalty(f, *inputs), (0, 1)))
            for form in (conv_fourier, plain)
        )
        assert_equal(*(jax.tree.leaves(f(x, kernel)) for f in (ours, expected)), 1e-5)


class TestPrecision:
    def test_bfloat16_comes_back_as_bfloat16_rounded_once(self):
        x, kernel = normal(2, 9, 8, 3, dtype=jnp.bfloat16), normal(5, 4, 3, 2, dtype=jnp.bfloat16)
        pads = ((2, 2), (1, 2))
        ours = value_and_gradients(lambda x, k: conv_fourier(x, k, pads), x, kernel)
        assert {leaf.dtype for leaf in ours} == {jnp.dtype(jnp.bfloat16)}

        def exact(x, kernel):
            wide = (array.astype(jnp.float32) for array in (x, kernel))
            return plain(*wide, pads).astype(jnp.bfloat16)

        expected = value_and_gradients(exact, x, kernel)
        as_float = [[leaf.astype(jnp.float32) for leaf in leaves] for leaves in (ours, expected)]
        assert_equal(*as_float, 2**-8)

    def test_an_image_far_from_zero_costs_no_more_than_its_own_precision(self):
        x, kernel = 1000 + normal(1, 30, 30, 1), normal(16, 16, 1, 1, seed=1)
        pads = ((7, 8), (7, 8))
        with jax.enable_x64(True):
            wide = (jnp.asarray(array, jnp.float64) for array in (x, kernel))
            expected = np.asarray(plain(*wide, pads))
        error = np.abs(np.asarray(conv_fourier(x, kernel, pads)) - expected).max()
        assert error < 1e-5 * np.abs(expected).max()

    def test_one_example_does_not_leak_into_another(self):
        x, kernel = normal(2, 8, 8, 1), normal(5, 5, 1, 1, seed=1)
        pads = ((2, 2), (2, 2))
        loud = conv_fourier(x.at[1].mul(1e6), kernel, pads)
        np.testing.assert_array_equal(loud[0], conv_fourier(x, kernel, pads)[0])


class TestChoice:
    @pytest.mark.parametrize("platform", ["cpu", "gpu"])
    def test_large_kernels_take_the_fourier_form_on_every_platform(self, platform, monkeypatch):
        monkeypatch.setattr(jax, "default_backend", lambda: platform)
        x = normal(1, 40, 40, 2)
        for size, taken in ((3, False), (14, False), (15, True), (40, True)):
            assert bool(cycles(conv, x, normal(size, size, 2, 2))) is taken

    def test_a_kernel_is_large_by_its_number_of_taps(self):
        x = normal(1, 40, 40, 2)
        assert cycles(conv, x, normal(9, 25, 2, 2))
        assert not cycles(conv, x, normal(1, 40, 2, 2))

    def test_a_stride_and_the_plain_form_never_take_it(self):
        x, kernel = normal(1, 40, 40, 2), normal(20, 20, 2, 2)
        assert not cycles(lambda x, k: conv(x, k, stride=2), x, kernel)
        assert not cycles(lambda x, k: conv(x, k, form="lax"), x, kernel)

    def test_the_cycle_is_just_long_enough(self):
        """Not 200 + 50 - 1: what wraps around falls on pixels that are cut off."""
        x, kernel = jnp.zeros((1, 200, 200, 1)), jnp.zeros((50, 50, 1, 1))
        assert cycles(conv, x, kernel) == {(225, 225)}
        assert cycles(lambda x, k: conv(x, k, padding="VALID"), x, kernel) == {(200, 200)}
