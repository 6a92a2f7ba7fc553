"""K + 1 classes: Salimans et al., "Improved Techniques for Training GANs" (2016), section 5."""

from functools import partial
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn.metrics import accuracy_score, roc_auc_score

from classify.networks import dcgan as classifier
from common.data.prepared.prepared import DataCard, Split
from common.data.records import UNLABELLED
from common.data.settings import DataSettings
from common.devices.axis import AXIS
from common.networks.layers import Dense
from common.program.errors import UserError
from common.runs.evaluation import HeldOut
from configs import acgan_covid
from gan import networks
from gan.config import GANSettings
from gan.deciding import class_losses
from gan.networks import dcgan, decision_of_classes
from gan.quality.classification import classification
from gan.state import make_gan
from gan.steps import discriminator_step
from gan.terms import feature_matching
from tests.gan.test_class_losses import start
from tests.gan.test_recipes import (
    BATCH,
    CARD,
    RNG,
    assert_close,
    batch_of,
    in_shares,
    quick_jit,
)
from tests.gan.test_terms import with_discriminator

LOSS = {
    "loss__discriminator_weight": 0.5,
    "loss__class_weight": 2.0,
    "loss__generator_weight": 0.0,
    "loss__feature_matching": 1.0,
}
LABELS = np.array([0, 1, 1, *[UNLABELLED] * (BATCH - 3)])


class Classes(networks.Discriminator):
    """Two layers; K logits."""

    joint: ClassVar[bool] = True
    classifies: ClassVar[bool] = True

    def decide(self, images, labels, train, keys):
        features = nn.tanh(Dense(5, name="features")(images.reshape(len(images), -1)))
        return decision_of_classes(Dense(self.num_classes, name="classes")(features), features)


def task_with(**changes):
    return with_discriminator(Classes, model__discriminator={}, **LOSS, **changes)


def train(task, state, labels=LABELS, devices=1):
    """Returns the state and the logged metrics after a step on images with these labels."""
    batch = in_shares({**batch_of(task), "label": labels}, task.batches, devices)
    step = jax.vmap(lambda batch: task.train_step(state, batch, RNG), axis_name=AXIS)
    state, logged = jax.tree.map(lambda x: x[0], quick_jit(step)(batch))
    return state, {name: float(value) for name, value in logged.compute().items()}


def log_shares(task, state, images):
    """Returns log p of each class and, last, of "generated": a softmax over K + 1 logits."""
    decided = task.gan.networks.discriminator.apply(
        state.discriminator.variables, jnp.asarray(images), jnp.zeros(len(images), int), train=True
    )
    return log_softmax(np.pad(np.asarray(decided.class_logits), ((0, 0), (0, 1))), axis=-1)


def test_a_logit_is_log_z():
    class_logits = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    decided = decision_of_classes(jnp.asarray(class_logits), jnp.zeros((6, 4)))
    z = np.exp(class_logits).sum(-1)
    np.testing.assert_allclose(jax.nn.sigmoid(decided.logit), z / (z + 1), rtol=1e-5)


def test_the_discriminators_loss_is_that_of_a_softmax_over_k_plus_one_classes(float64):
    task, random = task_with(), np.random.default_rng(0)
    state = start(task)
    images, fakes = random.uniform(-1, 1, (2, BATCH, 4, 4, 1))
    run = partial(discriminator_step, task.gan, state)
    rows = (images, LABELS, fakes, np.zeros(BATCH, int))
    step = jax.vmap(lambda *rows: run(*rows, RNG, jnp.arange(BATCH)), axis_name=AXIS)
    _, logged = quick_jit(step)(*(row[None] for row in rows))
    real, fake = log_shares(task, state, images), log_shares(task, state, fakes)
    is_real = np.log1p(-np.exp(real[:, -1]))
    unsupervised = -(is_real.mean() + fake[:, -1].mean()) / 2
    known = LABELS >= 0
    supervised = -(real - is_real[:, None])[known, LABELS[known]].mean()
    np.testing.assert_allclose(logged["discriminator_loss"], unsupervised + supervised, rtol=1e-6)
    accuracy = (real[known, :-1].argmax(-1) == LABELS[known]).mean()
    np.testing.assert_allclose(logged["discriminator_class_accuracy_real"].mean(), accuracy)
    assert "discriminator_class_loss_fake" not in logged


def test_a_batch_without_labels_teaches_no_class(float64):
    decided = decision_of_classes(jnp.ones((2, 3)), jnp.ones((2, 4)))
    losses = jax.vmap(partial(class_losses, task_with().gan, decided), axis_name=AXIS)
    np.testing.assert_array_equal(losses(jnp.full((1, 2), UNLABELLED)), 0)


def test_feature_matching_is_the_squared_distance_of_mean_features(float64):
    real, fake = np.random.default_rng(0).normal(size=(2, 6, 3))
    loss = jax.vmap(feature_matching, axis_name=AXIS)
    (found,) = loss(fake[None], real[None])
    np.testing.assert_allclose(found, ((fake.mean(0) - real.mean(0)) ** 2).sum(), rtol=1e-12)
    assert not jax.grad(lambda x: loss(fake[None], x[None]).sum())(real).any()


