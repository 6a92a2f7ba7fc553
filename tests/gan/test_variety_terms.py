"""The terms for variety: mode seeking, diversity, spread."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from common.learning.randomness import example_keys
from gan.drawing import draw_labels, draw_latents
from gan.steps import LABELS, LATENTS
from gan.terms import diversity, mode_seeking, spread
from tests.gan.test_recipes import BATCH, RNG, real_and_generated, task_and_state, train


class TestModeSeeking:
    def arrays(self, num=7):
        random = np.random.default_rng(0)
        return random.normal(size=(num, 2, 2, 1)), random.normal(size=(num, 3))

    def test_is_the_reciprocal_of_the_mean_ratio_of_pairs_of_a_class(self, float64):
        images, latents = self.arrays()
        labels = np.array([0, 1, 0, 0, 1, 2, 0])
        pairs = [(0, 2), (2, 3), (3, 6), (6, 0), (1, 4), (4, 1)]  # 5 is alone
        ratios = [
            abs(images[i] - images[j]).mean() / abs(latents[i] - latents[j]).mean()
            for i, j in pairs
        ]
        found = mode_seeking(*map(jnp.asarray, (images, latents, labels)))
        np.testing.assert_allclose(found, 1 / (np.mean(ratios) + 1e-5), rtol=1e-12)

    def test_of_images_all_alone_in_their_class_is_nothing(self):
        images, latents = (jnp.asarray(x, jnp.float32) for x in self.arrays(3))
        value, gradient = jax.value_and_grad(mode_seeking)(images, latents, jnp.arange(3))
        assert value == 0 and (gradient == 0).all()

    def test_is_logged_and_part_of_the_generators_loss(self, float64):
        task, state = task_and_state(loss__mode_seeking=0.5)
        _, fake = real_and_generated(task, state)
        position = jnp.arange(BATCH)
        latents = draw_latents(task.gan, example_keys(RNG, LATENTS, position))
        labels = draw_labels(task.gan, example_keys(RNG, LABELS, position))
        _, logged = train(task, state)
        expected = mode_seeking(fake, latents, labels)
        np.testing.assert_allclose(logged["generator_mode_seeking"], expected, rtol=1e-6)
        total = logged["generator_adversarial_loss"] + 0.5 * expected
        np.testing.assert_allclose(logged["generator_loss"], total, rtol=1e-6)


class TestSpread:
    def test_is_how_much_less_images_differ_in_brightness_than_real_ones_of_the_class(self):
        """Class 0 has half of the real differences, class 1 more, class 2 one real image."""
        random = np.random.default_rng(0)
        labels = jnp.array([0, 0, 0, 1, 1, 2, 2])
        real = random.normal(size=(7, 8, 8, 1)).astype(np.float32)
        images = np.concatenate([real[:3] / 2, 3 * real[3:5], real[5:]])
        real_labels = jnp.array([0, 0, 0, 1, 1, 2, 3])
        found = spread(jnp.asarray(images), labels, jnp.asarray(real), real_labels)
        np.testing.assert_allclose(found, 3 / 7 * 0.5, rtol=1e-5)

    def test_compares_each_place(self):
        """Half of the places are as bright in all images; the others differ as the real ones do."""
        real = np.random.default_rng(1).normal(size=(4, 8, 8, 1)).astype(np.float32)
        images = real.copy()
        images[:, :4] = 0.3
        zeros = jnp.zeros(4, int)
        value, gradient = jax.value_and_grad(spread)(
            jnp.asarray(images), zeros, jnp.asarray(real), zeros
        )
        np.testing.assert_allclose(value, 0.5, rtol=1e-5)
        assert jnp.isfinite(gradient).all()

    def test_where_real_images_are_the_same_nothing_is_missing(self):
        black, zeros = jnp.zeros((3, 8, 8, 1)), jnp.zeros(3, int)
        assert spread(black, zeros, black, zeros) == 0

    def test_larger_images_are_compared_at_8x8(self):
        small = np.random.default_rng(2).normal(size=(4, 8, 8, 1)).astype(np.float32)
        zeros = jnp.zeros(4, int)
        large, half = (jnp.asarray(np.kron(x, np.ones((1, 4, 4, 1)))) for x in (small, small / 2))
        np.testing.assert_allclose(spread(half, zeros, large, zeros), 0.5, rtol=1e-5)


class TestDiversity:
    def differences(self, images, labels, of_class):
        """`1 - |cos|` of pairs with steps of 100, beside which 0.05 is nothing."""
        chosen = images[labels == of_class]
        steps = [np.diff(chosen, axis=axis).reshape(len(chosen), -1) for axis in (1, 2)]
        units = np.concatenate(steps, 1)
        units /= np.linalg.norm(units, axis=1, keepdims=True)
        return 1 - abs((units @ units.T)[np.triu_indices(len(units), 1)])

    def arrays(self, num, seed):
        return 100 * np.random.default_rng(seed).normal(size=(num, 3, 3, 1))

    def test_is_how_much_more_alike_images_are_than_real_ones_of_the_class(self, float64):
        """Class 0 repeats itself, class 1 less than the real images, class 2 has one real image."""
        labels, real_labels = np.array([0, 0, 0, 1, 1, 2, 2]), np.array([0, 0, 0, 1, 1, 1, 2])
        images, real = self.arrays(7, 0), self.arrays(7, 1)
        images[:3] = 0.4 * images[:3] + images[:1]
        real[1] = 0.5 * real[1] + real[0]
        real[3:6] = 0.2 * real[3:6] + real[3]
        found = diversity(*map(jnp.asarray, (images, labels, real, real_labels)))
        apart, real_apart = (
            self.differences(x, y, 0) for x, y in ((images, labels), (real, real_labels))
        )
        alike, real_alike = (
            (np.maximum(0, 1 - x / real_apart.mean()) ** 2).mean() for x in (apart, real_apart)
        )
        assert alike > real_alike > 0
        np.testing.assert_allclose(found, 3 / 7 * (alike - real_alike), rtol=1e-4)

    def test_one_repeated_image_among_others_counts(self):
        """Where the mean difference is that of the real images."""
        zeros = jnp.zeros(8, int)
        real = self.arrays(8, 1)
        real[4:] += real[:4]
        repeated = np.concatenate([self.arrays(7, 2), self.arrays(1, 2)])  # the first again
        apart, usual = (self.differences(x, zeros, 0).mean() for x in (repeated, real))
        assert apart > usual
        assert diversity(*map(jnp.asarray, (repeated, zeros, real, zeros))) > 0

    @pytest.mark.parametrize("contrasts", [(1, 2, 3, 4), (1, -1, 2, -2), (0, 1e-4, 1e-4, 0)])
    def test_brightness_contrast_inversion_and_noise_in_black_make_no_other_image(self, contrasts):
        images = self.arrays(1, 0) * np.reshape(contrasts, (4, 1, 1, 1)) + 0.5
        zeros, real = jnp.zeros(4, int), self.arrays(4, 1)
        apart = self.differences(real, zeros, 0)
        real_alike = (np.maximum(0, 1 - apart / apart.mean()) ** 2).mean()
        found = diversity(jnp.asarray(images), zeros, jnp.asarray(real), zeros)
        np.testing.assert_allclose(found, 1 - real_alike, atol=0.02)

    def test_noise_makes_no_other_image(self):
        """Its steps are small at 16x16."""
        random, zeros = np.random.default_rng(2), jnp.zeros(4, int)
        ramp = np.linspace(-5, 5, 128)[:, None, None]
        noisy = jnp.asarray(ramp + random.normal(size=(4, 128, 128, 1)), jnp.float32)
        real = np.kron(random.normal(size=(4, 8, 8, 1)), np.ones((1, 16, 16, 1)))
        assert diversity(noisy, zeros, jnp.asarray(real, jnp.float32), zeros) > 0.6

    def test_of_one_image_alone_is_nothing(self):
        images, real = (jnp.asarray(self.arrays(n, n), jnp.float32) for n in (2, 4))
        value, gradient = jax.value_and_grad(diversity)(
            images, jnp.arange(2), real, jnp.zeros(4, int)
        )
        assert value == 0 and (gradient == 0).all()

    def test_pulls_equal_images_no_further_than_numbers_go(self):
        """Equal images have no direction to part in, and no infinite one."""
        images, zeros = jnp.zeros((4, 3, 3, 1)), jnp.zeros(4, int)
        gradient = jax.grad(diversity)(images, zeros, jnp.asarray(self.arrays(4, 1)), zeros)
        assert jnp.isfinite(gradient).all()
