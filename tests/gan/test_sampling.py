"""Sampling: re-estimated statistics are those of the pooled batches; draws are reproducible."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from common.data.prepared.prepared import DataCard
from common.learning.randomness import example_keys
from configs import acgan_covid
from gan.config import GANSettings
from gan.drawing import draw_labels, draw_latents
from gan.networks import projected
from gan.sampling import ESTIMATION_BATCH, ESTIMATION_LABELS, ESTIMATION_LATENTS, Sampler
from gan.state import init_state, make_gan

CARD = DataCard("test", ("COVID", "NonCOVID"), {"train": 8}, 16, 1, "0", False, 0)


@pytest.fixture(scope="module")
def gan():
    return make_gan(GANSettings.of(acgan_covid.get_config("tiny")), CARD)


@pytest.fixture(scope="module")
def state(gan):
    return jax.jit(lambda rng: init_state(gan, CARD, rng))(jax.random.key(0))


def test_statistics_are_those_of_all_batches_pooled(gan, state):
    """The first BatchNorm sees relu(dense(latent * embedding)); done here in one batch of 192."""
    params = state.generator.params
    stats = Sampler(gan).batch_stats(params, state.generator.batch_stats, num_batches=3)
    keys, numbers = jax.random.key(7), jnp.arange(3 * ESTIMATION_BATCH)
    latents = draw_latents(gan, example_keys(keys, ESTIMATION_LATENTS, numbers))
    labels = draw_labels(gan, example_keys(keys, ESTIMATION_LABELS, numbers))
    x = latents * params["embedding"]["embedding"][labels]
    x = jax.nn.relu(x @ params["dense"]["kernel"] + params["dense"]["bias"])
    x = x.reshape(-1, 128)
    np.testing.assert_allclose(stats["norm_1"]["mean"], x.mean(0), rtol=1e-5)
    np.testing.assert_allclose(stats["norm_1"]["var"], x.var(0), rtol=1e-4)


def test_statistics_have_the_structure_of_the_running_ones(gan, state):
    running = state.generator.batch_stats
    stats = Sampler(gan).batch_stats(state.generator.params, running, num_batches=1)
    assert jax.tree.structure(stats) == jax.tree.structure(running)
    assert all(float(layer["var"].min()) >= 0 for layer in stats.values())


def test_an_image_depends_on_its_own_latent_and_label_alone(gan, state):
    sampler = Sampler(gan)
    variables = state.generator.variables
    latents = sampler.latents(3, jnp.arange(6))
    np.testing.assert_array_equal(latents[4:], sampler.latents(3, jnp.asarray([4, 5])))
    images = sampler.images(variables, latents, jnp.asarray([0, 1] * 3))
    assert images.shape == (6, 16, 16, 1) and images.dtype == jnp.uint8
    alone = sampler.images(variables, latents[4:5], jnp.asarray([0]))
    difference = np.asarray(images[4], int) - np.asarray(alone[0], int)
    assert abs(difference).max() <= 1  # another batch size may round another way


def test_many_images_are_drawn_by_one_program_and_each_as_if_alone(gan, state):
    sampler, variables = Sampler(gan), state.generator.variables
    latents = sampler.latents(3, jnp.arange(70))
    labels = jnp.arange(70) % 2
    many = sampler.many_values(variables, latents, labels)
    assert many.shape == (70, 16, 16, 1)
    np.testing.assert_array_equal(many[:3], sampler.many_values(variables, latents[:3], labels[:3]))


class TestTruncation:
    def test_images_come_nearer_to_the_middle_of_their_class(self):
        """Though this generator normalises its latents, so that shorter ones are as long."""
        generator = projected.Generator(8, 1, 2, latent_size=6, width=4, axis_name="")
        latents, labels = jax.random.normal(jax.random.key(0), (8, 6)), jnp.arange(8) % 2
        variables = generator.init(jax.random.key(1), latents, labels, train=False)

        def images(truncation):
            truncated = generator.clone(truncation=truncation)
            return np.asarray(truncated.apply(variables, latents, labels, train=False))

        full, half, middle = map(images, (1.0, 0.5, 0.0))
        assert full[::2].std(0).mean() > 1.2 * half[::2].std(0).mean()
        np.testing.assert_allclose(middle[::2], middle[:1].repeat(4, 0), atol=1e-6)
        assert abs(middle[0] - middle[1]).max() > 0.01  # of another class

    def test_it_has_statistics_of_its_own(self, gan, state):
        params, running = state.generator.params, state.generator.batch_stats
        full, half = (Sampler(gan, share).batch_stats(params, running, 2) for share in (1.0, 0.5))
        # It sees relu(dense(latent * embedding)) without a bias: the variance goes by the square.
        np.testing.assert_allclose(half["norm_1"]["var"], 0.25 * full["norm_1"]["var"], rtol=1e-4)


def test_statistics_are_estimated_once_for_a_generator(gan, state, tmp_path, monkeypatch):
    params, running = state.generator.params, state.generator.batch_stats
    sampler, cache = Sampler(gan), str(tmp_path)
    expected = sampler.batch_stats(params, running, 2)
    first = sampler.kept_batch_stats(params, running, 2, cache)
    afresh = Sampler(gan)  # as another process would have it
    with monkeypatch.context() as patch:
        patch.delattr(Sampler, "batch_stats")
        again = afresh.kept_batch_stats(params, running, 2, cache)
    for found in (first, again):
        jax.tree.map(np.testing.assert_array_equal, found, expected)
    others = jax.tree.map(lambda x: x + 0.01, params)
    truncated = Sampler(gan, 0.5)
    for some, *args in (
        (afresh, others, running, 2),
        (afresh, params, running, 1),
        (truncated, params, running, 2),
    ):
        kept = some.kept_batch_stats(*args, cache)
        jax.tree.map(np.testing.assert_array_equal, kept, some.batch_stats(*args))
    assert len(list(tmp_path.glob("statistics/*.npy"))) == 4


def test_a_cache_that_cannot_be_written_costs_only_time(gan, state, tmp_path, caplog):
    (tmp_path / "statistics").write_text("a file where the folder should be")
    params, running = state.generator.params, state.generator.batch_stats
    kept = Sampler(gan).kept_batch_stats(params, running, 1, str(tmp_path))
    expected = Sampler(gan).batch_stats(params, running, 1)
    jax.tree.map(np.testing.assert_array_equal, kept, expected)
    assert "computed each time" in caplog.text
