"""Losses of segmentation: closed forms, gradients, and what they are equal to."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from common.devices.axis import AXIS
from unet.config import UNetLoss
from unet.losses import LOSSES, log_probabilities, total_loss

RNG = np.random.default_rng(0)
LOGITS = jnp.asarray(RNG.normal(size=(4, 6, 5, 1)), jnp.float32)
TRUTH = jnp.asarray(RNG.integers(0, 2, (4, 6, 5)), jnp.uint8)
THREE = jnp.asarray(RNG.normal(size=(4, 6, 5, 3)), jnp.float32)
THREE_TRUTH = jnp.asarray(RNG.integers(0, 3, (4, 6, 5)), jnp.uint8)


def loss(name, logits, truth, **settings):
    return LOSSES[name](log_probabilities(logits), truth, UNetLoss(**settings))


def foreground(logits):
    return np.asarray(jax.nn.sigmoid(logits[..., 0]))


def test_cross_entropy_of_a_sigmoid_and_of_a_softmax():
    expected = optax.sigmoid_binary_cross_entropy(LOGITS[..., 0], TRUTH).mean((1, 2))
    np.testing.assert_allclose(loss("cross_entropy", LOGITS, TRUTH), expected, rtol=1e-6)
    labels = THREE_TRUTH.astype(jnp.int32)
    expected = optax.softmax_cross_entropy_with_integer_labels(THREE, labels).mean((1, 2))
    np.testing.assert_allclose(loss("cross_entropy", THREE, THREE_TRUTH), expected, rtol=1e-6)


def test_two_outputs_are_one_output_and_its_absence():
    both = jnp.concatenate([jnp.zeros_like(LOGITS), LOGITS], -1)
    for name in LOSSES:
        np.testing.assert_allclose(
            loss(name, both, TRUTH), loss(name, LOGITS, TRUTH), rtol=1e-5, err_msg=name
        )


def test_dice_is_its_formula():
    p, t = foreground(LOGITS), np.asarray(TRUTH, float)
    overlap = 2 * (p * t).sum((1, 2)) + 1
    expected = 1 - overlap / (p.sum((1, 2)) + t.sum((1, 2)) + 1)
    np.testing.assert_allclose(loss("dice", LOGITS, TRUTH), expected, rtol=1e-5)


def test_tversky_is_its_formula_and_dice_at_one_half():
    p, t = foreground(LOGITS), np.asarray(TRUTH, float)
    hits, false, missed = ((a).sum((1, 2)) for a in (p * t, p * (1 - t), (1 - p) * t))
    expected = 1 - (hits + 0.5) / (hits + 0.3 * false + 0.7 * missed + 0.5)
    np.testing.assert_allclose(loss("tversky", LOGITS, TRUTH), expected, rtol=1e-5)
    half = loss("tversky", LOGITS, TRUTH, tversky_alpha=0.5, tversky_beta=0.5)
    np.testing.assert_allclose(half, loss("dice", LOGITS, TRUTH), rtol=1e-6)


def test_focal_is_optax_and_cross_entropy_at_gamma_zero():
    expected = optax.sigmoid_focal_loss(LOGITS[..., 0], TRUTH.astype(jnp.float32), gamma=2.0)
    np.testing.assert_allclose(loss("focal", LOGITS, TRUTH), expected.mean((1, 2)), rtol=1e-5)
    plain = loss("focal", LOGITS, TRUTH, focal_gamma=0.0)
    np.testing.assert_allclose(plain, loss("cross_entropy", LOGITS, TRUTH), rtol=1e-6)


@pytest.mark.parametrize("truth", [TRUTH, jnp.zeros_like(TRUTH), jnp.ones_like(TRUTH)])
def test_dice_and_focal_and_their_gradients_are_those_of_optax(truth):
    """Of images with something to find, with nothing, and with nothing else."""

    def optax_dice(logits):
        one_hot = jax.nn.one_hot(truth, 2)
        both = log_probabilities(logits)
        return optax.losses.dice_loss(both, one_hot, smooth=0.5, ignore_background=True).sum()

    def optax_focal(logits):
        return optax.sigmoid_focal_loss(logits[..., 0], truth).mean((1, 2)).sum()

    for name, theirs in (("dice", optax_dice), ("focal", optax_focal)):
        expected = jax.value_and_grad(theirs)(LOGITS)
        found = jax.value_and_grad(lambda x, name=name: loss(name, x, truth).sum())(LOGITS)
        for ours, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(ours, other, rtol=1e-4, atol=1e-7, err_msg=name)


@pytest.mark.parametrize("name", LOSSES)
def test_a_perfect_answer_costs_nothing_and_has_a_finite_gradient(name):
    for truth in (TRUTH, jnp.zeros_like(TRUTH)):
        logits = 200.0 * (2.0 * truth[..., None] - 1)
        value, slope = jax.value_and_grad(lambda x, t=truth: loss(name, x, t).mean())(logits)
        assert abs(value) < 1e-5 and np.isfinite(slope).all()


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_agree_with_finite_differences(name):
    with jax.enable_x64(True):
        logits = jnp.asarray(np.asarray(THREE), jnp.float64)
        direction = jnp.asarray(RNG.normal(size=logits.shape))

        def value(step):
            return loss(name, logits + step * direction, THREE_TRUTH).mean()

        slope = jax.grad(value)(0.0)
        numeric = (value(1e-5) - value(-1e-5)) / 2e-5
        np.testing.assert_allclose(slope, numeric, rtol=1e-6)


@pytest.mark.parametrize("devices", [1, 2, 4])
def test_over_the_batch_dice_is_of_one_large_image_however_it_is_spread(devices):
    """Value and gradient, as `pmap` takes them: the mean of the devices' gradients."""

    def of_device(logits, truth):
        def value(scale):
            return loss("dice", scale * logits, truth, overlap_over="batch").mean()

        value, slope = jax.value_and_grad(value)(1.0)
        return jax.lax.pmean((value, slope), AXIS)

    def spread(x):
        return x.reshape(devices, -1, *x.shape[1:])

    value, slope = jax.vmap(of_device, axis_name=AXIS)(spread(LOGITS), spread(TRUTH))
    one, flat = LOGITS.reshape(1, -1, 5, 1), TRUTH.reshape(1, -1, 5)
    expected, gradient = jax.value_and_grad(lambda s: loss("dice", s * one, flat).mean())(1.0)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    np.testing.assert_allclose(slope, gradient, rtol=1e-5)


def test_the_total_is_the_weighted_sum_of_what_has_a_weight():
    total, parts = total_loss(LOGITS, TRUTH, UNetLoss(cross_entropy=0.5, dice=2.0))
    assert parts.keys() == {"cross_entropy_loss", "dice_loss"}
    np.testing.assert_allclose(total, 0.5 * parts["cross_entropy_loss"] + 2.0 * parts["dice_loss"])
