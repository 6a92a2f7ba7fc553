"""The moving average of a network's parameters."""

import jax
import jax.numpy as jnp
import numpy as np

from common.learning.network import moving_average


def test_the_moving_average_forgets_its_initialisation():
    """A plain 0.999 would keep 22 % of it over 1,500 steps."""
    step = jax.jit(lambda average, step: moving_average(average, jnp.ones(()), step, 0.999))
    average = jnp.zeros(())
    for number in range(1500):
        average = step(average, jnp.int32(number))
    assert 1 - float(average) < 1e-3


def test_the_moving_average_can_be_turned_off():
    params = {"w": jnp.arange(3.0)}
    average = moving_average({"w": jnp.ones(3)}, params, jnp.int32(7), 0.0)
    np.testing.assert_array_equal(average["w"], params["w"])


def test_the_rate_is_the_formulas():
    """`1 - min(decay, (1 + step) / (10 + step))` of the way from the average to the parameters."""
    for step, rate in ((0, 0.9), (8, 0.5), (90, 0.09), (10**6, 0.05)):
        moved = moving_average(jnp.zeros(()), jnp.ones(()), jnp.int32(step), 0.95)
        np.testing.assert_allclose(moved, rate, rtol=1e-5)
