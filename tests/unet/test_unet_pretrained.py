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
from tests.checkpoint_leaves import read_leaves
from unet.config import unet_config
from unet.task import make_task

CARD = DataCard(
    "test", ("a",), {"train": 8}, 32, 1, "0", False, 0, mask_classes=("background", "tumour")
)
RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (4, 32, 32, 1))
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


def stepped(task, state, devices):
    """Returns the state and the metrics after a step on so many devices."""
    batch = {
        "image": jnp.asarray(PIXELS, jnp.uint8),
        "mask": jnp.asarray(PIXELS[..., 0] > 127, jnp.uint8),
        "label": jnp.zeros(4, jnp.int32),
        "position": jnp.arange(4, dtype=jnp.int32),
    }
    step = jax.vmap(partial(task.train_step, rng=jax.random.key(1)), (None, 0), axis_name=AXIS)
    spread = jax.tree.map(lambda x: x.reshape(devices, -1, *x.shape[1:]), batch)
    return jax.tree.map(lambda x: x[0], jax.jit(step)(state, spread))


@pytest.mark.slow  # to compile a step of a whole trunk takes seconds
def test_a_step_moves_all_but_the_frozen_stages():
    task = made_task(frozen=1)
    state = task.warm_start(jax.jit(task.init)(jax.random.key(0)))
    after, _ = stepped(task, state, 1)
    for kind, before in state.network.learning.items():
        for name, layer in before.items():
            for key, leaf in layer.items():
                moved = (after.network.learning[kind][name][key] != leaf).any()
                assert moved != name.startswith("stem"), (kind, name, key)


@pytest.mark.slow  # tests/unet/test_unet_task.py compares other U-Nets
def test_a_step_does_not_depend_on_the_number_of_devices():
    task = made_task(frozen=1)
    state = task.warm_start(jax.jit(task.init)(jax.random.key(0)))
    (one, metrics), (four, others) = (stepped(task, state, devices) for devices in (1, 4))
    close = partial(np.testing.assert_allclose, rtol=2e-4)
    jax.tree.map(close, metrics.compute(), others.compute())
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


@pytest.mark.slow  # tests/test_resume.py continues other runs
def test_a_run_that_is_continued_ends_as_one_that_was_not(launch, tmp_path):
    run = (
        "--config=configs/unet_brain_mri_best.py:tiny",
        "--config.model.encoder=efficientnet_lite0",
        "--config.optimizer.frozen=1",
        "--config.optimizer.decay=none",
        "--config.train.picture_every=0",
    )
    launch(*run, f"--workdir={tmp_path / 'whole'}")
    launch(*run, f"--workdir={tmp_path / 'parts'}", "--config.train.num_steps=3")
    said = launch(*run, f"--workdir={tmp_path / 'parts'}")
    assert "resuming from step 3" in said.stderr
    whole, parts = (read_leaves(tmp_path / name, 6) for name in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    assert not [name for name in whole if whole[name].tobytes() != parts[name].tobytes()]
