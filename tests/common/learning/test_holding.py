"""Parameters that a regular expression names do not learn."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from common.learning.optimizers import holding
from common.program.errors import UserError

PARAMS = {"halve_1": {"kernel": jnp.ones(3)}, "halve_2": {"kernel": jnp.ones(3)}}
GRADIENT = jax.tree.map(lambda x: jnp.arange(3.0) + 1, PARAMS)


def held(pattern):
    return holding(optax.adamw(0.1, weight_decay=0.5), pattern, "config.x.freeze")


def after(optimizer):
    updates, state = optimizer.update(GRADIENT, optimizer.init(PARAMS), PARAMS)
    return optax.apply_updates(PARAMS, updates), state


def test_they_stay_and_the_others_learn_as_without():
    (found, state), (expected, plain) = after(held("halve_1/")), after(held(""))
    np.testing.assert_array_equal(found["halve_1"]["kernel"], PARAMS["halve_1"]["kernel"])
    np.testing.assert_array_equal(found["halve_2"]["kernel"], expected["halve_2"]["kernel"])
    assert (expected["halve_1"]["kernel"] != PARAMS["halve_1"]["kernel"]).all()
    assert jax.tree.structure(state) == jax.tree.structure(plain)
    assert not state[0].mu["halve_1"]["kernel"].any()


def test_a_pattern_that_names_nothing_or_is_none_is_refused():
    with pytest.raises(UserError, match=r"x.freeze is 'trunk', .*begin with halve_1, halve_2"):
        held("trunk").init(PARAMS)
    with pytest.raises(UserError, match="no regular expression"):
        held("halve_(")
