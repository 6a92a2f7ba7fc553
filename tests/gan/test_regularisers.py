"""Regularisers of a discriminator that sees few images: closed forms, on any number of devices."""

from dataclasses import replace
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from common.data.transforms import augment_images
from common.learning.randomness import example_keys
from common.networks.layers import Conv, Dense
from common.program.errors import UserError
from gan import networks
from gan.drawing import draw_labels
from gan.losses import r1
from gan.networks import Decision, decoding_error
from gan.steps import CONSISTENCY_FAKE, CONSISTENCY_REAL, LABELS
from gan.task import make_task
from gan.terms import TERMS, consistency, lecam
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
from tests.gan.test_terms import Joint, with_discriminator


def task_with(**changes):
    """Returns the task of a dense GAN and its state at step 0, in the precision that is on."""
    task = make_task(config_of(**changes), CARD)
    state, dtype = quick_jit(task.init)(jax.random.key(0)), jnp.zeros(()).dtype
    return task, jax.tree.map(lambda x: x.astype(dtype) if x.dtype == jnp.float32 else x, state)


def decision(logits):
    """Returns a decision of one logit an image."""
    return Decision(jnp.asarray(logits), None)


def adversarial(task, logged):
    """Returns the discriminator's loss without terms."""
    halves = [logged[f"discriminator_adversarial_loss_{half}"] for half in ("real", "fake")]
    return task.gan.weights.discriminator * sum(halves)


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
        total = adversarial(task, logged) + 0.5 * expected
        np.testing.assert_allclose(logged["discriminator_loss"], total, rtol=1e-6)

    def test_asks_for_the_classes_of_the_generated_images(self):
        task = with_discriminator(BrightnessOfClass, loss__r2=0.5, model__discriminator={})
        _, logged = train(task, jax.jit(task.init)(jax.random.key(0)))
        labels = draw_labels(task.gan, example_keys(RNG, LABELS, jnp.arange(BATCH)))
        expected = np.mean((1.0 + labels) ** 2) / 2 / CARD.image_size**2
        np.testing.assert_allclose(logged["discriminator_r2"], expected, rtol=1e-5)

    def test_is_lazy_as_r1_is(self):
        assert TERMS["r2"].lazy and TERMS["r1"].lazy


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
        total = adversarial(task, logged) + 0.3 * expected
        np.testing.assert_allclose(logged["discriminator_loss"], total, rtol=1e-6)


class TestConsistency:
    changes: ClassVar = {
        "loss__consistency_real": 10.0,
        "loss__consistency_fake": 5.0,
        "consistency_augment__translation": 0.0,
        "consistency_augment__brightness": 0.3,
    }

    def varied(self, task, images):
        """Returns real and generated images as the discriminator compares them."""
        for purpose, some in zip((CONSISTENCY_REAL, CONSISTENCY_FAKE), images, strict=True):
            keys = example_keys(RNG, purpose, jnp.arange(BATCH))
            yield augment_images(some, keys, task.gan.consistency)

    def test_is_the_square_of_what_a_change_does_to_the_logit(self, float64):
        scales = [(jnp.asarray([[3.0, 1.0]]), jnp.asarray([x])) for x in (5.0, 8.0)]
        found = consistency(*(Decision(logits, None) for logits in scales))
        np.testing.assert_allclose(found, [1.5**2], rtol=1e-12)

    def test_compares_the_images_of_the_update_with_themselves_varied(self, float64):
        task, state = task_and_state(**self.changes)
        images, logits = real_and_generated(task, state), logits_with(task, state)
        _, logged = train(task, state)
        total = adversarial(task, logged)
        for some, other, kind in zip(
            images, self.varied(task, images), ("real", "fake"), strict=True
        ):
            expected = ((logits(some) - logits(other)) ** 2).mean()
            assert expected > 1e-6
            np.testing.assert_allclose(
                logged[f"discriminator_consistency_{kind}"], expected, rtol=1e-5
            )
            total += self.changes[f"loss__consistency_{kind}"] * expected
        np.testing.assert_allclose(logged["discriminator_loss"], total, rtol=1e-5)

    def test_a_joint_discriminator_sees_both_kinds_varied_in_one_batch(self, float64):
        task = with_discriminator(Joint, model__discriminator={}, **self.changes)
        state = quick_jit(task.init)(jax.random.key(0))
        images = real_and_generated(task, state)
        network = state.discriminator.params

        def logits(images):
            x = jnp.concatenate(list(images)).mean((1, 2, 3))
            x = (x - x.mean()) / jnp.sqrt(x.var() + 1e-3)
            return x * network["logit"]["kernel"][0, 0]

        expected = (logits(images) - logits(self.varied(task, images))) ** 2
        _, logged = train(task, state)
        found = [logged[f"discriminator_consistency_{kind}"] for kind in ("real", "fake")]
        np.testing.assert_allclose(
            found, [expected[:BATCH].mean(), expected[BATCH:].mean()], rtol=1e-4
        )

    def test_there_must_be_something_to_vary(self):
        nothing = {"consistency_augment__brightness": 0.0}
        with pytest.raises(UserError, match=r"consistency_real is 10\.0, but .* varies nothing"):
            task_with(**{**self.changes, **nothing})


