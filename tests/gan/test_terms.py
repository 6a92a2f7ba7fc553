"""Losses and terms that see more than one logit: closed forms, on any number of devices."""

from dataclasses import replace
from functools import partial
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from common.devices.axis import AXIS
from common.learning.randomness import example_keys
from common.networks.layers import BatchNorm, Dense, MinibatchDeviation
from common.program.errors import UserError
from gan import networks
from gan.config import GANSettings
from gan.drawing import draw_labels
from gan.losses import r1
from gan.networks import Decision, Networks, dense
from gan.sampling import Sampler
from gan.state import init_state, make_gan
from gan.steps import LABELS, generator_step
from gan.task import GANTask, make_task
from gan.terms import TERMS, Term
from tests.gan.test_recipes import (
    BATCH,
    CARD,
    RNG,
    alone,
    assert_close,
    batch_of,
    config_of,
    draw,
    logits_with,
    quick_jit,
    real_and_generated,
    task_and_state,
    train,
)

RELATIVISTIC = {"loss__name": "relativistic"}


def on_devices(function, devices, *arrays):
    """Maps a function of a device's share over a batch; the results of all devices follow."""
    shares = [x.reshape(devices, -1, *x.shape[1:]) for x in arrays]
    return quick_jit(jax.vmap(function, axis_name=AXIS))(*shares)


class TestRelativistic:
    def test_each_players_loss_is_that_of_the_pairs_of_real_and_generated_images(self, float64):
        task, state = task_and_state(**RELATIVISTIC, loss__discriminator_weight=1.0)
        real, fake = real_and_generated(task, state)
        after, logged = train(task, state)
        before, then = (
            [np.asarray(logits_with(task, s)(images)) for images in (real, fake)]
            for s in (state, after)
        )
        expected = np.logaddexp(0, before[1] - before[0]).mean()
        np.testing.assert_allclose(logged["discriminator_loss"], expected, rtol=1e-6)
        turned = np.logaddexp(0, then[0] - then[1]).mean()
        np.testing.assert_allclose(logged["generator_loss"], turned, rtol=1e-6)

    def test_needs_as_many_real_images_as_generated_ones(self):
        with pytest.raises(UserError, match="half_batches gives the generator's update more"):
            make_gan(GANSettings.of(config_of(optimizer__half_batches=True, **RELATIVISTIC)), CARD)


class TestLazyPenalties:
    every = 16

    def step(self, number, **more):
        task, state = task_and_state(**more)
        return task, state, *train(task, replace(state, step=jnp.int32(number)))

    @pytest.mark.parametrize("number", [0, 32])
    def test_count_as_many_times_more_as_steps_pass_between_them(self, float64, number):
        settings = {"loss__r1": 0.5, "loss__penalty_every": self.every}
        settings["loss__discriminator_weight"] = 1.0
        task, state, _, logged = self.step(number, **settings)
        real, _ = real_and_generated(task, state)
        expected = self.every * r1(logits_with(task, state), real).mean()
        np.testing.assert_allclose(logged["discriminator_r1"], expected, rtol=1e-6)
        adversarial = [logged[f"discriminator_adversarial_loss_{x}"] for x in ("real", "fake")]
        total = sum(adversarial) + 0.5 * expected
        np.testing.assert_allclose(logged["discriminator_loss"], total, rtol=1e-6)

    def test_change_nothing_in_the_steps_between(self, float64):
        settings = {"loss__r1": 0.5, "loss__penalty_every": self.every}
        _, _, after, logged = self.step(17, **settings)
        _, _, without, _ = self.step(17)
        assert logged["discriminator_r1"] == 0
        assert_close(after, without, rtol=1e-12)


