"""A batch in parts: the same gradient as the whole, but for BatchNorm, which sees a part."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gan.task
from common.devices.axis import AXIS
from common.program.errors import UserError
from configs import biggan_chest_xray
from tests.gan.test_recipes import (
    BATCH,
    CARD,
    RNG,
    assert_close,
    batch_of,
    config_of,
    quick_jit,
    train,
)

# The state of its momentum is the gradient; the networks hardly move.
MOMENTUM = {
    f"optimizer__{player}__{name}": value
    for player in ("generator", "discriminator")
    for name, value in (("name", "sgd"), ("beta1", 0.5), ("learning_rate", 1e-9))
}


pytestmark = pytest.mark.usefixtures("float64")


def made(config, image_size=4):
    """Returns a task and its state at step 0."""
    task = gan.task.make_task(config, replace(CARD, image_size=image_size))
    state = quick_jit(task.init)(jax.random.key(0))
    return task, jax.tree.map(lambda x: x.astype(float) if x.dtype == jnp.float32 else x, state)


def gradients(state):
    return state.discriminator.opt_state, state.generator.opt_state


def step(task):
    """Returns state, batch -> the state after a step on one device."""

    def on_device(state, batch):
        mapped = jax.vmap(lambda _: task.train_step(state, batch, RNG)[0], axis_name=AXIS)
        return jax.tree.map(lambda x: x[0], mapped(jnp.zeros(1)))

    return quick_jit(on_device)


@pytest.mark.parametrize(
    "recipe",
    [
        {"optimizer__discriminator_steps": 2, "optimizer__half_batches": True},
        {"loss__name": "relativistic", "loss__r1": 1.0, "loss__orthogonality": 0.1},
    ],
    ids=["half batches", "pairs and terms"],
)
def test_without_batchnorm_the_step_is_that_of_the_whole_batch(recipe):
    def after(parts):
        config = config_of(optimizer__accumulate=parts, **MOMENTUM, **recipe)
        with config.unlocked():
            config.model.generator.update(batch_norm=False, dropout_rate=0.3)
        return train(*made(config))

    (whole, logged), (parts, logged_of_parts) = after(1), after(2)
    assert_close(gradients(parts), gradients(whole), rtol=1e-6, atol=1e-10)
    assert logged_of_parts.keys() == logged.keys()
    for name, value in logged.items():
        np.testing.assert_allclose(logged_of_parts[name], value, rtol=1e-6, err_msg=name)


def test_batchnorm_takes_its_statistics_of_each_part():
    """Gradients are the mean of those of the halves; running statistics are as after both."""
    task, state = made(config_of("dcgan", optimizer__accumulate=2, **MOMENTUM), 16)
    of_half, _ = made(config_of("dcgan", data__batch_size=BATCH // 2, **MOMENTUM), 16)
    batch, half_step = batch_of(task), step(of_half)
    found = step(task)(state, batch)
    before, halves = state, []
    for rows in (slice(0, BATCH // 2), slice(BATCH // 2, BATCH)):
        after = half_step(before, {name: x[rows] for name, x in batch.items()})
        halves.append(after)
        for player in ("generator", "discriminator"):
            stats = getattr(after, player).batch_stats
            network = replace(getattr(state, player), batch_stats=stats)
            before = replace(before, **{player: network})
    mean = jax.tree.map(lambda *x: sum(x) / 2, *map(gradients, halves))
    assert_close(gradients(found), mean, rtol=1e-5, atol=1e-9)
    for player in ("generator", "discriminator"):
        stats, of_last = (getattr(one, player).batch_stats for one in (found, halves[-1]))
        assert stats
        assert_close(stats, of_last, rtol=1e-6)


def biggan():
    config = biggan_chest_xray.get_config("tiny")
    config.optimizer.discriminator_steps = 1
    for player in ("generator", "discriminator"):
        config.model[player].update(width=2, attention=4)
        config.optimizer[player].update(name="sgd", learning_rate=1e-9)
    return config


@pytest.mark.parametrize("name", ["dcgan", pytest.param("biggan", marks=pytest.mark.slow)])
def test_parts_are_the_same_on_any_number_of_devices(name):
    config = biggan() if name == "biggan" else config_of("dcgan", **MOMENTUM)
    config.optimizer.accumulate = 2
    task, state = made(config, 8)
    assert task.batches == (2, BATCH // 2)
    (one, logged), (four, logged_of_four) = (train(task, state, devices) for devices in (1, 4))
    assert_close(one, four, rtol=1e-5, atol=1e-8)
    assert logged == pytest.approx(logged_of_four)


def test_parts_of_unequal_size_are_refused():
    for recipe, multiple in (({}, 3), ({"optimizer__half_batches": True}, 6)):
        with pytest.raises(UserError, match=f"make it a multiple of {multiple}"):
            made(config_of(optimizer__accumulate=3, **recipe))