def test_is_the_same_on_any_number_of_devices(float64):
    task = task_with()
    state = start(task)
    # Of four devices, two have no label.
    (one, logged), (four, also) = (train(task, state, devices=count) for count in (1, 4))
    assert logged["discriminator_class_loss_real"] > 0.1
    assert logged["generator_loss"] == logged["generator_feature_matching"] > 0
    assert_close(also, logged, rtol=1e-6)
    assert_close(four, one, rtol=1e-6, atol=1e-9)


class TestNetwork:
    images = jnp.zeros((3, 32, 32, 1))

    def made(self, **fields):
        module = dcgan.Discriminator(32, 1, 2, width=4, axis_name="", **fields)
        return module.init(jax.random.key(0), self.images, jnp.zeros(3, int), train=False)

    def test_a_discriminator_of_k_plus_one_classes_is_the_classifier(self):
        of_gan = self.made(k_plus_one=True)
        network = classifier.Network(2, width=4, axis_name="")
        of_classifier = network.init(jax.random.key(0), self.images, train=False)
        shapes = jax.tree.map(jnp.shape, (of_gan["params"], of_gan["batch_stats"]))
        expected = of_classifier["params"], of_classifier["batch_stats"]
        assert shapes == jax.tree.map(jnp.shape, expected)

    def test_has_so_many_parameters(self):
        made = jax.eval_shape(
            lambda: classifier.Network(2, axis_name="").init(
                jax.random.key(0), jnp.zeros((1, 64, 64, 1)), train=False
            )
        )
        learned = made["params"], made["batch_stats"]
        assert sum(leaf.size for leaf in jax.tree.leaves(learned)) == 2_758_146

    def test_any_discriminator_has_its_layers(self):
        one, k_plus_one = (self.made(k_plus_one=on)["params"] for on in (False, True))
        assert one.keys() ^ k_plus_one.keys() == {"real_or_generated", "classes"}

    def test_both_decide_alike(self):
        images = jax.random.uniform(jax.random.key(1), (3, 32, 32, 1))
        variables = self.made(k_plus_one=True)
        module = dcgan.Discriminator(32, 1, 2, width=4, axis_name="", k_plus_one=True)
        decided = module.apply(variables, 2 * images - 1, jnp.zeros(3, int), train=False)
        network = classifier.Network(2, width=4, axis_name="")
        logits = network.apply(variables, images, train=False)
        np.testing.assert_allclose(decided.class_logits, logits, rtol=1e-5)

    @pytest.mark.parametrize(("frozen", "moving"), [(0, {2, 3}), (2, {3}), (4, set())])
    def test_frozen_layers_keep_their_statistics(self, frozen, moving):
        network = classifier.Network(2, width=4, axis_name="", frozen=frozen)
        images = jax.random.uniform(jax.random.key(1), (3, 32, 32, 1))
        made = network.init(jax.random.key(0), images, train=False)
        _, changed = network.apply(made, images, train=True, mutable=["batch_stats"])
        moved = {
            int(name[-1])
            for name, stats in changed["batch_stats"].items()
            if not np.array_equal(stats["mean"], made["batch_stats"][name]["mean"])
        }
        assert moved == moving


def test_its_classes_are_scored_as_a_classifiers_are():
    random = np.random.default_rng(0)
    task = task_with()
    state = start(task)
    examples = [
        {"image": random.integers(0, 256, (4, 4, 1), np.uint8), "label": np.int32(i % 2)}
        for i in range(20)
    ]
    names, labels = tuple(map(str, range(20))), np.arange(20) % 2
    split = Split(examples, np.arange(20), names, ("",) * 20)
    card = DataCard("test", ("A", "B"), {"train": 8, "test": 20}, 4, 1, "0", False, 0)
    found = classification(
        task.gan, state.discriminator.variables, HeldOut(card, split, "test", DataSettings(), ())
    )
    images = np.stack([example["image"] for example in examples]) / 127.5 - 1
    shares = log_shares(task, state, images)[:, :-1]
    scores = found.report()["scores"]
    expected = roc_auc_score(labels, shares[:, 1] - shares[:, 0])
    np.testing.assert_allclose(scores["roc_auc_macro"].value, expected)
    assert scores["accuracy"].value == accuracy_score(labels, shares.argmax(-1))
    assert found.report()["scored"]["split"] == "test"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"loss__generator_weight": 0.0}, "no term to learn by"),
        ({"loss__feature_matching": 1.0}, "gives no features; set .*k_plus_one=True"),
    ],
)
def test_half_of_it_is_refused(changes, said):
    with pytest.raises(UserError, match=said):
        task = with_discriminator(PlainClasses, model__discriminator={}, **changes)
        train(task, start(task))


class PlainClasses(networks.Discriminator):
    """One layer for real or generated alone."""

    def decide(self, images, labels, train, keys):
        return networks.Decision(Dense(1)(images.reshape(len(images), -1))[:, 0], None)


def test_networks_that_draw_a_class_need_labels():
    config = acgan_covid.get_config("tiny")
    config.data.update(labels_per_class=2, unlabelled="keep")
    with pytest.raises(UserError, match="need the class of each image; take 'drop'"):
        make_gan(GANSettings.of(config), CARD)