class TestMinibatchDeviation:
    layer = MinibatchDeviation(0.9)

    def appended(self, x, devices):
        def of_share(share):
            variables = {"batch_stats": {"deviation": jnp.zeros((), share.dtype)}}
            return self.layer.apply(variables, share, False, mutable=["batch_stats"])

        return on_devices(of_share, devices, x)

    @pytest.mark.parametrize("devices", [1, 2, 4])
    def test_is_the_mean_deviation_over_the_whole_batch(self, float64, devices):
        x = np.random.default_rng(0).normal(size=(8, 3, 3, 2))
        found, changed = self.appended(x, devices)
        found = np.asarray(found).reshape(8, 3, 3, 3)
        np.testing.assert_array_equal(found[..., :2], x)
        expected = np.sqrt(x.var(0) + 1e-8).mean()
        np.testing.assert_allclose(found[..., 2], expected, rtol=1e-12)
        running = changed["batch_stats"]["deviation"]
        np.testing.assert_allclose(running, 0.1 * expected, rtol=1e-12)

    @pytest.mark.parametrize("devices", [1, 4])
    def test_its_gradient_reaches_the_images_of_all_devices(self, float64, devices):
        x = np.random.default_rng(0).normal(size=(8, 5))

        def gradient(share):
            variables = {"batch_stats": {"deviation": jnp.zeros(())}}
            return jax.grad(
                lambda s: self.layer.apply(variables, s, False, mutable="batch_stats")[0][0, -1]
            )(share)

        found = np.asarray(on_devices(gradient, devices, x)).reshape(8, 5) / devices
        away = x - x.mean(0)
        np.testing.assert_allclose(found, away / np.sqrt(x.var(0) + 1e-8) / 8 / 5, rtol=1e-9)

    def test_outside_training_it_is_what_training_saw(self):
        variables = {"batch_stats": {"deviation": jnp.float32(0.25)}}
        found = self.layer.apply(variables, jnp.ones((2, 3)), True)
        np.testing.assert_array_equal(found, [[1, 1, 1, 0.25]] * 2)


class TestDevices:
    """All that looks at more than one image, and varied images, in one GAN."""

    def task_and_state(self):
        config = config_of(
            "dcgan",
            loss__r1=0.5,
            loss__penalty_every=16,
            loss__mode_seeking=0.1,
            loss__diversity=0.5,
            discriminator_augment__translation=0.25,
            discriminator_augment__cutout=0.5,
            discriminator_augment__contrast=0.5,
            **RELATIVISTIC,
        )
        config.model.discriminator = {"width": 4, "minibatch_deviation": True}
        config.model.generator.update(width=4)
        card = replace(CARD, image_size=8)
        task = make_task(config, card)
        dtype = jnp.zeros(()).dtype
        state = quick_jit(task.init)(jax.random.key(0))
        return task, jax.tree.map(lambda x: x.astype(dtype) if x.dtype == jnp.float32 else x, state)

    @pytest.mark.slow  # the gradients of the first step say as much in half the time
    @pytest.mark.parametrize("devices", [2, 4])
    def test_the_number_changes_nothing_in_five_steps(self, float64, devices):
        task, state = self.task_and_state()
        one, logged = train(task, state, steps=5)
        several, also = train(task, state, devices, steps=5)
        assert_close(several, one, rtol=1e-8, atol=1e-10)
        assert_close(also, logged, rtol=1e-5)

    @pytest.mark.parametrize("devices", [pytest.param(2, marks=pytest.mark.slow), 4])
    def test_the_number_changes_nothing_in_the_first_step(self, devices):
        task, state = self.task_and_state()
        (one, logged), (several, also) = (train(task, state, count) for count in (1, devices))
        assert_close(also, logged, rtol=1e-5, atol=1e-6)
        for player in ("generator", "discriminator"):
            gradients = [getattr(s, player).opt_state[0].mu for s in (one, several)]
            largest = max(float(abs(x).max()) for x in jax.tree.leaves(gradients[0]))
            assert_close(*gradients, atol=1e-5 * largest)


class Patches(dense.Discriminator):
    """The same logit from four patches, and once more at another scale."""

    def decide(self, images, labels, train, keys):
        logits = super().decide(images, labels, train, keys).logits
        return Decision(
            (jnp.broadcast_to(logits[:, None, None], (len(logits), 2, 2)), logits), None
        )