def test_the_number_of_devices_changes_nothing(float64):
    changes = {
        **TestConsistency.changes,
        "loss__lecam": 0.3,
        "loss__r2": 0.5,
        "adaptive_augment__target": 0.6,
        "discriminator_augment__brightness": 0.3,
    }
    task, state = task_with(**changes)
    assert set(state.controls) == {
        "average_logit_real",
        "average_logit_fake",
        "augment_probability",
    }
    half = {"augment_probability": jnp.full((), 0.5)}
    state = replace(state, controls=state.controls | half)
    (one, logged), (four, also) = (train(task, state, count, steps=2) for count in (1, 4))
    assert_close(four, one, rtol=1e-5, atol=1e-7)  # real images are shown in single precision
    assert_close(also, logged, rtol=1e-5)


def test_without_them_a_state_has_no_controls():
    assert task_with()[1].controls == {}


class Decoding(networks.Discriminator):
    """Decodes images from one layer of maps at a quarter of their size."""

    def decide(self, images, labels, train, keys):
        maps = Conv(8, 4, 4, name="maps")(images)
        logits = Dense(1, name="logit")(maps.reshape(len(maps), -1))[:, 0]
        return Decision(logits, None, None, decoding_error(maps, images))


class TestDecoding:
    def test_is_the_mean_absolute_difference_at_half_the_size(self):
        values = np.array([-0.5, 0.8], np.float32)
        images = jnp.broadcast_to(values[:, None, None, None], (2, 8, 8, 1))
        module = Decoding(8, 1, 1)
        made = module.init(jax.random.key(0), images, jnp.zeros(2, int), train=True)
        assert {x for x in made["params"] if "decode" in x} == {"decode_2", "decoded"}
        made["params"]["decoded"]["kernel"] *= 0
        made["params"]["decoded"]["bias"] += 0.3
        error = module.apply(made, images, jnp.zeros(2, int), train=True).decoding_error
        np.testing.assert_allclose(error, abs(np.tanh(0.3) - values), rtol=1e-5)

    def test_a_discriminator_learns_to_redraw_real_images(self):
        changes = {"loss__decoding": 1.0, "optimizer__discriminator__learning_rate": 1e-2}
        task = with_discriminator(Decoding, model__discriminator={}, **changes)
        state = quick_jit(task.init)(jax.random.key(0))
        state, first = train(task, state)
        _, last = train(task, state, steps=40)
        assert last["discriminator_decoding"] < 0.7 * first["discriminator_decoding"]

    def test_a_discriminator_without_a_decoder_is_refused(self):
        with pytest.raises(UserError, match="the discriminator decodes no images"):
            train(*task_and_state(loss__decoding=1.0))
