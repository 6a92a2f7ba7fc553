"""Recipes of training: k discriminator updates, half batches, penalties, and their data."""

from dataclasses import replace
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gan.task
from common.config.defaults import check
from common.data.prepared.prepared import DataCard
from common.data.transforms import to_signed_unit
from common.devices.axis import AXIS
from common.learning.randomness import example_keys, step_key
from common.program.errors import UserError
from common.training import dispatch
from common.training.epochs import batch_indices
from common.training.feed import Order, ResidentFeed, StreamedFeed
from common.training.task import Batches
from configs import dcgan_chest_xray, dense_gan_mnist
from gan.config import RULES, GANSettings
from gan.drawing import draw_fakes, draw_labels, draw_latents
from gan.losses import gradient_penalty, r1
from gan.state import make_gan
from gan.steps import (
    DROPOUT_DRAWING,
    LABELS,
    LATENTS,
    PENALTY,
    discriminator_step,
    generator_step,
)
from gan.terms import TERMS
from tests.memory_split import split_of

BATCH = 8
SIZES = {"dense": 4, "dcgan": 8}
CARD = DataCard("test", ("A", "B"), {"train": 6 * BATCH}, 4, 1, "0", False, 0)
RNG = step_key(jax.random.key(0), jnp.int32(5))
DROPOUT = {"model__generator__dropout_rate": 0.3}

quick_jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def config_of(network="dense", **changes):
    """Returns the config of a network small enough for a test; `loss__r1=1.0` sets loss.r1."""
    config = {"dense": dense_gan_mnist, "dcgan": dcgan_chest_xray}[network].get_config("tiny")
    config.optimizer.half_batches = False
    if network == "dense":
        config.model.generator.update(widths=(8, 8), latent_size=6)
        config.model.discriminator.update(widths=(8,))
        with config.unlocked():
            config.model.generator.dropout_rate = 0.0
    config.update_from_flattened_dict(
        {name.replace("__", "."): value for name, value in changes.items()}
    )
    return config


def card_of(network):
    return replace(CARD, image_size=SIZES[network])


@cache
def state_of(network, precision):
    """Returns the state at step 0, which no recipe changes, in a precision that must be on."""
    card = card_of(network)
    state = quick_jit(gan.task.make_task(config_of(network), card).init)(jax.random.key(0))
    return jax.tree.map(lambda x: x.astype(precision) if x.dtype == jnp.float32 else x, state)


def task_and_state(network="dense", **changes):
    """Returns a task and its state at step 0, in the precision that is on."""
    task = gan.task.make_task(config_of(network, **changes), card_of(network))
    return task, state_of(network, jnp.zeros(()).dtype.name)


def batch_of(task, seed=0):
    """Returns the examples of one step, in the order of the batches."""
    number, size = task.batches
    image_size, random = task.card.image_size, np.random.default_rng(seed)
    images = random.integers(0, 256, (number * size, image_size, image_size, task.card.channels))
    return {
        "image": images.astype(np.uint8),
        "label": np.arange(number * size, dtype=np.int32) % 2,
        "position": np.arange(number * size, dtype=np.int32),
    }


def in_shares(batch, batches, devices):
    """Returns a device's share of each batch, one after the other: [devices, examples, ...]."""

    def share(rows):
        rows = rows.reshape(batches.number, devices, -1, *rows.shape[1:]).swapaxes(0, 1)
        return jnp.asarray(rows.reshape(devices, -1, *rows.shape[3:]))

    return {name: share(rows) for name, rows in batch.items()}


@cache
def step_of(task, devices):
    """Returns the compiled step on one batch, always the same: state -> (state, metrics)."""
    batch = in_shares(batch_of(task), task.batches, devices)

    def step(state):
        mapped = jax.vmap(lambda batch: task.train_step(state, batch, RNG), axis_name=AXIS)
        return jax.tree.map(lambda x: x[0], mapped(batch))

    return quick_jit(step)