class OfClasses(dense.Discriminator):
    """Decides whether images are real, by their class alone, and a little by a bias."""

    def decide(self, images, labels, train, keys):
        bias = self.param("bias", jax.nn.initializers.zeros, ())
        return Decision(10.0 * labels + bias, None)


class Joint(networks.Discriminator):
    """Decides by the pixels' mean, normalised over real and generated images together."""

    joint: ClassVar[bool] = True
    axis_name: str = AXIS

    def decide(self, images, labels, train, keys):
        brightness = images.mean((1, 2, 3))[:, None]
        norm = BatchNorm(0.9, 1e-3, self.axis_name, name="norm")
        x = norm(brightness, use_running_average=not train)
        return Decision(Dense(1, name="logit")(x)[:, 0], None)


def with_discriminator(module, **changes):
    """Returns the task of a dense GAN with a discriminator of another class."""
    settings = GANSettings.of(config_of(**changes))
    made, fields = make_gan(settings, CARD), settings.model.discriminator
    discriminator = module(CARD.image_size, CARD.channels, len(CARD.classes), **fields)
    networks = Networks(made.networks.generator, discriminator)
    return GANTask(settings, replace(made, networks=networks), CARD)


class TestDecisions:
    @pytest.mark.parametrize("loss", ["hinge", "relativistic"])
    def test_of_many_equal_logits_are_those_of_one(self, float64, loss):
        changes = {"loss__name": loss, "loss__r1": 0.5}
        task, state = task_and_state(**changes)
        one, logged = train(task, state)
        many, also = train(with_discriminator(Patches, **changes), state)
        assert_close(many, one, rtol=1e-9, atol=1e-12)
        assert_close(also, logged, rtol=1e-6)

    def test_are_averaged_after_the_loss(self):
        decided = Decision(jnp.asarray([[3.0, -3.0]]), None)
        assert decided.logit == 0
        task = with_discriminator(Patches, loss__name="hinge")
        batch = {**batch_of(task), "valid": np.ones(BATCH, bool)}
        state = jax.jit(task.init)(jax.random.key(0))
        logits = task.gan.networks.discriminator.apply(
            state.discriminator.variables,
            jnp.asarray(batch["image"]) / 127.5 - 1,
            jnp.asarray(batch["label"]),
            train=False,
        ).logits[1]
        found = jax.vmap(task.eval_step, (None, 0), axis_name=AXIS)(
            state, jax.tree.map(lambda x: x[None], batch)
        )
        values = jax.tree.map(lambda x: x[0], found).compute()
        expected = np.maximum(0, 1 - logits).mean()
        np.testing.assert_allclose(
            values["discriminator_adversarial_loss_real"], expected, rtol=1e-5
        )

    def test_know_the_classes(self):
        task = with_discriminator(OfClasses, loss__name="wasserstein")
        state = jax.jit(task.init)(jax.random.key(0))
        _, logged = train(task, state)
        labels = draw_labels(task.gan, example_keys(RNG, LABELS, jnp.arange(BATCH)))
        expected = {"real": batch_of(task)["label"], "fake": labels}
        for half, of in expected.items():
            output = logged[f"discriminator_output_{half}"]
            np.testing.assert_allclose(output, 10 * np.mean(of), rtol=1e-5)


