"""The two updates: who moves, by what, and that the shared generated batch changes nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from common.data.prepared.prepared import DataCard
from common.devices.axis import AXIS
from common.learning.randomness import example_keys, step_key
from configs.acgan_covid import get_config
from gan.config import GANSettings
from gan.drawing import draw_fakes, draw_labels, draw_latents
from gan.state import init_state, make_gan
from gan.steps import (
    DROPOUT_GENERATOR,
    LABELS,
    LATENTS,
    discriminator_step,
    generator_step,
)

BATCH = 8
CARD = DataCard("test", ("COVID", "NonCOVID"), {"train": BATCH}, 16, 1, "0", False, 0)


def alone(function):
    """Runs a function of the parallel step on one device."""

    def call(*args):
        mapped = jax.vmap(lambda _: function(*args), axis_name=AXIS)
        return jax.tree.map(lambda x: x[0], mapped(jnp.zeros(1)))

    return jax.jit(call)


@pytest.fixture(scope="module")
def gan():
    return make_gan(GANSettings.of(get_config("tiny")), CARD)


def start(gan):
    return jax.jit(lambda rng: init_state(gan, CARD, rng))(jax.random.key(0))


@pytest.fixture(scope="module")
def state(gan):
    return start(gan)


@pytest.fixture(scope="module")
def draws(gan):
    rng, position = step_key(jax.random.key(0), jnp.int32(5)), jnp.arange(BATCH)
    latents = draw_latents(gan, example_keys(rng, LATENTS, position))
    labels = draw_labels(gan, example_keys(rng, LABELS, position))
    images = jnp.tanh(jax.random.normal(jax.random.key(1), (BATCH, 16, 16, 1)))
    return rng, position, latents, labels, images


def assert_equal(tree, other):
    jax.tree.map(np.testing.assert_array_equal, tree, other)


def some_leaf_differs(tree, other):
    return any(jax.tree.leaves(jax.tree.map(lambda a, b: bool((a != b).any()), tree, other)))


def test_the_discriminators_update_leaves_the_generator_untouched(gan, state, draws):
    rng, position, latents, labels, images = draws

    @alone
    def update(state):
        fakes = draw_fakes(gan, state, latents, labels).images
        return discriminator_step(gan, state, images, labels, fakes, labels, rng, position)[0]

    after = update(state)
    assert_equal(after.generator, state.generator)
    assert_equal(after.average, state.average)
    assert some_leaf_differs(after.discriminator.params, state.discriminator.params)
    assert some_leaf_differs(after.discriminator.batch_stats, state.discriminator.batch_stats)


def test_the_generators_update_leaves_the_discriminator_untouched(gan, state, draws):
    rng, position, latents, labels, _ = draws

    @alone
    def update(state):
        generated = draw_fakes(gan, state, latents, labels)
        return generator_step(gan, state, generated, rng, position)[0]

    after = update(state)
    assert_equal(after.discriminator, state.discriminator)
    assert some_leaf_differs(after.generator.params, state.generator.params)
    assert some_leaf_differs(after.generator.batch_stats, state.generator.batch_stats)


def test_the_generators_gradient_is_that_of_its_whole_loss(gan, state, draws):
    """Written out anew: latents to loss in one function, with none of the step's shortcuts."""
    rng, position, latents, labels, _ = draws
    keys = example_keys(rng, DROPOUT_GENERATOR, position)

    def whole_loss(params):
        variables = {"params": params, "batch_stats": state.generator.batch_stats}
        images, _ = gan.networks.generator.apply(
            variables, latents, labels, train=True, mutable=["batch_stats"]
        )
        decided, _ = gan.networks.discriminator.apply(
            state.discriminator.variables,
            images,
            labels,
            train=True,
            dropout_keys=keys,
            mutable=["batch_stats"],
        )
        toward_real = -jax.nn.log_sigmoid(decided.logits)
        log_p = jax.nn.log_softmax(decided.class_logits)
        return (toward_real - jnp.take_along_axis(log_p, labels[:, None], 1)[:, 0]).mean()

    expected = alone(lambda: jax.grad(whole_loss)(state.generator.params))()

    @alone
    def update(state):
        return generator_step(gan, state, draw_fakes(gan, state, latents, labels), rng, position)[0]

    # Adam's first moment after one step is (1 - beta1) times the gradient.
    gradient = jax.tree.map(lambda m: m / 0.5, update(state).generator.opt_state[0].mu)
    for name, leaf in expected["dense"].items():
        np.testing.assert_allclose(gradient["dense"][name], leaf, atol=1e-5 * abs(leaf).max())
    largest = max(float(abs(leaf).max()) for leaf in jax.tree.leaves(expected))
    jax.tree.map(
        lambda g, e: np.testing.assert_allclose(g, e, atol=1e-5 * largest), gradient, expected
    )