def train(task, state, devices=1, steps=1):
    """Returns the state and the logged metrics after some steps."""
    for _ in range(steps):
        state, logged = step_of(task, devices)(state)
    return state, {name: float(value) for name, value in logged.compute().items()}


def alone(function, *args):
    """Runs a function of the parallel step on one device."""
    mapped = quick_jit(jax.vmap(lambda _, args: function(*args), (0, None), axis_name=AXIS))
    return jax.tree.map(lambda x: x[0], mapped(jnp.zeros(1), args))


def draw(gan, state, position):
    return draw_fakes(
        gan,
        state,
        draw_latents(gan, example_keys(RNG, LATENTS, position)),
        draw_labels(gan, example_keys(RNG, LABELS, position)),
        example_keys(RNG, DROPOUT_DRAWING, position),
    )


def logits_with(task, state):
    """Returns the discriminator's logits as a function of images; it must have no BatchNorm."""
    network = task.gan.networks.discriminator
    variables = state.discriminator.variables
    return lambda images: (
        network.apply(variables, images, jnp.zeros(len(images), int), train=True).logits
    )


def real_and_generated(task, state):
    """Returns the first batch of a step, and what the generator draws beside it."""
    position = jnp.arange(BATCH)
    real = to_signed_unit(jnp.asarray(batch_of(task)["image"][:BATCH])).astype(jnp.float64)
    return real, alone(lambda state: draw(task.gan, state, position).images, state)


def assert_close(tree, other, **tolerance):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **tolerance), tree, other)


def counts(state):
    return [int(network.opt_state[0].count) for network in (state.discriminator, state.generator)]


class TestDiscriminatorSteps:
    def test_adam_counts_three_updates_of_the_discriminator_and_one_of_the_generator(self):
        task, state = task_and_state(optimizer__discriminator_steps=3)
        assert task.batches == (3, BATCH)
        for step in (1, 2):
            state, _ = train(task, state)
            assert (counts(state), int(state.step)) == ([3 * step, step], step)

    @pytest.mark.parametrize(
        ("network", "k", "half", "more"),
        [
            pytest.param("dcgan", 1, True, {}, marks=pytest.mark.slow),
            pytest.param("dcgan", 3, False, {}, marks=pytest.mark.slow),
            ("dense", 2, True, DROPOUT),
        ],
    )
    def test_a_step_is_its_updates_written_one_after_the_other(
        self, float64, network, k, half, more
    ):
        recipe = {"optimizer__discriminator_steps": k, "optimizer__half_batches": half}
        task, state = task_and_state(network, **recipe, **more)
        size = BATCH // (1 + half)
        batch = {name: jnp.asarray(rows) for name, rows in batch_of(task).items()}

        def by_hand(state):
            seen = []
            for update in range(k):
                rows = slice(update * size, (update + 1) * size)
                position = drawn_for = jnp.arange(update * size, (update + 1) * size)
                if half and update == k - 1:
                    drawn_for = jnp.arange(update * size, (update + 2) * size)
                generated = draw(task.gan, state, drawn_for)
                state, outputs = discriminator_step(
                    task.gan,
                    state,
                    to_signed_unit(batch["image"][rows]),
                    batch["label"][rows],
                    generated.images[:size],
                    generated.labels[:size],
                    RNG,
                    position,
                )
                seen.append(outputs)
            state, of_generator = generator_step(task.gan, state, generated, RNG, drawn_for)
            return replace(state, step=state.step + 1), seen, of_generator

        expected, of_discriminator, of_generator = alone(by_hand, state)
        after, logged = train(task, state)
        assert_close(after, expected, rtol=1e-9, atol=1e-12)
        means = {
            name: np.mean([outputs[name].mean() for outputs in of_discriminator])
            for name in of_discriminator[0]
        } | {name: values.mean() for name, values in of_generator.items()}
        assert_close(logged, means, rtol=1e-6)

    @pytest.mark.parametrize(("half", "epoch"), [(False, 2), (True, 4)])
    def test_an_epoch_is_as_many_steps_as_use_the_real_images_up(self, half, epoch):
        """Each of them 3 updates of the discriminator: so long is a warm-up of one epoch."""
        recipe = {"optimizer__discriminator_steps": 3, "optimizer__half_batches": half}
        warm_up = {
            f"optimizer__{player}__{name}": value
            for player in ("generator", "discriminator")
            for name, value in {"warmup": "1 epoch", "learning_rate": 0.5}.items()
        }
        made = make_gan(GANSettings.of(config_of(**recipe, **warm_up)), CARD)

        def lengths_of_updates(optimizer):
            state, seen = optimizer.init(jnp.zeros(())), []
            for _ in range(14):
                update, state = optimizer.update(jnp.ones(()), state)
                seen.append(-float(update))
            return seen

        for optimizer, warm in (
            (made.discriminator_optimizer, 3 * epoch),
            (made.generator_optimizer, epoch),
        ):
            expected = 0.5 * np.minimum(np.arange(14) / warm, 1)
            np.testing.assert_allclose(lengths_of_updates(optimizer), expected, rtol=1e-4)


