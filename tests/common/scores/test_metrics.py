"""Averages are of examples, however they were batched and spread."""

import jax
import jax.numpy as jnp
import numpy as np

from common.devices.axis import AXIS
from common.scores.metrics import averages

VALUES = np.arange(12, dtype=np.float32)


def over_devices(function, *args):
    """Runs a function of the parallel step on a leading axis of devices; all results are equal."""
    return jax.tree.map(lambda x: x[0], jax.vmap(function, axis_name=AXIS)(*args))


def test_the_average_does_not_depend_on_the_number_of_devices():
    for devices in (1, 2, 3, 4):
        values = jnp.asarray(VALUES.reshape(devices, -1))
        metrics = over_devices(lambda v: averages({"x": v, "mean": v.mean()}), values)
        computed = metrics.compute()
        assert computed["x"] == computed["mean"] == VALUES.mean()


def test_padding_does_not_count():
    values = jnp.asarray([[1.0, 2.0, 99.0], [99.0, 99.0, 99.0]])
    mask = jnp.asarray([[True, True, False], [False, False, False]])
    metrics = over_devices(lambda v, m: averages({"x": v}, mask=m), values, mask)
    assert metrics.compute()["x"] == 1.5


def test_merging_steps_is_not_a_mean_of_means():
    def step(values, mask):
        return over_devices(lambda v, m: averages({"x": v}, mask=m), values, mask)

    whole = step(jnp.asarray([[1.0, 1.0, 1.0]]), jnp.ones((1, 3), bool))
    part = step(jnp.asarray([[5.0, 0.0, 0.0]]), jnp.asarray([[True, False, False]]))
    assert whole.merge(part).compute()["x"] == 2.0
    assert whole.merge(type(whole).empty()).compute()["x"] == 1.0
