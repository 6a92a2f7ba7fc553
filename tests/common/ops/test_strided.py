"""Halving and doubling convolutions equal the plain ones, in value and in every gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from common.ops import conv, conv_transpose, strided, thresholds
from common.ops.blocks import LAYOUT, lax_conv
from tests.combinations import combinations

PADS = [((1, 1), (1, 1)), ((0, 2), (2, 1)), ((3, 0), (0, 0)), ((-1, 1), (1, 2))]


@pytest.fixture(autouse=True)
def _few_channels_will_do(monkeypatch):
    monkeypatch.setattr(thresholds, "MANY_CHANNELS", 2)
    monkeypatch.setattr(thresholds, "MANY_FEATURES", 2)
    monkeypatch.setattr(strided, "fills_tiles", lambda *_: True)


def value_and_gradients(form, x, kernel):
    """Of both orders: the second is what a gradient penalty takes."""

    def loss(x, kernel):
        return (form(x, kernel) ** 2).sum()

    def penalty(x, kernel):
        return sum((part**2).sum() for part in jax.grad(loss, (0, 1))(x, kernel))

    both = jax.grad(loss, (0, 1)), jax.grad(penalty, (0, 1))
    return jax.jit(lambda x, k: (form(x, k), [gradient(x, k) for gradient in both]))(x, kernel)


def assert_equal(ours, plain, size, kernel_size=4):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(2, *size, 3)), jnp.float32)
    kernel = jnp.asarray(rng.normal(size=(kernel_size, kernel_size, 3, 5)), jnp.float32)
    found, expected = (value_and_gradients(form, x, kernel) for form in (ours, plain))
    for a, b in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * float(jnp.abs(b).max()))


@pytest.mark.parametrize(("size", "pads"), combinations([(8, 10), (9, 7)], PADS, together=1))
def test_halving_equals_the_plain_form(size, pads):
    assert_equal(
        lambda x, kernel: conv(x, kernel, 2, pads, "products"),
        lambda x, kernel: lax_conv(x, kernel, 2, pads),
        size,
    )


def test_halving_and_doubling_by_blocks_equal_the_plain_forms(monkeypatch):
    """With fewer features an image is doubled by blocks, and so is the gradient of a halving."""
    monkeypatch.setattr(thresholds, "MANY_FEATURES", 1000)
    test_halving_equals_the_plain_form((9, 7), PADS[1])
    test_doubling_equals_the_plain_form(((3, 3), (1, 2)))


@pytest.mark.parametrize("pads", [((2, 2), (2, 2)), ((3, 3), (1, 2)), ((0, 4), (2, 3))])
def test_doubling_equals_the_plain_form(pads):
    assert_equal(
        lambda x, kernel: conv_transpose(x, kernel, 2, pads, "products"),
        lambda x, kernel: lax.conv_transpose(x, kernel, (2, 2), pads, dimension_numbers=LAYOUT),
        (4, 6),
    )


@pytest.mark.parametrize(
    ("stride", "pads"),
    combinations([1, 2, 3], [((2, 1), (0, 3)), ((-1, 0), (1, -2))], together=1),
)
def test_windows_that_do_not_meet_equal_the_plain_form(stride, pads):
    assert_equal(
        lambda x, kernel: conv(x, kernel, stride, pads, "products"),
        lambda x, kernel: lax_conv(x, kernel, stride, pads),
        (9, 8),
        stride,
    )
    strides = stride, stride
    assert_equal(
        lambda x, kernel: conv_transpose(x, kernel, stride, pads, "products"),
        lambda x, kernel: lax.conv_transpose(x, kernel, strides, pads, dimension_numbers=LAYOUT),
        (4, 5),
        stride,
    )


def test_the_form_does_not_depend_on_the_batch(monkeypatch):
    """So a device's share of it takes the same one."""
    monkeypatch.undo()
    called = []
    monkeypatch.setattr(strided, "_halve", lambda x, *_: called.append(x.shape) or x)
    kernel = jnp.zeros((4, 4, 32, 32))
    for batch in (1, 64):
        conv(jnp.zeros((batch, 8, 8, 32)), kernel, 2, ((1, 1), (1, 1)))
    conv(jnp.zeros((1, 8, 8, 3)), kernel[:, :, :3], 2, ((1, 1), (1, 1)))  # too few channels
    conv(jnp.zeros((1, 11, 11, 32)), kernel, 2, ((1, 1), (1, 1)))  # 5x5 leave tiles half empty
    assert called == [(1, 8, 8, 32), (64, 8, 8, 32)]


@pytest.mark.parametrize(
    ("size", "taps", "pads", "is_one"),
    [
        ((2, 2), 3, ((1, 1), (1, 1)), True),  # as many outputs as pixels
        ((4, 4), 4, ((0, 0), (0, 0)), True),  # one output
        ((3, 2), 5, ((2, 1), (1, 3)), True),
        ((3, 2), 3, ((-1, 1), (1, 1)), False),  # the first row is seen by none
        ((3, 3), 3, ((1, 1), (1, 1)), False),  # corners do not see each other
    ],
)
def test_a_convolution_whose_outputs_see_all_is_a_product(size, taps, pads, is_one):
    def ours(x, kernel):
        return conv(x, kernel, 1, pads, "products")

    if is_one:
        kernel = jnp.zeros((taps, taps, 3, 5))
        program = str(jax.make_jaxpr(ours)(jnp.zeros((2, *size, 3)), kernel))
        assert "conv_general_dilated" not in program
    assert_equal(ours, lambda x, kernel: lax_conv(x, kernel, 1, pads), size, taps)