class TestJoint:
    """A discriminator that sees real and generated images in one batch."""

    def task_and_state(self):
        task = with_discriminator(Joint, loss__name="wasserstein", model__discriminator={})
        state = quick_jit(task.init)(jax.random.key(0))
        dtype = jnp.zeros(()).dtype
        return task, jax.tree.map(lambda x: x.astype(dtype) if x.dtype == jnp.float32 else x, state)

    def test_batchnorm_takes_the_statistics_of_both_in_both_updates(self, float64):
        task, state = self.task_and_state()
        real, fake = real_and_generated(task, state)
        after, logged = train(task, state)
        brightness = np.concatenate([real, fake]).mean((1, 2, 3))
        stats = after.discriminator.batch_stats["norm"]
        np.testing.assert_allclose(stats["mean"], [0.1 * brightness.mean()], rtol=1e-5)

        x = (brightness - brightness.mean()) / np.sqrt(brightness.var() + 1e-3)

        def logits(network):
            norm, logit = network.params["norm"], network.params["logit"]
            scaled = x * norm["scale"] + norm["bias"]
            return scaled * logit["kernel"][0, 0] + logit["bias"][0]

        expected = logits(state.discriminator)
        found = [logged[f"discriminator_output_{half}"] for half in ("real", "fake")]
        np.testing.assert_allclose(found, [expected[:BATCH].mean(), expected[BATCH:].mean()], 1e-5)
        then = logits(after.discriminator)[BATCH:].mean()
        np.testing.assert_allclose(logged["generator_output_fake"], then, rtol=1e-5)

    def test_the_number_of_devices_changes_nothing(self, float64):
        task, state = self.task_and_state()
        (one, logged), (four, also) = (train(task, state, count, steps=3) for count in (1, 4))
        assert_close(four, one, rtol=1e-8, atol=1e-10)
        assert_close(also, logged, rtol=1e-5)

    def test_the_generators_update_needs_real_images(self):
        task, state = self.task_and_state()
        generated = alone(lambda state: draw(task.gan, state, jnp.arange(2)), state)
        with pytest.raises(ValueError, match="beside real ones"):
            generator_step(task.gan, state, generated, RNG, jnp.arange(2))


def test_a_term_is_a_function_and_a_line(monkeypatch, float64):
    dark = Term("generator", lambda shown: shown.fakes.mean((1, 2, 3)))
    monkeypatch.setitem(TERMS, "dark", dark)
    config = config_of().unlock()
    config.loss.dark = 2.0
    task = make_task(config, CARD)
    _, state = task_and_state()
    _, fake = real_and_generated(task, state)
    _, logged = train(task, state)
    np.testing.assert_allclose(logged["generator_dark"], fake.mean(), rtol=1e-6)
    total = logged["generator_adversarial_loss"] + 2 * fake.mean()
    np.testing.assert_allclose(logged["generator_loss"], total, rtol=1e-6)


class Grainy(dense.Generator):
    """Adds noise to every pixel."""

    noisy: ClassVar[bool] = True

    def draw(self, latents, labels, train, keys):
        images = super().draw(latents, labels, train, keys)
        grain = jax.vmap(partial(jax.random.uniform, shape=images.shape[1:]))(keys.noise)
        return 0.5 * (images + grain)


class TestNoise:
    @pytest.fixture
    def gan(self):
        settings = GANSettings.of(config_of())
        made = make_gan(settings, CARD)
        generator = Grainy(4, 1, 2, **settings.model.generator)
        return replace(made, networks=Networks(generator, made.networks.discriminator))

    def test_is_drawn_by_the_number_of_the_image(self, gan):
        sampler = Sampler(gan)
        variables = sampler.variables(init_state(gan, CARD, jax.random.key(0)), 2)
        latents, labels = jnp.ones((6, gan.latent_size)), jnp.zeros(6, jnp.int32)
        numbers = jnp.arange(6)
        images = sampler.many_values(variables, latents, labels, sampler.noise_keys(3, numbers))
        again = sampler.many_values(
            variables, latents[:2], labels[:2], sampler.noise_keys(3, numbers[4:])
        )
        np.testing.assert_array_equal(images[4:], again)
        assert len(np.unique(images[:, 0, 0, 0])) == 6  # of equal latents
        other = sampler.many_values(variables, latents, labels, sampler.noise_keys(4, numbers))
        assert (images != other).all()

    def test_is_drawn_in_training_too(self, gan):
        task = GANTask(GANSettings.of(config_of()), gan, CARD)
        _, logged = train(task, jax.jit(task.init)(jax.random.key(0)))
        assert np.isfinite(logged["generator_loss"])

    def test_other_generators_are_given_no_keys(self):
        assert (
            Sampler(make_gan(GANSettings.of(config_of()), CARD)).noise_keys(0, jnp.arange(2))
            is None
        )
