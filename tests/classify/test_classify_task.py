"""One step of training a classifier: who learns, at which rate, and what does not matter."""

from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from classify.config import RULES, ClassifierModel
from classify.losses import cross_entropy, mixup, targets_of
from classify.networks import make_network
from classify.state import path_of
from classify.task import make_task
from common.config.defaults import check
from common.data.prepared.prepared import DataCard
from common.devices.axis import AXIS
from common.program.errors import UserError
from configs.vgg16_covid import get_config

CLASSES = ("COVID", "NonCOVID")
CARD = DataCard("test", CLASSES, {"train": 16}, 32, 1, "0", False, 0, class_counts=(12, 4))
BATCH = 8
RNG = np.random.default_rng(0)


def settings(name="small_cnn", **network):
    config = get_config("tiny")
    config.model.name = name
    small = {name: {"width": 4} for name in ("small_cnn", "resnet18")}
    small["vgg16"] = {"width": 4, "hidden": (8,)}
    with config.unlocked():
        config.model.network = {**small[name], **network}
    config.data.batch_size = BATCH
    config.optimizer.accumulate = 1
    return config


def batch_of():
    return {
        "image": jnp.asarray(RNG.integers(0, 256, (BATCH, 32, 32, 1)), jnp.uint8),
        "label": jnp.asarray(RNG.integers(0, 2, BATCH), jnp.int32),
        "position": jnp.arange(BATCH, dtype=jnp.int32),
    }


@lru_cache(maxsize=4)
def program_of(function):
    return jax.jit(jax.vmap(function, (None, 0), axis_name=AXIS))


def over_devices(function, state, batch, devices):
    spread = jax.tree.map(lambda x: x.reshape(devices, -1, *x.shape[1:]), batch)
    return jax.tree.map(lambda x: x[0], program_of(function)(state, spread))


def stepping(task):
    return lambda state, batch: task.train_step(state, batch, jax.random.key(1))


def step(task, state, batch, devices=1):
    return over_devices(stepping(task), state, batch, devices)


