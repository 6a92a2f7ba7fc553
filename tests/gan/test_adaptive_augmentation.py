"""Adaptive augmentation: images are varied the more often, the surer the critic is of real ones."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from common.data.augmentation import Augmentation
from common.data.transforms import augment_images
from common.program.errors import UserError
from common.training.train import train as train_run
from gan.config import GANSettings
from gan.controls import AUGMENT_PROBABILITY, Controls
from gan.state import make_gan
from gan.task import make_task
from tests.checkpoint_leaves import assert_same_leaves, read_leaves
from tests.gan.test_recipes import CARD, config_of, quick_jit, train
from tests.interrupted import signalled_after

ADAPTIVE = {
    "adaptive_augment__target": 0.6,
    "adaptive_augment__rise": "20",
    "discriminator_augment__brightness": 0.5,
}
STILL = 1e-12  # a learning rate


def started(probability, **changes):
    """Returns a task and its state, in which images are varied with a probability."""
    task = make_task(config_of(**ADAPTIVE, **changes), CARD)
    state = quick_jit(task.init)(jax.random.key(0))
    assert state.controls == {AUGMENT_PROBABILITY: 0}
    return task, replace(state, controls={AUGMENT_PROBABILITY: jnp.float32(probability)})


class TestRule:
    @pytest.mark.parametrize(
        ("accuracy", "before", "after"),
        [(0.85, 0.5, 0.55), (0.75, 0.5, 0.45), (0.8, 0.5, 0.5), (1.0, 0.99, 1.0), (0.0, 0.0, 0.0)],
    )
    def test_a_step_up_where_the_mean_sign_is_above_the_target_and_down_below(
        self, accuracy, before, after
    ):
        """A share of 0.8 of the signs is 1 where their mean is 0.6."""
        outputs = {"discriminator_accuracy_real": jnp.full((1, 4), accuracy)}
        rule = Controls(target=0.6, rise=20)
        with jax.enable_x64(True):
            controls = {AUGMENT_PROBABILITY: jnp.full(1, before)}
            found = jax.vmap(lambda c, o: rule.after(c, o, jnp.int32(0)), axis_name="batch")(
                controls, outputs
            )
        np.testing.assert_allclose(found[AUGMENT_PROBABILITY], [after], atol=1e-6)

    def test_the_probability_rises_for_a_critic_that_knows_its_images_by_heart(self):
        """It sees the same eight images in every step."""
        slow = {"optimizer__generator__learning_rate": STILL}
        fast = {"optimizer__discriminator__learning_rate": 1e-2}
        task, state = started(0.0, **slow, **fast)
        state, logged = train(task, state, steps=40)
        assert logged["discriminator_accuracy_real"] > 0.8
        assert logged[AUGMENT_PROBABILITY] == float(state.controls[AUGMENT_PROBABILITY]) > 0.5

    def test_it_falls_for_a_critic_that_is_not_sure(self):
        task, state = started(0.5, optimizer__discriminator__learning_rate=STILL)
        state, logged = train(task, state, steps=5)
        assert logged["discriminator_accuracy_real"] < 0.8
        np.testing.assert_allclose(state.controls[AUGMENT_PROBABILITY], 0.25, rtol=1e-5)


class TestImages:
    images = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (400, 4, 4, 1)), jnp.float32)
    keys = jax.random.split(jax.random.key(1), 400)
    darker = Augmentation(brightness=0.5)

    def varied(self, probability):
        chance = jnp.float32(probability)
        found = augment_images(self.images, self.keys, self.darker, chance)
        return found, np.asarray((found != self.images).any((1, 2, 3)))

    def test_so_many_are_varied_as_the_probability_says_the_others_not_at_all(self):
        found, changed = self.varied(0.25)
        assert 60 < changed.sum() < 140
        always = augment_images(self.images, self.keys, self.darker)
        np.testing.assert_array_equal(found[changed], always[changed])
        np.testing.assert_array_equal(self.varied(1.0)[0], always)
        np.testing.assert_array_equal(self.varied(0.0)[0], self.images)

    def test_those_of_a_smaller_probability_are_among_those_of_a_larger(self):
        assert self.varied(0.7)[1][self.varied(0.3)[1]].all()


@pytest.mark.usefixtures("one_program")
def test_controls_go_on_where_a_run_was_stopped(tmp_path):
    fast = {"optimizer__discriminator__learning_rate": 5e-4, "loss__lecam": 0.1}
    config = config_of(**{**ADAPTIVE, "adaptive_augment__target": 0.1}, **fast)
    config.data.num_phantoms = 16
    config.train.update(picture_every="0", eval_every="0")
    train_run(config, tmp_path / "at once")
    with pytest.MonkeyPatch.context() as patch:
        signalled_after(3, patch)
        assert not train_run(config, tmp_path / "stopped")
    train_run(config, tmp_path / "stopped")
    leaves = [read_leaves(tmp_path / name, 6) for name in ("at once", "stopped")]
    assert_same_leaves(*leaves)
    assert leaves[0][f"/controls/{AUGMENT_PROBABILITY}"] > 0.1
    assert leaves[0]["/controls/average_logit_real"] != 0


class TestSettings:
    def refused(self, message, **changes):
        with pytest.raises(UserError, match=message):
            make_gan(GANSettings.of(config_of(**{**ADAPTIVE, **changes})), CARD)

    def test_there_must_be_something_to_vary(self):
        self.refused("varies nothing", discriminator_augment__brightness=0.0)

    @pytest.mark.parametrize("loss", ["wasserstein", "relativistic"])
    def test_the_sign_of_a_logit_must_mean_something(self, loss):
        self.refused("sign of a logit means nothing", loss__name=loss)
