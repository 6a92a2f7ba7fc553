"""The learning rate over training, and that Adam without a schedule is Optax's own."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from ml_collections import ConfigDict

from common.config.defaults import OPTIMIZER_RULES, RULES, OptimizerSettings
from common.learning.optimizers import check_rates, learning_rate_schedule, make_optimizer
from common.program.errors import UserError
from common.runs.checkpoints import Checkpoints

RATE = 0.5
NAME = "optimizer.generator"


def settings(**changes):
    return replace(OptimizerSettings(RATE), **changes)


def rates(updates, steps_per_epoch=10.0, updates_per_step=1, num_steps="0", **changes):
    """Returns the learning rates of some updates, as one array."""
    schedule = learning_rate_schedule(
        settings(**changes), NAME, steps_per_epoch, updates_per_step, num_steps
    )
    return np.array([schedule(jnp.int32(update)) for update in updates])


class TestSchedule:
    def test_without_settings_the_rate_never_changes(self):
        np.testing.assert_array_equal(rates([0, 1, 10**6]), RATE)

    def test_the_warm_up_is_a_straight_line_from_0_and_then_constant(self):
        np.testing.assert_allclose(
            rates(range(7), warmup="4"), RATE * np.array([0, 0.25, 0.5, 0.75, 1, 1, 1]), rtol=1e-6
        )
        assert rates([10**6], warmup="4") == RATE

    def test_the_linear_decay_is_a_straight_line_to_0(self):
        falling = rates(range(1, 9), decay="linear", decay_begin="2", decay_end="6")
        expected = RATE * np.array([1, 1, 0.75, 0.5, 0.25, 0, 0, 0])
        np.testing.assert_allclose(falling, expected, rtol=1e-6)

    def test_the_cosine_decay_is_half_a_cosine_to_0(self):
        falling = rates(range(1, 9), decay="cosine", decay_begin="2", decay_end="6")
        through = np.clip((np.arange(1, 9) - 2) / 4, 0, 1)
        np.testing.assert_allclose(falling, RATE * (1 + np.cos(np.pi * through)) / 2, atol=1e-7)

    @pytest.mark.parametrize("decay", ["linear", "cosine"])
    @pytest.mark.parametrize("end", [7, 1000, 30001])
    def test_every_decay_is_at_0_from_its_end_on_and_not_before(self, decay, end):
        some = [end * 9 // 10, end, end + 1, 10 * end]
        falling = rates(some, decay=decay, decay_begin="2", decay_end=str(end))
        assert falling[0] > 0
        np.testing.assert_array_equal(falling[1:], 0)

    @pytest.mark.parametrize("decay", ["linear", "cosine"])
    def test_a_warm_up_may_go_straight_into_a_decay(self, decay):
        falling = {"decay": decay, "decay_begin": "4", "decay_end": "8"}
        there = rates(range(9), warmup="4", **falling)
        np.testing.assert_array_equal(there[:5], rates(range(5), warmup="4"))
        np.testing.assert_array_equal(there[4:], rates(range(4, 9), **falling))

    @pytest.mark.parametrize("decay", ["linear", "cosine"])
    def test_a_decay_that_names_no_end_lasts_as_long_as_training(self, decay):
        there = rates(range(9), decay=decay, decay_begin="2", num_steps="6")
        np.testing.assert_array_equal(
            there, rates(range(9), decay=decay, decay_begin="2", decay_end="6")
        )
        assert there[5] > 0 == there[6]

    def test_durations_may_be_shares_of_training(self):
        shares = {"warmup": "10 %", "decay_begin": "50 %", "num_steps": "2 epochs"}
        in_steps = {"warmup": "2", "decay_begin": "10", "num_steps": "20"}
        for decay in ("none", "linear"):
            np.testing.assert_array_equal(
                rates(range(20), decay=decay, **shares), rates(range(20), decay=decay, **in_steps)
            )
        of_rate, of_training = OPTIMIZER_RULES["decay_begin"], RULES["train.num_steps"]
        assert of_rate.holds("50 %") and not of_rate.holds("101 %")
        assert of_training.holds("50 epochs") and not of_training.holds("50 %")

    def test_durations_may_be_epochs(self):
        updates = range(0, 90, 5)
        in_epochs = {"warmup": "1 epoch", "decay_begin": "2.5 epochs", "decay_end": "8 epochs"}
        in_steps = {"warmup": "10", "decay_begin": "25", "decay_end": "80"}
        for decay in ("linear", "cosine"):
            np.testing.assert_array_equal(
                rates(updates, decay=decay, **in_epochs), rates(updates, decay=decay, **in_steps)
            )

    def test_a_broken_epoch_counts_as_a_whole_step(self):
        assert rates([3, 4], 3.2, warmup="1 epoch").tolist() == [0.75 * RATE, RATE]

    @pytest.mark.parametrize("decay", ["linear", "cosine"])
    def test_durations_are_in_training_steps_however_many_updates_a_step_has(self, decay):
        durations = {"warmup": "4", "decay": decay, "decay_begin": "5", "decay_end": "9"}
        once = rates(range(12), **durations)
        thrice = rates(range(0, 36, 3), updates_per_step=3, **durations)
        np.testing.assert_allclose(thrice, once, atol=1e-7)

    def test_a_decay_that_is_off_has_no_wrong_durations(self):
        assert rates([7], decay_begin="9", decay_end="3") == RATE


class TestWrongSettings:
    def refused(self, match, **changes):
        with pytest.raises(UserError, match=match):
            make_optimizer(settings(**changes), NAME, 10.0)

    @pytest.mark.parametrize("decay", ["linear", "cosine"])
    @pytest.mark.parametrize(
        ("begin", "end"), [("5", "5"), ("5", "4"), ("1 epoch", "10"), ("0",) * 2]
    )
    def test_a_decay_that_ends_when_it_begins_or_earlier(self, decay, begin, end):
        self.refused(
            rf"config\.optimizer\.generator.*decay_begin='{begin}'.*decay_end='{end}'",
            decay=decay,
            decay_begin=begin,
            decay_end=end,
        )

    def test_a_decay_that_begins_during_the_warm_up(self):
        self.refused(
            r"config\.optimizer\.generator.*decay_begin='9'.*warm-up \('1 epoch'\)",
            decay="linear",
            warmup="1 epoch",
            decay_begin="9",
            decay_end="20",
        )

    @pytest.mark.parametrize("field", ["warmup", "decay_begin", "decay_end"])
    def test_what_is_no_duration(self, field):
        self.refused("'soon' is not a duration", **{field: "soon"})


class TestLength:
    def found(self, num_steps, **changes):
        config = ConfigDict(
            {"train": {"num_steps": num_steps}, "optimizer": settings(**changes).section}
        )
        return check_rates(config, 10.0)

    def test_training_past_the_end_of_a_decay_is_refused(self):
        with pytest.raises(UserError, match=r"rate is 0 from step 20 on.*'3 epochs', 30 steps"):
            self.found("3 epochs", decay="cosine", decay_end="20")

    def test_a_decay_that_would_begin_after_the_training_is_told_and_the_rate_stays(self):
        changes = {"decay": "linear", "decay_begin": "40"}
        (sentence,) = self.found("3 epochs", **changes)
        assert "decay_begin is '40'" in sentence and "does not fall" in sentence
        np.testing.assert_array_equal(rates(range(30), num_steps="30", **changes), RATE)

    def test_a_decay_to_the_end_and_none_are_right(self):
        assert self.found("3 epochs", decay="cosine", decay_end="30") == []
        assert self.found("3 epochs", decay="cosine") == []
        assert self.found("3 epochs", decay_end="20") == []

    def test_a_rate_that_is_never_reached_is_told(self):
        (sentence,) = self.found("3 epochs", warmup="3 epochs")
        assert "config.optimizer.warmup is '3 epochs'" in sentence
        (sentence,) = self.found("3 epochs", decay="linear", decay_end="40")
        assert "does not fall to 0" in sentence


class TestAdam:
    start = np.linspace(-1, 1, 7, dtype=np.float32)

    def path(self, optimizer, num_updates=20):
        """Returns the parameters after each update, by gradients that depend on them."""

        @jax.jit
        def update(params, state):
            gradients = jax.tree.map(lambda p: jnp.sin(5 * p) + p, params)
            updates, state = optimizer.update(gradients, state, params)
            return optax.apply_updates(params, updates), state

        params = {"w": jnp.asarray(self.start), "b": jnp.float32(0.3)}
        state, seen = optimizer.init(params), []
        for _ in range(num_updates):
            params, state = update(params, state)
            seen.append(params)
        return seen

    @pytest.mark.parametrize("other", [{}, {"beta1": 0.5, "beta2": 0.99, "epsilon": 1e-7}])
    def test_without_a_schedule_is_optaxs_bit_for_bit(self, other):
        section = settings(learning_rate=2e-4, **other)
        reference = optax.adam(2e-4, section.beta1, section.beta2, section.epsilon)
        jax.tree.map(
            np.testing.assert_array_equal,
            self.path(make_optimizer(section, NAME, 10.0)),
            self.path(reference),
        )

    def test_the_first_update_of_a_warm_up_moves_nothing_and_later_ones_do(self):
        first, second, *_ = self.path(make_optimizer(settings(warmup="4"), NAME, 10.0))
        np.testing.assert_array_equal(first["w"], self.start)
        assert (first["w"] != second["w"]).any()

    def test_after_the_decay_nothing_moves(self):
        decay = {"decay": "cosine", "decay_end": "5"}
        seen = self.path(make_optimizer(settings(**decay), NAME, 10.0, updates_per_step=2))
        assert (seen[9]["w"] != seen[8]["w"]).any()
        np.testing.assert_array_equal(seen[19]["w"], seen[9]["w"])


# What Optax has by each name, with the settings' own names.
RULES_OF_OPTAX = {
    "adam": optax.adam(0.1, b1=0.8, b2=0.9, eps=1e-3),
    "adamw": optax.adamw(0.1, b1=0.8, b2=0.9, eps=1e-3, weight_decay=0.2),
    "sgd": optax.chain(optax.add_decayed_weights(0.2), optax.sgd(0.1, momentum=0.8)),
    "rmsprop": optax.chain(
        optax.add_decayed_weights(0.2), optax.rmsprop(0.1, decay=0.9, eps=1e-3, momentum=0.8)
    ),
    "lion": optax.lion(0.1, b1=0.8, b2=0.9, weight_decay=0.2),
}


@pytest.mark.parametrize("name", RULES_OF_OPTAX)
class TestByName:
    gradients = tuple({"w": jnp.asarray(row)} for row in np.eye(6, 3, dtype=np.float32) * 4)

    def made(self, name, **changes):
        decay = 0.0 if name == "adam" else 0.2
        section = settings(
            name=name, learning_rate=0.1, beta1=0.8, beta2=0.9, epsilon=1e-3, weight_decay=decay
        )
        return make_optimizer(replace(section, **changes), NAME, 10.0)

    def moved(self, optimizer, params, state, gradients):
        @jax.jit
        def update(params, state, gradient):
            updates, state = optimizer.update(gradient, state, params)
            return optax.apply_updates(params, updates), state

        for gradient in gradients:
            params, state = update(params, state, gradient)
        return params, state

    def start(self, optimizer):
        params = {"w": jnp.asarray([1.0, -2.0, 0.5])}
        return params, optimizer.init(params)

    def test_it_is_optaxs(self, name):
        ours, theirs = self.made(name), RULES_OF_OPTAX[name]
        for optimizer in (ours, theirs):
            found = self.moved(optimizer, *self.start(optimizer), self.gradients)[0]["w"]
            if optimizer is ours:
                first = found
        np.testing.assert_allclose(first, found, rtol=1e-6)
        assert (np.abs(first - self.start(ours)[0]["w"]) > 1e-3).all()

    def test_long_gradients_are_scaled_and_short_ones_are_not(self, name):
        """Their norm is 4: 5 changes nothing, 2 is the same as gradients of half the length."""
        same, cut, plain = self.made(name, clip=5.0), self.made(name, clip=2.0), self.made(name)
        halves = [jax.tree.map(lambda g: g / 2, gradient) for gradient in self.gradients[:3]]
        whole = self.moved(plain, *self.start(plain), self.gradients[:3])
        for found, wanted in (
            (self.moved(same, *self.start(same), self.gradients[:3]), whole),
            (
                self.moved(cut, *self.start(cut), self.gradients[:3]),
                self.moved(plain, *self.start(plain), halves),
            ),
        ):
            jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-6), found, wanted)

    def test_it_resumes_bit_for_bit(self, name, tmp_path):
        optimizer = self.made(name, clip=2.0, warmup="3")
        through = self.moved(optimizer, *self.start(optimizer), self.gradients)
        half = self.moved(optimizer, *self.start(optimizer), self.gradients[:3])
        with Checkpoints(tmp_path) as checkpoints:
            checkpoints.save(3, jax.device_get(half), {})
        with Checkpoints(tmp_path) as checkpoints:
            restored = checkpoints.restore(3, jax.eval_shape(lambda: self.start(optimizer)))
        again = self.moved(optimizer, *restored, self.gradients[3:])
        jax.tree.map(np.testing.assert_array_equal, again, through)


def test_adam_does_not_decay_weights_and_says_what_does():
    with pytest.raises(UserError, match=r"adam has none; set --config\.optimizer\.generator\.name"):
        make_optimizer(settings(weight_decay=0.1), NAME, 10.0)