def paths(tree):
    return {path_of(keys): leaf for keys, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def test_the_original_has_the_parameters_of_the_report():
    network = make_network(ClassifierModel.of(get_config().model), len(CARD.classes))
    images = jnp.zeros((1, 256, 256, 1))
    params = jax.eval_shape(lambda: network.init(jax.random.key(0), images, train=True))["params"]
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 165_726_018
    assert sum(leaf.size for leaf in jax.tree.leaves(params["trunk"])) == 14_714_688


def test_resnet18_has_the_parameters_of_torchvision():
    """11,689,512 with a thousand classes."""
    network = make_network(ClassifierModel("resnet18", {"width": 64}), 1000)
    images = jnp.zeros((1, 64, 64, 3))
    params = jax.eval_shape(lambda: network.init(jax.random.key(0), images, train=True))["params"]
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 11_689_512


@pytest.mark.parametrize(
    "accumulate",
    [pytest.param(1, id="whole"), pytest.param(2, id="in parts", marks=pytest.mark.slow)],
)
def test_a_step_does_not_depend_on_the_number_of_devices(accumulate):
    config = settings(dropout_rate=0.25)
    config.loss.update(mixup=0.4 if accumulate == 1 else 0.0, label_smoothing=0.1)
    config.optimizer.accumulate = accumulate
    task = make_task(config, CARD)
    state, batch = jax.jit(task.init)(jax.random.key(0)), batch_of()
    one, one_metrics = step(task, state, batch, 1)
    # A device's share is its share of the first part, then of the second.
    order = np.arange(BATCH).reshape(accumulate, 2, -1).swapaxes(0, 1).ravel()
    two, two_metrics = step(task, state, {name: x[order] for name, x in batch.items()}, 2)
    for name, value in one_metrics.compute().items():
        np.testing.assert_allclose(two_metrics.compute()[name], value, rtol=1e-4, err_msg=name)
    for left, right in zip(
        *(jax.tree.leaves(s.network.batch_stats) for s in (one, two)), strict=True
    ):
        np.testing.assert_allclose(left, right, atol=1e-6)


@pytest.mark.parametrize("parts", [pytest.param(2, marks=pytest.mark.slow), 4])
def test_accumulated_gradients_are_those_of_the_whole_batch(parts):
    """Of a network without BatchNorm, which sees each part alone; SGD shows the gradient itself."""
    moved = []
    for accumulate in (1, parts):
        config = settings("vgg16")
        config.optimizer.accumulate = accumulate
        task = make_task(config, CARD)
        object.__setattr__(task.classifier, "optimizer", optax.sgd(1.0))
        state = jax.jit(task.init)(jax.random.key(0))
        after, _ = step(task, state, batch_of_seed(3))
        moved.append(jax.tree.map(lambda a, b: a - b, after.network.params, state.network.params))
    for one, other in zip(*map(jax.tree.leaves, moved), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5 * max(1e-3, abs(one).max()) + 1e-7)


def batch_of_seed(seed):
    rng = np.random.default_rng(seed)
    return batch_of() | {
        "image": jnp.asarray(rng.integers(0, 256, (BATCH, 32, 32, 1)), jnp.uint8),
        "label": jnp.asarray(rng.integers(0, 2, BATCH), jnp.int32),
    }


def test_frozen_stages_stay_and_the_head_learns():
    config = settings("vgg16")
    config.optimizer.frozen = 4
    task = make_task(config, CARD)
    state = jax.jit(task.init)(jax.random.key(0))
    before = paths(state.network.params)
    after = paths(step(task, state, batch_of())[0].network.params)
    moved = {path for path, leaf in after.items() if (np.asarray(leaf) != before[path]).any()}
    assert all(path.startswith(("trunk/block5", "hidden", "classes")) for path in moved)
    assert {"classes/kernel", "trunk/block5_conv3/kernel"} <= moved


def test_stages_thaw_one_after_the_other_from_the_top():
    config = settings("vgg16")
    config.optimizer.update(frozen=5, unfreeze_every="2")
    optimizer = make_task(config, CARD).classifier.optimizer
    params = {
        "trunk": {f"block{b}_conv1": {"kernel": jnp.ones(2)} for b in range(1, 6)},
        "classes": {"kernel": jnp.ones(2)},
    }
    state, learning = optimizer.init(params), []
    for _ in range(12):
        updates, state = optimizer.update(params, state, params)
        learning.append(sum(float(abs(u).sum()) > 0 for u in jax.tree.leaves(updates)))
    assert learning == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6]


def test_stages_nearer_to_the_image_learn_more_slowly():
    config = settings("vgg16")
    config.optimizer.stage_decay = 0.5
    optimizer = make_task(config, CARD).classifier.optimizer
    params = {
        "trunk": {f"block{b}_conv1": {"kernel": jnp.ones(1)} for b in range(1, 6)},
        "classes": {"kernel": jnp.ones(1)},
    }
    updates, _ = optimizer.update(params, optimizer.init(params), params)
    blocks = [float(updates["trunk"][f"block{b}_conv1"]["kernel"][0]) for b in range(1, 6)]
    head = float(updates["classes"]["kernel"][0])
    np.testing.assert_allclose(np.array([*blocks[1:], head]) / blocks, 2.0, rtol=1e-5)


def test_validation_does_not_count_padding():
    task = make_task(settings(), CARD)
    state, batch = jax.jit(task.init)(jax.random.key(0)), batch_of()
    valid = jnp.arange(BATCH) < 5
    padded = over_devices(task.eval_step, state, {**batch, "valid": valid}, 4).compute()
    whole = {name: x[:5] for name, x in batch.items()} | {"valid": jnp.ones(5, bool)}
    for name, value in over_devices(task.eval_step, state, whole, 1).compute().items():
        np.testing.assert_allclose(padded[name], value, rtol=1e-5, err_msg=name)


