"""config.train.batch_norm: statistics of the whole batch, or of each device's share of it."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from common.devices.axis import AXIS
from common.learning.network import NetworkState, updated
from common.networks.layers import BatchNorm, with_statistics
from common.training.programs import batch_shapes
from common.training.task import make_task
from configs import dense_gan_mnist, pix2pix_brain_mri, small_cnn_chest_xray, unet_brain_mri
from tests.compile_step import card_of

DEVICES, EACH = 4, 2  # images of a device


class Normalised(nn.Module):
    """A BatchNorm that learns, and one that keeps its statistics."""

    axis_name: str = AXIS

    @nn.compact
    def __call__(self, x, *, train):
        x = BatchNorm(0.9, 1e-3, self.axis_name, name="learning")(x, not train)
        return BatchNorm(0.9, 1e-3, self.axis_name, name="kept")(x, use_running_average=True)


def moved(batch_norm, x):
    """Returns a network on each device [devices, ...] after one step down the gradient."""
    module = with_statistics(Normalised(), batch_norm)
    made = module.init(jax.random.key(0), x[0], train=True)
    made["batch_stats"]["kept"]["mean"] = jnp.asarray([0.1, 0.2, 0.3])
    optimizer = optax.sgd(0.1)
    network = NetworkState.create(made, optimizer)

    def step(x):
        def loss(params):
            variables = network.applied(params, network.batch_stats)
            y, changed = module.apply(variables, x, train=True, mutable=["batch_stats"])
            return (y**3).mean(), changed["batch_stats"]

        gradients, stats = jax.grad(loss, has_aux=True)(network.params)
        return updated(network, optimizer, gradients, stats, batch_norm)[0].learning

    return jax.jit(jax.vmap(step, axis_name=AXIS))(x)


def assert_close(tree, other):
    for (path, a), b in zip(jax.tree.leaves_with_path(tree), jax.tree.leaves(other), strict=True):
        tolerance = 1e-4 * abs(b).max() + 2e-7  # roundings of numbers near 1
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=tolerance, err_msg=str(path))


def on_all(leaf):
    """Returns what one device has [1, ...] on each of them."""
    return leaf.repeat(DEVICES, 0)


@pytest.fixture(scope="module")
def x():
    """Three features of 5 examples on each of four devices, around different means."""
    draws = np.random.default_rng(0).normal(size=(DEVICES, 5, 3))
    return jnp.asarray(draws + np.arange(DEVICES)[:, None, None], jnp.float32)


def test_of_a_device_gradients_and_statistics_are_means_over_separate_batches(x):
    together = moved("device", x)
    alone = [moved("synchronised", x[i : i + 1]) for i in range(DEVICES)]
    assert_close(together, jax.tree.map(lambda *each: on_all(jnp.stack(each).mean(0)), *alone))
    for leaf in jax.tree.leaves(together):
        np.testing.assert_array_equal(leaf, on_all(leaf[:1]))
    stats = together["batch_stats"]["learning"]
    np.testing.assert_allclose(stats["mean"][0], 0.1 * x.mean((0, 1)), rtol=1e-4)
    np.testing.assert_allclose(stats["var"][0], 0.9 + 0.1 * x.var(1).mean(0), rtol=1e-4)
    np.testing.assert_array_equal(
        together["batch_stats"]["kept"]["mean"][0], np.float32([0.1, 0.2, 0.3])
    )


def test_synchronised_statistics_are_those_of_the_whole_batch(x):
    whole = moved("synchronised", x.reshape(1, -1, 3))
    assert_close(moved("synchronised", x), jax.tree.map(on_all, whole))
    np.testing.assert_allclose(
        whole["batch_stats"]["learning"]["var"][0], 0.9 + 0.1 * x.var((0, 1)), rtol=1e-4
    )


def test_on_one_device_both_are_equal(x):
    assert_close(moved("device", x[:1]), moved("synchronised", x[:1]))


def batch_for(task):
    """Returns the shares of all devices; the images of later ones are brighter."""
    draw, position = np.random.default_rng(0), np.arange(DEVICES * EACH, dtype=np.int32)
    batch = {}
    for name, shape in batch_shapes(task.card, len(position)).items():
        rows = draw.random(shape.shape) * (2 if name in ("label", "mask") else 50)
        brighter = 1 + position // EACH if name == "image" else 1
        batch[name] = (rows.T * brighter).T.astype(shape.dtype)
    batch["position"] = position
    return {name: jnp.asarray(x.reshape(DEVICES, EACH, *x.shape[1:])) for name, x in batch.items()}


def change_of(module, player, batch_norm, together):
    """Returns how a network changes in a step down its gradient: of all devices, or each alone."""
    config = module.get_config("tiny").unlock()
    config.data.batch_size = DEVICES * EACH
    config.train.batch_norm = batch_norm
    optimizer = config.optimizer if player == "network" else config.optimizer[player]
    optimizer.update(name="sgd", beta1=0.0, learning_rate=0.1, decay="none", warmup="0")
    task = make_task(config.lock(), card_of(config))
    state, shares = jax.jit(task.init)(jax.random.key(0)), batch_for(task)
    step = jax.vmap(partial(task.train_step, rng=jax.random.key(1)), (None, 0), axis_name=AXIS)
    if not together:
        shares = jax.tree.map(lambda x: x[:, None], shares)
        step = jax.vmap(step, (None, 0))
    after = jax.jit(step)(state, shares)[0]
    before, after = (getattr(x, player).learning for x in (state, after))
    return jax.tree.map(lambda a, b: np.asarray(b - a), before, after)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "first"),
    [
        (small_cnn_chest_xray, "network"),
        (unet_brain_mri, "network"),
        (dense_gan_mnist, "discriminator"),
        (pix2pix_brain_mri, "generator"),
    ],
)
def test_the_network_that_a_step_updates_first_moves_by_the_mean_of_separate_steps(module, first):
    together = change_of(module, first, "device", together=True)
    alone = change_of(module, first, "synchronised", together=False)
    assert_close(together, jax.tree.map(lambda x: on_all(x.mean(0)), alone))
