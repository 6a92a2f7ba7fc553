"""A U-Net whose way down is the trunk of an EfficientNet-Lite, with ImageNet's weights."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from common.data.prepared.prepared import DataCard
from common.devices.axis import AXIS
from common.networks.efficientnet_lite import EfficientNetLite, published_variables
from common.networks.unet import UNet
from common.program.errors import UserError
from unet.config import unet_config
from unet.task import make_task

CARD = DataCard(
    "test", ("a",), {"train": 8}, 32, 1, "0", False, 0, mask_classes=("background", "tumour")
)
RNG = np.random.default_rng(0)
IMAGES = jnp.asarray(RNG.random((2, 32, 32, 1)), jnp.float32)


def made_task(card=CARD, frozen=0, **model):
    config = unet_config()
    config.model.update(width=4, depth=2, encoder="efficientnet_lite0")
    config.model.update(model)
    config.optimizer.frozen = frozen
    config.data.batch_size = 4
    return make_task(config, card)


def shapes_of(network, images=IMAGES):
    return jax.eval_shape(lambda: network.init(jax.random.key(0), images, train=True))


def test_its_maps_are_those_of_the_trunk():
    """Which sees pixels in [0, 1], whatever the U-Net sees."""
    network = UNet(1, 4, 3, axis_name="", encoder="efficientnet_lite0", to_unit=(0.5, 0.25))
    variables = published_variables(0)
    rest = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), dict(shapes_of(network)))
    for kind, layers in variables.items():
        rest[kind] |= {name: layers[name] for name in rest[kind].keys() & layers.keys()}
    kept = {"mutable": "intermediates", "capture_intermediates": lambda _, name: name == "stages"}
    _, seen = jax.jit(partial(network.apply, train=False, **kept))(rest, IMAGES)
    stages = partial(EfficientNetLite().apply, train=False, method="stages", last="stage_2")
    expected = jax.jit(stages)(variables, IMAGES / 2 + 0.25)
    (found,) = seen["intermediates"]["stages"]
    assert [found[name].shape[1] for name in ("stage_1", "stage_2")] == [16, 8]
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4), found, expected)


def test_the_output_of_the_deepest_one_has_the_size_of_the_input():
    network = UNet(3, 4, 6, axis_name="", encoder="efficientnet_lite2")
    images = jnp.zeros((1, 3 * network.multiple, network.multiple, 1))
    variables = shapes_of(network, images)
    logits = jax.eval_shape(lambda given: network.apply(given, images, train=False), variables)
    assert logits.shape == (*images.shape[:3], 3)


def test_its_parameters_are_those_of_the_stages_and_of_the_way_up():
    """Blocks of 1x1, depthwise and 1x1 convolutions, each with BatchNorm; then as in any U-Net."""

    def convolution(size, before, after):
        return size**2 * before * after + after

    def level(before, after):
        return convolution(3, before, after) + convolution(3, after, after) + 4 * after

    def block(kernel, before, after, widening=6):
        wide = widening * before
        widen = before * wide + 2 * wide if widening > 1 else 0
        return widen + (kernel**2 + 2) * wide + wide * after + 2 * after

    encoder = 27 * 32 + 2 * 32 + block(3, 32, 16, widening=1)
    encoder += block(3, 16, 24) + block(3, 24, 24)
    up = convolution(2, 24, 8) + level(8 + 16, 8) + convolution(2, 8, 4) + level(4 + 4, 4)
    params = shapes_of(UNet(1, 4, 3, axis_name="", encoder="efficientnet_lite0"))["params"]
    found = sum(leaf.size for leaf in jax.tree.leaves(params))
    assert found == level(1, 4) + encoder + up + convolution(1, 4, 1)


def test_it_starts_from_the_published_weights():
    task = made_task()
    state = task.warm_start(jax.jit(task.init)(jax.random.key(0)))
    published = published_variables(0)
    taken = 0
    for kind in ("params", "batch_stats"):
        for name, layer in published[kind].items():
            if name in state.average[kind]:
                jax.tree.map(np.testing.assert_array_equal, state.average[kind][name], layer)
                taken += 1
    assert taken == 2 * 3 + 3  # three convolutions, each with BatchNorm
    assert state.average == state.network.learning


def test_a_step_moves_what_is_not_frozen_and_is_the_same_on_any_number_of_devices():
    task = made_task(frozen=1)
    state = task.warm_start(jax.jit(task.init)(jax.random.key(0)))
    batch = {
        "image": jnp.asarray(RNG.integers(0, 256, (4, 32, 32, 1)), jnp.uint8),
        "mask": jnp.asarray(RNG.integers(0, 2, (4, 32, 32)), jnp.uint8),
        "label": jnp.zeros(4, jnp.int32),
        "position": jnp.arange(4, dtype=jnp.int32),
    }
    step = jax.vmap(partial(task.train_step, rng=jax.random.key(1)), (None, 0), axis_name=AXIS)
    after = []
    for devices in (1, 4):
        spread = jax.tree.map(lambda x, n=devices: x.reshape(n, -1, *x.shape[1:]), batch)
        after.append(jax.tree.map(lambda x: x[0], jax.jit(step)(state, spread)))
    (one, metrics), (four, others) = after
    jax.tree.map(
        partial(np.testing.assert_allclose, rtol=2e-4), metrics.compute(), others.compute()
    )
    for kind, before in state.network.learning.items():
        for name, layer in before.items():
            for key, leaf in layer.items():
                now = one.network.learning[kind][name][key]
                assert (now != leaf).any() != name.startswith("stem"), (kind, name, key)
    stats = (one.network.batch_stats, four.network.batch_stats)
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-5), *stats)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"depth": 7}, "make it 2 to 6"),
        ({"depth": 1}, "make it 2 to 6"),
        ({"frozen": 3}, "a U-Net of 2 levels has 2 stages"),
        ({"encoder": "levels", "frozen": 1}, "has no stages to freeze"),
        ({"card": replace(CARD, channels=4)}, "sees images of 1 or 3 channels"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(changes, says):
    with pytest.raises(UserError, match=says):
        made_task(**changes)