def test_smoothed_and_weighted_cross_entropy_are_their_formulas():
    logits = jnp.asarray(RNG.normal(size=(5, 3)), jnp.float32)
    labels = jnp.array([0, 1, 2, 1, 0])
    plain = cross_entropy(logits, targets_of(labels, 3, 0.0), jnp.ones(3))
    expected = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    np.testing.assert_allclose(plain, expected, rtol=1e-6)
    smoothed = cross_entropy(logits, targets_of(labels, 3, 0.1), jnp.ones(3))
    expected = optax.softmax_cross_entropy(
        logits, optax.smooth_labels(jax.nn.one_hot(labels, 3), 0.1)
    )
    np.testing.assert_allclose(smoothed, expected, rtol=1e-6)
    weights = jnp.array([1.0, 2.0, 3.0])
    weighted = cross_entropy(logits, targets_of(labels, 3, 0.0), weights)
    np.testing.assert_allclose(weighted, weights[labels] * plain, rtol=1e-6)


@pytest.mark.parametrize(
    ("text", "weights"), [("", (1, 1)), ("balanced", (16 / 24, 16 / 8)), ("1,3", (2 / 3, 2))]
)
def test_class_weights_have_the_mean_1_over_training_images(text, weights):
    config = settings()
    config.loss.class_weights = text
    found = make_task(config, CARD).classifier.class_weights
    np.testing.assert_allclose(found, weights, rtol=1e-6)
    assert (found * np.array(CARD.class_counts)).sum() == pytest.approx(16)


@pytest.mark.parametrize("devices", [1, 2, 4])
def test_mixup_blends_each_image_with_the_next_of_the_global_batch(devices):
    images = jnp.asarray(RNG.random((BATCH, 2, 2, 1)), jnp.float32)
    targets = targets_of(jnp.arange(BATCH) % 2, 2, 0.0)
    keys = jax.random.split(jax.random.key(0), BATCH)

    def spread(x):
        return x.reshape(devices, -1, *x.shape[1:])

    run = jax.jit(jax.vmap(lambda *args: mixup(*args, 0.4), axis_name=AXIS))
    blended, labels = run(spread(images), spread(targets), spread(keys))
    share = jax.jit(jax.vmap(lambda key: jax.random.beta(key, 0.4, 0.4)))(keys)
    share = np.maximum(share, 1 - share)[:, None, None, None]
    expected = share * images + (1 - share) * np.roll(images, -1, 0)
    np.testing.assert_allclose(blended.reshape(images.shape), expected, rtol=1e-5)
    np.testing.assert_allclose(labels.sum(-1), 1, rtol=1e-6)


@pytest.mark.parametrize(
    ("section", "name", "value"),
    [
        ("model", "name", "vgg61"),
        ("model", "average_decay", 1.0),
        ("loss", "label_smoothing", -0.1),
        ("loss", "class_weights", "1,2,3"),
        ("loss", "class_weights", "even"),
        ("optimizer", "frozen", 9),
        ("optimizer", "accumulate", 0),
        ("optimizer", "stage_decay", 1.5),
    ],
)
def test_an_invalid_setting_is_refused(section, name, value):
    config = settings()
    config[section][name] = value
    with pytest.raises(UserError, match=rf"config\.{section}\.{name} is"):
        check(config, RULES)
        make_task(config, CARD)


def test_settings_that_contradict_each_other_are_refused():
    config = settings()
    config.optimizer.accumulate = 3
    with pytest.raises(UserError, match="is not divisible by config"):
        make_task(config, CARD)
    with pytest.raises(UserError, match="all images of test are of one class, COVID"):
        make_task(settings(), DataCard("test", CLASSES[:1], {"train": 8}, 32, 1, "0", False, 0))
    config = settings()
    config.model.weights = "imagenet"
    with pytest.raises(UserError, match="there are none for small_cnn"):
        task = make_task(config, CARD)
        task.warm_start(jax.jit(task.init)(jax.random.key(0)))
    with pytest.raises(UserError, match="make it 32 or more"):
        card = DataCard("test", CLASSES, {"train": 8}, 16, 1, "0", False, 0)
        make_task(settings("vgg16"), card).init(jax.random.key(0))