def test_the_discriminators_loss_is_half_the_sum_of_its_parts(gan, state, draws):
    rng, position, latents, labels, images = draws

    @alone
    def update(state):
        fakes = draw_fakes(gan, state, latents, labels).images
        return discriminator_step(gan, state, images, labels, fakes, labels, rng, position)[1]

    outputs = {name: float(value.mean()) for name, value in update(state).items()}
    parts = [
        outputs[f"discriminator_{part}_loss_{half}"]
        for part in ("adversarial", "class")
        for half in ("real", "fake")
    ]
    np.testing.assert_allclose(outputs["discriminator_loss"], 0.5 * sum(parts), rtol=1e-6)


def test_every_example_draws_by_its_place_in_the_global_batch(gan):
    rng = step_key(jax.random.key(0), jnp.int32(5))
    whole = draw_latents(gan, example_keys(rng, LATENTS, jnp.arange(8)))
    half = draw_latents(gan, example_keys(rng, LATENTS, jnp.arange(4, 8)))
    np.testing.assert_array_equal(whole[4:], half)
    assert len(np.unique(np.asarray(whole)[:, 0])) == 8


def test_labels_are_drawn_evenly(gan):
    labels = draw_labels(gan, example_keys(jax.random.key(0), LABELS, jnp.arange(4000)))
    np.testing.assert_allclose(np.bincount(labels) / 4000, 0.5, atol=0.03)


def test_adam_is_the_originals(gan, state):
    """Learning rate 0.0002, beta1 0.5, beta2 0.999, epsilon 1e-7."""
    gradient = jax.tree.map(jnp.ones_like, state.discriminator.params)
    updates, _ = gan.discriminator_optimizer.update(gradient, state.discriminator.opt_state)
    reference = optax.adam(2e-4, b1=0.5, b2=0.999, eps=1e-7)
    expected, _ = reference.update(gradient, reference.init(gradient))
    assert_equal(updates, expected)


def test_the_objective_does_not_change_with_the_batch_size(draws):
    """Every example twice: the same BatchNorm statistics, the same losses, the same gradient."""
    config = get_config("tiny")
    config.model.discriminator.dropout_rate = 0.0
    gan = make_gan(GANSettings.of(config), CARD)
    state = start(gan)
    rng, _, latents, labels, images = draws

    def norms(times):
        twice = (jnp.concatenate([x] * times) for x in (images, labels, latents))
        more_images, more_labels, more_latents = twice
        position = jnp.arange(BATCH * times)

        @alone
        def update(state):
            generated = draw_fakes(gan, state, more_latents, more_labels)
            fakes = generated.images
            _, d = discriminator_step(
                gan, state, more_images, more_labels, fakes, more_labels, rng, position
            )
            _, g = generator_step(gan, state, generated, rng, position)
            return {**d, **g}

        return {name: float(value.mean()) for name, value in update(state).items()}

    once, twice = norms(1), norms(2)
    for name, value in once.items():
        np.testing.assert_allclose(twice[name], value, rtol=1e-4)
