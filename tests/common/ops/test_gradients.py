"""Gradients are computed of what learns, and not even traced of what never does."""

import jax
import jax.numpy as jnp
import pytest

from common.ops.blocks import Kernel, set_gradients
from common.ops.depthwise import depthwise_conv


@pytest.fixture
def product():
    """A product of two numbers, and which of its gradients were computed."""
    asked = []

    @jax.custom_vjp
    def of_two(x, y):
        return x * y.array

    def toward_first(factors, cotangent):
        asked.append("first")
        return cotangent * factors[1].array

    def toward_second(factors, cotangent):
        asked.append("second")
        return Kernel(cotangent * factors[0])

    set_gradients(of_two, toward_first, toward_second)
    return lambda x, y: of_two(x, Kernel(y)), asked


@pytest.mark.parametrize(
    ("arguments", "gradients", "computed"),
    [(0, 3.0, ["first"]), (1, 2.0, ["second"]), ((0, 1), (3.0, 2.0), ["first", "second"])],
)
def test_only_what_is_wanted_is_computed(product, arguments, gradients, computed):
    of_two, asked = product
    assert jax.grad(of_two, arguments)(2.0, 3.0) == gradients
    assert asked == computed


def test_a_penalty_on_one_gradient_learns_through_the_other(product):
    of_two, _ = product
    # The square of d(xy)/dx is y^2, whose derivative is 2 y.
    assert jax.grad(lambda y: jax.grad(of_two)(2.0, y) ** 2)(3.0) == 6.0


def test_a_frozen_kernel_costs_no_products():
    x, kernel = jnp.ones((4, 6, 6, 3)), jnp.ones((3, 3, 1, 3))

    def loss(x, kernel):
        return depthwise_conv(x, kernel, form="products").sum()

    frozen, learning = (str(jax.make_jaxpr(jax.grad(loss, of))(x, kernel)) for of in (0, 1))
    assert "dot_general" in learning and "dot_general" not in frozen
