"""Residual blocks on the way down, and levels that learn from smaller masks."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from common.data.prepared.prepared import DataCard
from common.devices.axis import AXIS
from common.networks.unet import UNet
from configs import unet
from unet.config import UNetLoss
from unet.losses import deep_loss, total_loss
from unet.task import make_task

RNG = np.random.default_rng(0)
SIZE = 16


def shapes_of(network, channels=3):
    images = jnp.zeros((1, SIZE, SIZE, channels))
    return jax.eval_shape(lambda: network.init(jax.random.key(0), images, train=True))


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def test_a_level_has_so_many_residual_blocks():
    """Two 3x3 convolutions each; the first also a 1x1 convolution, where the maps change."""
    plain, residual = (shapes_of(UNet(1, 4, 2, residual_blocks=n)) for n in (0, 3))

    def convolution(size, before, after):
        return size**2 * before * after + after + 2 * after  # weights, biases, BatchNorm

    more = 0
    for before, after in ((3, 4), (4, 8)):
        more += convolution(1, before, after) + 4 * convolution(3, after, after)
    assert count(residual["params"]) - count(plain["params"]) == more
    ups = {name for name in plain["params"] if name.startswith(("up", "double", "output"))}
    assert ups == {name for name in residual["params"] if not name.startswith(("down", "bottom"))}


def test_a_block_without_effect_passes_its_input_on():
    network = UNet(1, 4, 1, residual_blocks=1, axis_name="")
    images = jnp.asarray(RNG.random((2, SIZE, SIZE, 4)), jnp.float32)
    variables = jax.jit(lambda: network.init(jax.random.key(0), images, train=True))()
    params = dict(variables["params"])
    params["bottom_block_0_norm_2"] = jax.tree.map(jnp.zeros_like, params["bottom_block_0_norm_2"])
    params["output"] = {"kernel": jnp.ones((1, 1, 4, 1)), "bias": jnp.zeros(1)}
    found = network.apply({**variables, "params": params}, images, train=False)
    np.testing.assert_allclose(found, images.sum(-1, keepdims=True), rtol=1e-5)


def test_smaller_outputs_are_of_training_alone():
    network = UNet(1, 4, 4, deep_supervision=True, axis_name="")
    variables = shapes_of(network)
    images = jnp.zeros((2, SIZE, SIZE, 3))
    apply = partial(network.apply, mutable=["batch_stats", "intermediates"])
    for train, sizes in ((True, {"deep_1": 8, "deep_2": 4}), (False, {})):
        _, changed = jax.eval_shape(partial(apply, train=train), variables, images)
        found = {name: x[0].shape[1] for name, x in changed.get("intermediates", {}).items()}
        assert found == sizes


def test_the_loss_is_the_mean_of_all_sizes_by_their_weights():
    settings = UNetLoss(cross_entropy=1.0, dice=0.5)
    truth = jnp.asarray(RNG.integers(0, 2, (3, SIZE, SIZE)), jnp.uint8)
    logits = {
        name: (jnp.asarray(RNG.normal(size=(3, size, size, 1)), jnp.float32),)
        for name, size in (("deep_1", 8), ("deep_2", 4))
    }
    whole = jnp.asarray(RNG.random(3), jnp.float32)
    halves, _ = total_loss(logits["deep_1"][0], truth[:, 1::2, 1::2], settings)
    quarters, _ = total_loss(logits["deep_2"][0], truth[:, 2::4, 2::4], settings)
    expected = (whole + halves / 2 + quarters / 4) / 1.75
    np.testing.assert_allclose(deep_loss(logits, whole, truth, settings), expected, rtol=1e-6)
    np.testing.assert_array_equal(deep_loss({}, whole, truth, settings), whole)


def test_a_step_moves_every_weight():
    config = unet.get_config("tiny").unlock()
    config.model.update(depth=3, width=4, residual_blocks=1, deep_supervision=True)
    config.train.dtype = "bfloat16"
    card = DataCard(
        "test", ("a",), {"train": 8}, SIZE, 3, "0", False, 0, mask_classes=("nothing", "tumour")
    )
    task = make_task(config.lock(), card)
    batch = {
        "image": jnp.asarray(RNG.integers(0, 256, (4, SIZE, SIZE, 3)), jnp.uint8),
        "mask": jnp.asarray(RNG.integers(0, 2, (4, SIZE, SIZE)), jnp.uint8),
        "label": jnp.zeros(4, jnp.int32),
        "position": jnp.arange(4, dtype=jnp.int32),
    }
    state = jax.jit(task.init)(jax.random.key(0))
    step = jax.vmap(partial(task.train_step, rng=jax.random.key(1)), (None, 0), axis_name=AXIS)
    after, _ = jax.jit(step)(state, jax.tree.map(lambda x: x[None], batch))
    for path, before in jax.tree_util.tree_leaves_with_path(state.network.params):
        now = jax.tree_util.tree_leaves_with_path(after.network.params)
        (moved,) = (leaf[0] for other, leaf in now if other == path)
        assert (moved != before).any(), path
