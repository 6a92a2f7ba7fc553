"""What the discriminator and the generator lose by the classes of images."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from common.networks.layers import Dense
from common.program.errors import UserError
from gan import networks
from gan.losses import data_to_data
from gan.networks import Decision, acgan, class_head, projected
from tests.gan.test_recipes import BATCH, assert_close, batch_of, quick_jit, train
from tests.gan.test_terms import with_discriminator

REACGAN = {"loss__class_loss": "data_to_data", "embedding_size": 6}


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


class TestDataToData:
    labels = np.array([0, 1, 1, 0, 2])

    def arrays(self):
        random = np.random.default_rng(0)
        return unit(random.normal(size=(5, 3))), unit(random.normal(size=(3, 3)))

    def loss(self, embeddings, classes, labels=labels):
        arrays = embeddings @ classes.T, embeddings, labels, embeddings, labels
        return data_to_data(*map(jnp.asarray, arrays))

    def test_is_the_formula_written_out_image_by_image(self, float64):
        f, v = self.arrays()
        for i, found in enumerate(self.loss(f, v)):
            own = np.exp(min(0, f[i] @ v[self.labels[i]] - 0.98) / 0.5)
            others = sum(
                np.exp(max(0, f[i] @ f[j] - 0.02) / 0.5)
                for j in range(5)
                if self.labels[j] != self.labels[i]
            )
            np.testing.assert_allclose(found, -np.log(own / (own + others)), rtol=1e-12)

    def test_an_image_at_its_class_and_away_from_others_moves_no_more(self, float64):
        f = jnp.asarray([[1.0, 0.0], [-1.0, 0.0]])
        labels = jnp.asarray([0, 1])
        gradient = jax.grad(lambda x: data_to_data(x @ f.T, x, labels, x, labels).sum())(f)
        np.testing.assert_array_equal(gradient, 0)

    def test_of_one_class_is_nothing(self, float64):
        f, v = self.arrays()
        np.testing.assert_allclose(self.loss(f, v, np.zeros(5, int)), 0, atol=1e-12)

    def test_its_gradient_is_the_finite_difference(self, float64):
        f, v = self.arrays()

        def total(f):
            return self.loss(f, v).sum()

        direction, h = np.random.default_rng(1).normal(size=f.shape), 1e-6
        expected = (total(f + h * direction) - total(f - h * direction)) / (2 * h)
        gradient = jax.grad(total)(jnp.asarray(f))
        np.testing.assert_allclose((gradient * direction).sum(), expected, rtol=1e-6)


class Classifier(networks.Discriminator):
    """One layer for real or generated, and the class."""

    embedding_size: int = 0

    def decide(self, images, labels, train, keys):
        x = images.reshape(len(images), -1)
        head = class_head(x, self.num_classes, self.embedding_size)
        return Decision(Dense(1, name="logit")(x)[:, 0], *head)


def task_with(embedding_size=0, **changes):
    module = partial(Classifier, embedding_size=embedding_size)
    return with_discriminator(module, model__discriminator={}, **changes)


def start(task):
    state, dtype = quick_jit(task.init)(jax.random.key(0)), jnp.zeros(()).dtype
    return jax.tree.map(lambda x: x.astype(dtype) if x.dtype == jnp.float32 else x, state)


class TestReACGAN:
    def test_the_discriminator_gives_unit_vectors_and_their_cosines_with_the_classes(self):
        task = task_with(**REACGAN)
        state = start(task)
        images = jnp.asarray(batch_of(task)["image"]) / 255.0
        labels = jnp.zeros(BATCH, int)
        decided = task.gan.networks.discriminator.apply(
            state.discriminator.variables, images, labels, train=False
        )
        assert decided.embeddings.shape == (BATCH, 6)
        np.testing.assert_allclose(jnp.linalg.norm(decided.embeddings, axis=1), 1, rtol=1e-5)
        classes = state.discriminator.params["embeddings_of_classes"]["embedding"]
        expected = decided.embeddings @ unit(np.asarray(classes)).T
        np.testing.assert_allclose(decided.class_logits, expected, atol=1e-6)

    def test_the_whole_batch_is_compared_however_many_devices_hold_it(self, float64):
        task = task_with(**REACGAN)
        state = start(task)
        (one, logged), (four, also) = (train(task, state, count) for count in (1, 4))
        assert logged["discriminator_class_loss_real"] > 0.1
        assert_close(also, logged, rtol=1e-5)
        assert_close(four, one, rtol=1e-6, atol=1e-9)

    def test_a_discriminator_without_embeddings_is_refused(self):
        task = task_with(loss__class_loss="data_to_data")
        with pytest.raises(UserError, match=r"gives no embeddings; set .*embedding_size"):
            train(task, start(task))

    def test_embeddings_are_for_this_loss(self):
        task = task_with(embedding_size=6)
        with pytest.raises(UserError, match="is for the class loss 'data_to_data'"):
            train(task, start(task))

    @pytest.mark.parametrize(
        "module",
        [
            acgan.Discriminator(16, 1, 2, embedding_size=5),
            projected.Discriminator(
                16, 1, 2, seen_size=32, scales=1, classifier=True, embedding_size=5, decoder=True
            ),
        ],
    )
    def test_the_networks_that_predict_classes_can_give_them(self, module):
        decision, made = jax.eval_shape(
            lambda: module.init_with_output(
                jax.random.key(0), jnp.zeros((3, 16, 16, 1)), jnp.zeros(3, int), train=False
            )
        )
        assert decision.embeddings.shape == (3, 5) and decision.class_logits.shape == (3, 2)
        assert ("decode_2" in made["params"]) == (decision.decoding_error is not None)


class TestRisingWeight:
    task = task_with(loss__class_weight=0.8, loss__class_weight_rise="4")

    @pytest.mark.parametrize(("step", "weight"), [(0, 0.0), (1, 0.2), (4, 0.8), (9, 0.8)])
    def test_goes_from_0_to_its_value_and_stays(self, step, weight):
        found = self.task.gan.weights.of_class(jnp.int32(step))
        np.testing.assert_allclose(found, weight, rtol=1e-6)

    def test_is_that_of_both_players_losses(self):
        _, logged = train(self.task, replace(start(self.task), step=jnp.int32(2)))
        generator = logged["generator_adversarial_loss"] + 0.4 * logged["generator_class_loss"]
        np.testing.assert_allclose(logged["generator_loss"], generator, rtol=1e-5)
        halves = [
            logged[f"discriminator_adversarial_loss_{half}"]
            + 0.4 * logged[f"discriminator_class_loss_{half}"]
            for half in ("real", "fake")
        ]
        np.testing.assert_allclose(logged["discriminator_loss"], sum(halves) / 2, rtol=1e-5)


def test_the_discriminator_may_learn_the_class_of_real_images_alone():
    """The generator is asked for it all the same."""
    _, logged = train(task := task_with(loss__class_of_generated=False), start(task))
    assert "discriminator_class_loss_fake" not in logged
    discriminator = (
        logged["discriminator_adversarial_loss_real"]
        + logged["discriminator_class_loss_real"]
        + logged["discriminator_adversarial_loss_fake"]
    )
    np.testing.assert_allclose(logged["discriminator_loss"], discriminator / 2, rtol=1e-5)
    generator = logged["generator_adversarial_loss"] + logged["generator_class_loss"]
    np.testing.assert_allclose(logged["generator_loss"], generator, rtol=1e-5)