class TestHalfBatches:
    def shapes(self, monkeypatch, **changes):
        """Returns how many examples each update of a step is given."""
        of_discriminator, of_generator = [], []

        def of_d(gan, state, images, labels, fakes, fake_labels, rng, position):
            given = (images, labels, fakes, fake_labels, position)
            of_discriminator.append({len(rows) for rows in given})
            return discriminator_step(gan, state, images, labels, fakes, fake_labels, rng, position)

        def of_g(gan, state, generated, rng, position, real):
            of_generator.append({len(generated.images), len(generated.labels), len(position)})
            return generator_step(gan, state, generated, rng, position, real)

        monkeypatch.setattr(gan.task, "discriminator_step", of_d)
        monkeypatch.setattr(gan.task, "generator_step", of_g)
        task, state = task_and_state(**changes)
        jax.eval_shape(step_of(task, 1), state)
        return of_discriminator, of_generator

    @pytest.mark.parametrize("k", [1, 2])
    def test_the_discriminator_sees_half_as_many_images_as_the_generator_draws(
        self, monkeypatch, k
    ):
        shapes = self.shapes(
            monkeypatch, optimizer__half_batches=True, optimizer__discriminator_steps=k
        )
        assert shapes == ([{BATCH // 2}] * k, [{BATCH}])

    def test_without_them_both_see_a_whole_batch(self, monkeypatch):
        assert self.shapes(monkeypatch) == ([{BATCH}], [{BATCH}])

    def test_a_step_takes_half_as_many_real_images(self):
        made = make_gan(
            GANSettings.of(
                config_of(optimizer__half_batches=True, optimizer__discriminator_steps=3)
            ),
            CARD,
        )
        assert made.batches == (3, BATCH // 2)
        assert made.batches.examples == 3 * BATCH // 2

    def test_an_odd_batch_size_is_refused(self):
        odd = {"data__batch_size": 7}
        assert make_gan(GANSettings.of(config_of(**odd)), CARD).batches.size == 7
        with pytest.raises(UserError, match=r"config\.data\.batch_size is 7, which is odd"):
            make_gan(GANSettings.of(config_of(optimizer__half_batches=True, **odd)), CARD)


class TestPenalties:
    def test_a_weight_of_0_computes_nothing(self, monkeypatch):
        for name in TERMS:
            monkeypatch.setitem(TERMS, name, None)
        _, logged = train(*task_and_state())
        assert not [name for name in logged if "penalty" in name or "r1" in name]

    @pytest.mark.parametrize(
        ("network", "penalty", "slope"),
        [("dense", 3.0, 0.0), ("dense", 0.0, 0.5), ("dcgan", 3.0, 0.5)],
    )
    def test_are_logged_and_part_of_the_loss(self, network, penalty, slope):
        weights = {"gradient_penalty": penalty, "r1": slope, "discriminator_weight": 0.5}
        _, logged = train(
            *task_and_state(network, **{f"loss__{name}": w for name, w in weights.items()})
        )
        assert all(np.isfinite(value) for value in logged.values())
        assert ("discriminator_gradient_penalty" in logged) is bool(penalty)
        assert ("discriminator_r1" in logged) is bool(slope)
        parts = (
            0.5 * logged["discriminator_adversarial_loss_real"],
            0.5 * logged["discriminator_adversarial_loss_fake"],
            penalty * logged.get("discriminator_gradient_penalty", 0.0),
            slope * logged.get("discriminator_r1", 0.0),
        )
        np.testing.assert_allclose(logged["discriminator_loss"], sum(parts), rtol=1e-5)

    def test_are_of_the_batch_and_of_the_discriminator_before_its_update(self, float64):
        task, state = task_and_state(loss__gradient_penalty=3.0, loss__r1=0.5)
        real, fake = real_and_generated(task, state)
        keys = example_keys(RNG, PENALTY, jnp.arange(BATCH))

        @quick_jit
        def penalties(real, fake):
            logit_of, share = logits_with(task, state), jax.vmap(jax.random.uniform)(keys)
            return gradient_penalty(logit_of, real, fake, share), r1(logit_of, real)

        _, logged = train(task, state)
        for name, expected in zip(("gradient_penalty", "r1"), penalties(real, fake), strict=True):
            np.testing.assert_allclose(
                logged[f"discriminator_{name}"], expected.mean(), rtol=1e-5, err_msg=name
            )

    @pytest.mark.parametrize(
        ("network", "penalty"), [("dense", "gradient_penalty"), ("dcgan", "r1")]
    )
    def test_a_discriminator_that_minimises_only_one_brings_it_down(self, network, penalty):
        task, state = task_and_state(
            network,
            loss__discriminator_weight=0.0,
            optimizer__discriminator__learning_rate=3e-3,
            **{f"loss__{penalty}": 1.0},
        )
        name = f"discriminator_{penalty}"
        state, first = train(task, state)
        _, last = train(task, state, steps=60)
        assert last[name] < 0.5 * first[name]


class TestDevices:
    @pytest.mark.parametrize(
        ("network", "devices", "more"),
        [("dense", 2, DROPOUT), pytest.param("dcgan", 4, {}, marks=pytest.mark.slow)],
    )
    def test_their_number_changes_nothing(self, float64, network, devices, more):
        """BatchNorm, dropout, penalties and all."""
        task, state = task_and_state(
            network,
            optimizer__discriminator_steps=2,
            optimizer__half_batches=True,
            loss__gradient_penalty=3.0,
            loss__r1=0.5,
            **more,
        )
        one, logged_by_one = train(task, state, steps=2)
        several, logged_by_several = train(task, state, devices, steps=2)
        assert_close(several, one, rtol=1e-5, atol=1e-7)
        assert_close(logged_by_several, logged_by_one, rtol=1e-5)

    def test_each_first_takes_its_share_of_the_first_batch(self):
        """As common/training/dispatch.py lays a step out."""
        batch = {"position": np.arange(12)}
        shares = in_shares(batch, Batches(3, 4), 2)["position"]
        np.testing.assert_array_equal(shares, [[0, 1, 4, 5, 8, 9], [2, 3, 6, 7, 10, 11]])


class TestMetrics:
    outputs = ("discriminator_output_real", "discriminator_output_fake", "generator_output_fake")

    @pytest.mark.parametrize("name", ["non_saturating", "minimax"])
    def test_outputs_are_probabilities_where_the_logits_stand_for_them(self, name):
        _, logged = train(*task_and_state(loss__name=name), steps=5)
        for output in self.outputs:
            assert 0 < logged[output] < 1
        assert {"discriminator_accuracy_real", "discriminator_accuracy_fake"} <= logged.keys()

    def test_outputs_are_those_of_the_players_before_their_own_updates(self, float64):
        task, state = task_and_state()
        real, fake = real_and_generated(task, state)
        after, logged = train(task, state)
        outputs = quick_jit(
            lambda state, images: jax.nn.sigmoid(logits_with(task, state)(images)).mean()
        )
        before = [outputs(state, images) for images in (real, fake)]
        expected = dict(zip(self.outputs, [*before, outputs(after, fake)], strict=True))
        assert_close({name: logged[name] for name in self.outputs}, expected, rtol=1e-6)

    def test_a_critics_outputs_are_its_scores_and_it_has_no_accuracy(self):
        _, logged = train(*task_and_state(loss__name="wasserstein", loss__gradient_penalty=10.0))
        assert not [name for name in logged if "accuracy" in name]
        difference = logged["discriminator_output_fake"] - logged["discriminator_output_real"]
        adversarial = [
            logged[f"discriminator_adversarial_loss_{half}"] for half in ("real", "fake")
        ]
        np.testing.assert_allclose(sum(adversarial), difference, rtol=1e-5)


class TestWrongSettings:
    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("optimizer.discriminator_steps", 0),
            ("optimizer.discriminator_steps", -1),
            ("model.latent", "cauchy"),
            ("model.average_decay", 1.0),
            ("model.average_decay", -0.1),
            ("loss.discriminator_weight", -1.0),
            ("loss.class_weight", -1.0),
            ("loss.gradient_penalty", -10.0),
            ("loss.r1", -0.1),
            ("loss.r1", float("nan")),
            ("loss.name", "wgan"),
            ("loss.label_smoothing", 1.0),
            ("optimizer.generator.decay", "step"),
            ("optimizer.discriminator.decay", "step"),
        ],
    )
    def test_are_refused_with_the_field_and_its_value(self, field, value):
        config = config_of()
        config.update_from_flattened_dict({field: value})
        with pytest.raises(UserError, match=rf"config\.{field} is '?{value}"):
            check(config, RULES)
            make_gan(GANSettings.of(config), CARD)


class TestFeeds:
    num = 29
    batches = Batches(3, 4)

    def split(self):
        return split_of(
            [
                {"image": np.full((1, 1, 1), i, np.uint8), "label": np.int32(i % 2)}
                for i in range(self.num)
            ]
        )

    @pytest.mark.parametrize("feed_type", [ResidentFeed, StreamedFeed])
    @pytest.mark.parametrize("shuffle", [True, False])
    def test_a_step_takes_the_next_examples_batch_after_batch(
        self, monkeypatch, feed_type, shuffle
    ):
        monkeypatch.setattr(dispatch, "max_steps_per_dispatch", lambda: 3)
        feed = feed_type(Order(self.split(), self.batches, [0], shuffle=shuffle))
        for start in (0, 5):
            block = feed.block(start, 3)
            pixels = np.asarray(block.examples["image"])[0, :, 0, 0, 0]
            for i in range(3):
                expected = batch_indices(start + i, 12, 0, self.num, shuffle)
                np.testing.assert_array_equal(
                    pixels[np.asarray(block.indices)[0, i]], expected.reshape(3, 4)
                )

    @pytest.mark.parametrize("feed_type", [ResidentFeed, StreamedFeed])
    def test_each_batch_is_spread_over_all_devices(self, monkeypatch, feed_type):
        feed = feed_type(Order(self.split(), self.batches, [0], shuffle=True))
        batch = batch_indices(2, 12, 0, self.num, True)
        monkeypatch.setattr(jax, "local_device_count", lambda: 2)
        shares = feed._order.indices(2).reshape(2, -1)
        np.testing.assert_array_equal(shares, in_shares({"index": batch}, self.batches, 2)["index"])

    def test_a_batch_and_not_the_step_must_divide_by_the_devices(self, monkeypatch):
        monkeypatch.setattr(jax, "device_count", lambda: 6)
        with pytest.raises(UserError, match="is not divisible by 6 devices"):
            Order(self.split(), self.batches, [0], shuffle=True)
