"""One step of segmentation training: who moves, what is logged, and what does not matter."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from common.config.defaults import check
from common.data.prepared.prepared import DataCard
from common.devices.axis import AXIS
from common.program.errors import UserError
from common.scores.metrics import class_scores, confusion_matrix, confusion_of
from configs import unet_brain_mri, unet_brain_mri_best
from unet.config import RULES
from unet.task import make_task

CARD = DataCard(
    "test", ("a",), {"train": 8}, 16, 3, "0", False, 0, mask_classes=("background", "tumour")
)
THREE = ("background", "oedema", "non-enhancing core")
BATCH = 8
RNG = np.random.default_rng(0)


def settings(module=unet_brain_mri_best):
    config = module.get_config("tiny")
    config.model.update(depth=2, width=4)
    config.data.batch_size = BATCH
    return config


def batch_of(classes=2):
    return {
        "image": jnp.asarray(RNG.integers(0, 256, (BATCH, 16, 16, 3)), jnp.uint8),
        "mask": jnp.asarray(RNG.integers(0, classes, (BATCH, 16, 16)), jnp.uint8),
        "label": jnp.zeros(BATCH, jnp.int32),
        "position": jnp.arange(BATCH, dtype=jnp.int32),
    }


def over_devices(function, state, batch, devices):
    """Runs a function of the parallel step on a batch spread over devices."""
    spread = jax.tree.map(lambda x: x.reshape(devices, -1, *x.shape[1:]), batch)
    run = jax.jit(jax.vmap(function, (None, 0), axis_name=AXIS))
    return jax.tree.map(lambda x: x[0], run(state, spread))


@pytest.fixture(
    scope="module",
    params=[pytest.param(unet_brain_mri, marks=pytest.mark.slow), unet_brain_mri_best],
    ids=["plain", "best"],
)
def task(request):
    return make_task(settings(request.param), CARD)


def test_a_step_does_not_depend_on_the_number_of_devices(task):
    state, batch, rng = jax.jit(task.init)(jax.random.key(0)), batch_of(), jax.random.key(1)
    results = [
        over_devices(lambda s, b: task.train_step(s, b, rng), state, batch, devices)
        for devices in (1, 4)
    ]
    (one, one_metrics), (four, four_metrics) = results
    for name, value in one_metrics.compute().items():
        np.testing.assert_allclose(four_metrics.compute()[name], value, rtol=2e-4, err_msg=name)
    stats = [jax.tree.leaves(state.network.batch_stats) for state in (one, four)]
    for left, right in zip(*stats, strict=True):
        np.testing.assert_allclose(left, right, atol=1e-5)
    assert int(four.step) == 1


def test_a_batch_in_parts_that_are_alike_is_the_whole_batch():
    """BatchNorm, which sees a part, then has the statistics of the whole."""
    half = jax.tree.map(lambda x: x[: BATCH // 2], batch_of())
    batch = {name: jnp.concatenate([x, x]) for name, x in half.items()}
    logged = []
    for parts in (1, 2):
        config = settings(unet_brain_mri)
        config.optimizer.accumulate = parts
        task = make_task(config, CARD)
        assert task.batches == (parts, BATCH // parts)
        state = jax.jit(task.init)(jax.random.key(0))
        step = partial(task.train_step, rng=jax.random.key(1))
        _, metrics = over_devices(step, state, batch, 1)
        logged.append(metrics.compute())
    whole, in_parts = logged
    assert {"loss", "dice", "gradient_norm"} <= whole.keys() == in_parts.keys()
    for name, value in whole.items():
        np.testing.assert_allclose(in_parts[name], value, rtol=1e-4, err_msg=name)


def test_validation_does_not_count_padding(task):
    state, batch = jax.jit(task.init)(jax.random.key(0)), batch_of()
    valid = jnp.arange(BATCH) < 5
    padded = over_devices(task.eval_step, state, {**batch, "valid": valid}, 4)
    whole = jax.tree.map(lambda x: x[:5], batch)
    exact = over_devices(task.eval_step, state, {**whole, "valid": jnp.ones(5, bool)}, 1)
    for name, value in exact.compute().items():
        np.testing.assert_allclose(padded.compute()[name], value, rtol=1e-5, err_msg=name)


def test_logged_scores_are_those_of_the_pooled_confusion_matrix():
    task = make_task(settings(), CARD)
    state, batch = jax.jit(task.init)(jax.random.key(0)), batch_of()
    metrics = over_devices(task.eval_step, state, {**batch, "valid": jnp.ones(BATCH, bool)}, 2)
    images = jnp.asarray(batch["image"])
    from unet.inputs import network_input

    logits = task.segmenter.network.apply(
        state.average, network_input(images, "standardised"), train=False
    )
    predicted = np.asarray(logits[..., 0] > 0).astype(np.uint8)
    truth = np.asarray(batch["mask"])
    each = np.stack([confusion_of(t, p, 2) for t, p in zip(truth, predicted, strict=True)])
    logged = metrics.compute()
    for name, values in class_scores(each.sum(0)).items():
        np.testing.assert_allclose(logged[name], values[1], rtol=1e-6)
    mean = class_scores(each)["dice"][:, 1].mean()
    np.testing.assert_allclose(logged["dice_per_image"], mean, rtol=1e-6)


def test_the_confusion_matrix_counts_as_numpy_does():
    truth, predicted = RNG.integers(0, 3, (2, 5, 8, 9)).astype(np.uint8)
    counts = confusion_matrix(jnp.asarray(truth), jnp.asarray(predicted), 3)
    for t, p, found in zip(truth, predicted, counts, strict=True):
        np.testing.assert_array_equal(found, confusion_of(t, p, 3))


def test_three_classes_have_a_softmax_and_a_dice_each():
    card = DataCard("test", ("a",), {"train": 8}, 16, 3, "0", False, 0, mask_classes=THREE)
    task = make_task(settings(), card)
    assert task.segmenter.network.out_channels == 3
    state, batch, rng = jax.jit(task.init)(jax.random.key(0)), batch_of(3), jax.random.key(1)
    _, metrics = over_devices(lambda s, b: task.train_step(s, b, rng), state, batch, 2)
    logged = metrics.compute()
    np.testing.assert_allclose(
        logged["dice"], (logged["dice_oedema"] + logged["dice_non_enhancing_core"]) / 2, rtol=1e-6
    )


def test_the_original_is_trained_as_it_says():
    config = unet_brain_mri.get_config()
    assert config.data.batch_size == 2 and not config.data.shuffle
    assert config.train.num_steps == "15 epochs" and config.train.eval_every == "1 epochs"
    network = make_task(settings(unet_brain_mri), CARD).segmenter.network
    assert network.norm_output and network.out_channels == 1


def test_with_no_average_the_last_step_is_evaluated():
    task = make_task(settings(unet_brain_mri), CARD)
    state, batch, rng = jax.jit(task.init)(jax.random.key(0)), batch_of(), jax.random.key(1)
    state, _ = over_devices(lambda s, b: task.train_step(s, b, rng), state, batch, 1)
    for left, right in zip(
        jax.tree.leaves(state.average), jax.tree.leaves(state.network.variables), strict=True
    ):
        np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize(
    ("section", "name", "value"),
    [
        ("model", "depth", 0),
        ("model", "input", "raw"),
        ("model", "average_decay", 1.0),
        ("loss", "dice", -1.0),
        ("loss", "overlap_over", "pixel"),
    ],
)
def test_an_invalid_setting_is_refused(section, name, value):
    config = settings()
    config[section][name] = value
    with pytest.raises(UserError, match=f"config.{section}.{name} is"):
        check(config, RULES)
        make_task(config, CARD)


def test_data_without_masks_is_refused():
    card = DataCard("scans", ("a",), {"train": 8}, 16, 3, "0", False, 0)
    with pytest.raises(UserError, match="scans have no masks"):
        make_task(settings(), card)


def test_a_size_that_cannot_be_halved_is_refused_with_one_that_can():
    config = settings()
    config.model.depth = 5
    card = DataCard("a", ("a",), {"train": 8}, 100, 3, "0", False, 0, mask_classes=THREE)
    with pytest.raises(UserError, match=r"--config\.data\.image_size=96"):
        make_task(config, card)


def test_no_weight_is_no_loss():
    config = settings()
    config.loss.update(cross_entropy=0.0, dice=0.0)
    with pytest.raises(UserError, match="no loss a weight"):
        make_task(config, CARD)
