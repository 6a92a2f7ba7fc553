"""Regularisers of a discriminator that sees few images: closed forms, on any number of devices."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from common.learning.randomness import example_keys
from gan import networks
from gan.losses import r1
from gan.networks import Decision
from gan.steps import LABELS, draw_labels
from gan.task import make_task
from gan.terms import lecam
from tests.gan.test_recipes import (
    BATCH,
    CARD,
    RNG,
    assert_close,
    config_of,
    logits_with,
    quick_jit,
    real_and_generated,
    task_and_state,
    train,
)
from tests.gan.test_terms import with_discriminator


@pytest.fixture
def float64():
    with jax.enable_x64(True):
        yield


def task_with(**changes):
    """Returns the task of a dense GAN and its state at step 0, in the precision that is on."""
    task = make_task(config_of(**changes), CARD)
    state, dtype = quick_jit(task.init)(jax.random.key(0)), jnp.zeros(()).dtype
    return task, jax.tree.map(lambda x: x.astype(dtype) if x.dtype == jnp.float32 else x, state)


def decision(logits):
    """Returns a decision of one logit an image."""
    return Decision(jnp.asarray(logits), None)


class BrightnessOfClass(networks.Discriminator):
    """Decides by the mean of the pixels, times 1 for class 0 and 2 for class 1."""

    def decide(self, images, labels, train, keys):
        factor = self.param("factor", jax.nn.initializers.ones, ())
        return decision(factor * (1.0 + labels) * images.mean((1, 2, 3)))


class TestR2:
    def test_is_r1_of_generated_images(self, float64):
        task, state = task_and_state(loss__r2=0.5)
        _, fake = real_and_generated(task, state)
        _, logged = train(task, state)
        expected = r1(logits_with(task, state), fake).mean()
        np.testing.assert_allclose(logged["discriminator_r2"], expected, rtol=1e-6)
        plain = train(*task_and_state())[1]["discriminator_loss"]
        np.testing.assert_allclose(logged["discriminator_loss"], plain + 0.5 * expected, rtol=1e-6)

    def test_asks_for_the_classes_of_the_generated_images(self):
        task = with_discriminator(BrightnessOfClass, loss__r2=0.5, model__discriminator={})
        _, logged = train(task, jax.jit(task.init)(jax.random.key(0)))
        labels = draw_labels(task.gan, example_keys(RNG, LABELS, jnp.arange(BATCH)))
        expected = np.mean((1.0 + labels) ** 2) / 2 / CARD.image_size**2
        np.testing.assert_allclose(logged["discriminator_r2"], expected, rtol=1e-5)

    def test_is_lazy(self, float64):
        task, state = task_and_state(loss__r2=0.5, loss__penalty_every=16)
        at_once = train(*task_and_state(loss__r2=0.5))[1]["discriminator_r2"]
        for step, expected in ((0, 16 * at_once), (1, 0)):
            _, logged = train(task, replace(state, step=jnp.int32(step)))
            np.testing.assert_allclose(logged["discriminator_r2"], expected, rtol=1e-6)


class TestLeCam:
    def test_is_the_squared_distance_from_the_usual_logits_of_the_other_kind(self, float64):
        """Of a real image above those of generated ones, and of a generated one below."""
        real, fake = np.array([3.0, -2.0, 0.5]), np.array([-4.0, 1.0, 2.5])
        found = lecam(*map(decision, (real, fake)), jnp.asarray(2.0), jnp.asarray(-1.0))
        expected = [16 + 36, 0 + 1, 2.25 + 0]
        np.testing.assert_allclose(found, expected, rtol=1e-12)

    def test_averages_over_the_logits_of_an_image(self, float64):
        scales = jnp.asarray([[3.0, 1.0]]), jnp.asarray([5.0])
        found = lecam(*[Decision(scales, None)] * 2, jnp.zeros(()), jnp.zeros(()))
        np.testing.assert_allclose(found, [((9 + 1) / 2 + 25) / 2], rtol=1e-12)

    def test_usual_logits_are_moving_averages_that_start_from_the_first_ones(self, float64):
        task, state = task_with(loss__lecam=0.3)
        assert float(state.controls["average_logit_real"]) == 0
        for step in range(3):
            before = state
            state, logged = train(task, before)
            for kind in ("real", "fake"):
                name, logit = f"average_logit_{kind}", logged[f"discriminator_logit_{kind}"]
                kept = min(0.99, (1 + step) / (10 + step))
                expected = kept * before.controls[name] + (1 - kept) * logit
                np.testing.assert_allclose(state.controls[name], expected, rtol=1e-6)
                np.testing.assert_allclose(logged[name], expected, rtol=1e-6)

    def test_is_part_of_the_discriminators_loss(self, float64):
        task, state = task_with(loss__lecam=0.3)
        usual = jnp.asarray(1.5), jnp.asarray(-0.5)
        names = "average_logit_real", "average_logit_fake"
        state = replace(state, controls=dict(zip(names, usual, strict=True)))
        images = real_and_generated(task, state)
        real, fake = (decision(logits_with(task, state)(x)) for x in images)
        _, logged = train(task, state)
        expected = lecam(real, fake, *usual).mean()
        np.testing.assert_allclose(logged["discriminator_lecam"], expected, rtol=1e-6)
        plain = train(*task_and_state())[1]["discriminator_loss"]
        np.testing.assert_allclose(logged["discriminator_loss"], plain + 0.3 * expected, rtol=1e-6)


def test_the_number_of_devices_changes_nothing(float64):
    changes = {"loss__lecam": 0.3, "loss__r2": 0.5, "optimizer__discriminator_steps": 2}
    task, state = task_with(**changes)
    (one, logged), (four, also) = (train(task, state, count, steps=3) for count in (1, 4))
    assert set(one.controls) == {"average_logit_real", "average_logit_fake"}
    assert_close(four, one, rtol=1e-8, atol=1e-10)
    assert_close(also, logged, rtol=1e-5)


def test_without_them_a_state_has_no_controls():
    assert task_with()[1].controls == {}
