"""The losses and penalties against their closed forms, and their gradients against differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from common.program.errors import UserError
from gan.losses import LOSSES, adversarial_loss, class_loss, gradient_penalty, r1
from gan.networks.dense import Discriminator, Generator

LOGITS = np.array([-30.0, -10.0, -2.5, -0.4, 0.0, 0.7, 3.0, 10.0, 30.0])
OTHERS = np.array([2.0, -7.0, 30.0, 0.0, -0.3, 1.0, 3.0, -2.0, -30.0])  # of the other images
PARTS = ("real", "fake", "generator")
WITH_TARGETS = ("minimax", "non_saturating", "least_squares")
OF_PROBABILITIES = ("minimax", "non_saturating")
NAMES_AND_SMOOTHINGS = [(name, 0.0) for name in LOSSES] + [
    (name, smoothing) for name in WITH_TARGETS for smoothing in (0.1, 0.4)
]


def sigmoid(logits):
    return 1 / (1 + np.exp(-logits))


def cross_entropy(logits, target):
    return target * np.logaddexp(0, -logits) + (1 - target) * np.logaddexp(0, logits)


def closed_forms(name, s):
    return {
        "minimax": (
            lambda x: cross_entropy(x, 1 - s),
            lambda x: cross_entropy(x, 0),
            lambda x: -cross_entropy(x, 0),
        ),
        "non_saturating": (
            lambda x: cross_entropy(x, 1 - s),
            lambda x: cross_entropy(x, 0),
            lambda x: cross_entropy(x, 1),
        ),
        "least_squares": (
            lambda x: (x - (1 - s)) ** 2 / 2,
            lambda x: x**2 / 2,
            lambda x: (x - 1) ** 2 / 2,
        ),
        "hinge": (
            lambda x: np.maximum(0, 1 - x),
            lambda x: np.maximum(0, 1 + x),
            lambda x: -x,
        ),
        "wasserstein": (lambda x: -x, lambda x: x, lambda x: -x),
        "relativistic": (
            lambda x: np.logaddexp(0, OTHERS - x) / 2,
            lambda x: np.logaddexp(0, x - OTHERS) / 2,
            lambda x: np.logaddexp(0, OTHERS - x),
        ),
    }[name]


def beside(loss, part, others=OTHERS):
    """Returns a part of a loss as a function of its own logits."""
    return lambda x: getattr(loss, part)(x, jnp.asarray(others, x.dtype))


def derivative(function, logits):
    return jax.grad(lambda x: function(x).sum())(jnp.asarray(logits))


def partial_derivatives(function, x, step=1e-5):
    """Central differences of a function of a vector, one per entry."""
    steps = step * np.eye(x.size)
    return np.array([function(x + h) - function(x - h) for h in steps], np.float64) / (2 * step)


class TestAdversarialLosses:
    @pytest.mark.parametrize(("name", "smoothing"), NAMES_AND_SMOOTHINGS)
    def test_each_part_is_its_closed_form(self, float64, name, smoothing):
        loss = adversarial_loss(name, smoothing)
        for part, expected in zip(PARTS, closed_forms(name, smoothing), strict=True):
            values = beside(loss, part)(jnp.asarray(LOGITS))
            assert values.dtype == jnp.float64
            np.testing.assert_allclose(values, expected(LOGITS), rtol=1e-12, err_msg=part)

    @pytest.mark.parametrize("name", LOSSES)
    def test_single_precision_is_enough(self, name):
        loss = adversarial_loss(name)
        for part, expected in zip(PARTS, closed_forms(name, 0.0), strict=True):
            values = beside(loss, part)(jnp.asarray(LOGITS, jnp.float32))
            assert values.dtype == jnp.float32
            np.testing.assert_allclose(values, expected(LOGITS), rtol=1e-5, err_msg=part)

    @pytest.mark.parametrize(("name", "smoothing"), NAMES_AND_SMOOTHINGS)
    def test_each_parts_gradient_is_the_finite_difference(self, float64, name, smoothing):
        loss, step = adversarial_loss(name, smoothing), 1e-5
        for part in PARTS:
            function = beside(loss, part)
            up, down = (np.asarray(function(jnp.asarray(LOGITS + h))) for h in (step, -step))
            np.testing.assert_allclose(
                derivative(function, LOGITS), (up - down) / (2 * step), atol=1e-9, err_msg=part
            )

    @pytest.mark.parametrize("name", OF_PROBABILITIES)
    def test_an_undecided_discriminator_loses_log_2_either_way(self, name):
        loss, undecided = adversarial_loss(name), jnp.zeros(3)
        for part in (loss.real, loss.fake):
            np.testing.assert_allclose(part(undecided), np.log(2), rtol=1e-6)

    @pytest.mark.parametrize("name", OF_PROBABILITIES)
    def test_the_discriminators_gradient_is_probability_minus_target(self, float64, name):
        loss = adversarial_loss(name, 0.1)
        for part, target in ((loss.real, 0.9), (loss.fake, 0.0)):
            np.testing.assert_allclose(
                derivative(part, LOGITS), sigmoid(LOGITS) - target, atol=1e-12
            )

    @pytest.mark.parametrize(
        ("name", "logit"),
        [(name, np.log(3.0)) for name in OF_PROBABILITIES] + [("least_squares", 0.75)],
    )
    def test_the_best_discriminator_says_the_share_of_real_images(self, float64, name, logit):
        """Where three of four images are real: Goodfellow et al. (2014), proposition 1."""
        loss = adversarial_loss(name)
        gradient = derivative(lambda x: 3 * loss.real(x) + loss.fake(x), np.array([logit]))
        np.testing.assert_allclose(gradient, 0, atol=1e-12)

    @pytest.mark.parametrize("name", WITH_TARGETS)
    def test_smoothing_moves_the_best_answer_to_real_images_alone(self, float64, name):
        plain, smooth = adversarial_loss(name), adversarial_loss(name, 0.1)
        best = np.log(0.9 / 0.1) if name in OF_PROBABILITIES else 0.9
        np.testing.assert_allclose(derivative(smooth.real, np.array([best])), 0, atol=1e-12)
        for part in ("fake", "generator"):
            np.testing.assert_array_equal(
                getattr(smooth, part)(jnp.asarray(LOGITS)),
                getattr(plain, part)(jnp.asarray(LOGITS)),
            )

    def test_the_hinge_stops_caring_beyond_its_margin(self):
        loss, beyond = adversarial_loss("hinge"), np.array([1.5, 30.0], np.float32)
        np.testing.assert_array_equal(derivative(loss.real, beyond), 0)
        np.testing.assert_array_equal(derivative(loss.fake, -beyond), 0)
        np.testing.assert_array_equal(derivative(loss.generator, beyond), -1)

    @pytest.mark.parametrize(("name", "smoothing"), NAMES_AND_SMOOTHINGS)
    def test_extreme_logits_never_overflow(self, name, smoothing):
        loss, extreme = adversarial_loss(name, smoothing), jnp.asarray([-1e6, 1e6])
        for part in PARTS:
            function = beside(loss, part, -extreme)
            assert jnp.isfinite(function(extreme)).all()
            assert jnp.isfinite(derivative(function, extreme)).all()

    @pytest.mark.parametrize("name", LOSSES)
    def test_a_probability_is_logged_if_the_logit_stands_for_one(self, name):
        logits = jnp.asarray(LOGITS, jnp.float32)
        expected = sigmoid(LOGITS) if name in OF_PROBABILITIES else LOGITS
        np.testing.assert_allclose(adversarial_loss(name).output(logits), expected, rtol=1e-5)

    @pytest.mark.parametrize("name", WITH_TARGETS)
    def test_an_image_counts_as_real_from_the_middle_of_the_targets_on(self, name):
        loss = adversarial_loss(name)
        assert loss.output(jnp.full(1, loss.threshold)).item() == 0.5

    def test_the_relativistic_discriminator_loses_what_its_pairs_do(self, float64):
        """`-log sigmoid(r - f)` over both halves; the generator that of the pair turned round."""
        loss, real, fake = adversarial_loss("relativistic"), *map(jnp.asarray, (LOGITS, OTHERS))
        both = loss.real(real, fake) + loss.fake(fake, real)
        np.testing.assert_allclose(both, np.logaddexp(0, OTHERS - LOGITS), rtol=1e-12)
        turned = np.logaddexp(0, LOGITS - OTHERS)
        np.testing.assert_allclose(loss.generator(fake, real), turned, rtol=1e-12)
        assert loss.threshold is None and loss.relative

    def test_a_critics_score_is_no_verdict(self):
        assert adversarial_loss("hinge").threshold == 0
        assert adversarial_loss("wasserstein").threshold is None


class TestSaturation:
    """What the generator learns where the discriminator is sure that its image is generated."""

    def test_the_minimax_gradient_vanishes_and_the_non_saturating_does_not(self, float64):
        sure = np.array([-10.0])
        np.testing.assert_allclose(
            derivative(adversarial_loss("minimax").generator, sure), -4.5398e-5, rtol=1e-5
        )
        np.testing.assert_allclose(
            derivative(adversarial_loss("non_saturating").generator, sure), -0.9999546, rtol=1e-7
        )

    def test_the_gradients_are_minus_d_and_minus_1_minus_d(self, float64):
        for name, expected in (
            ("minimax", -sigmoid(LOGITS)),
            ("non_saturating", -sigmoid(-LOGITS)),
        ):
            gradient = derivative(adversarial_loss(name).generator, LOGITS)
            np.testing.assert_allclose(gradient, expected, rtol=1e-12)

    @pytest.mark.parametrize("sureness", [0.0, 5.0, 10.0])
    def test_a_generators_parameters_feel_the_ratio_of_the_two(self, float64, sureness):
        """D / (1 - D), the ratio of the two gradients at the logit, comes through all layers."""
        generator = Generator(4, 1, 1, latent_size=3, widths=(8, 8), batch_norm=False)
        discriminator = Discriminator(4, 1, 1, widths=(8,))
        latents = jnp.asarray([[0.3, -1.2, 0.8]])
        labels = jnp.zeros(1, jnp.int32)
        params = generator.init(jax.random.key(0), latents, labels, train=True)
        made = discriminator.init(jax.random.key(1), jnp.zeros((1, 4, 4, 1)), labels, train=True)
        made["params"]["real_or_generated"]["bias"] -= sureness

        def logits(params):
            images = generator.apply(params, latents, labels, train=True)
            return discriminator.apply(made, images, labels, train=True).logits

        def norm(name):
            loss = adversarial_loss(name).generator
            gradient = jax.jit(jax.grad(lambda params: loss(logits(params)).sum()))(params)
            return np.linalg.norm(ravel_pytree(gradient)[0])

        d = sigmoid(np.asarray(logits(params), np.float64)).item()
        assert sureness == 0 or d < 2 * sigmoid(-sureness)
        assert norm("non_saturating") > 0.1
        np.testing.assert_allclose(norm("minimax") / norm("non_saturating"), d / (1 - d), rtol=1e-5)


class TestSettings:
    def test_an_unknown_name_is_refused_with_those_known(self):
        with pytest.raises(UserError, match=r"loss\.name is 'wgan'.*non_saturating.*wasserstein"):
            adversarial_loss("wgan")

    @pytest.mark.parametrize("smoothing", [-0.1, 1.0, 2.0, float("nan")])
    @pytest.mark.parametrize("name", LOSSES)
    def test_a_smoothing_out_of_range_is_refused(self, name, smoothing):
        with pytest.raises(UserError, match=r"config\.loss\.label_smoothing is"):
            adversarial_loss(name, smoothing)

    @pytest.mark.parametrize("name", ["hinge", "wasserstein", "relativistic"])
    def test_losses_without_targets_have_nothing_to_smooth(self, name):
        with pytest.raises(UserError, match=rf"{name} loss has no targets"):
            adversarial_loss(name, 0.1)


class TestClassLoss:
    def test_of_equal_logits_is_the_log_of_the_number_of_classes(self):
        logits, labels = jnp.zeros((4, 5)), jnp.arange(4)
        np.testing.assert_allclose(class_loss(logits, labels), np.log(5), rtol=1e-6)

    def test_picks_the_asked_class(self):
        logits = jnp.log(jnp.asarray([[0.7, 0.2, 0.1]]))
        for label, probability in enumerate((0.7, 0.2, 0.1)):
            loss = class_loss(logits, jnp.asarray([label]))
            np.testing.assert_allclose(loss, -np.log(probability), rtol=1e-5)


SHAPE = (5, 2, 3, 2)
FLAT = int(np.prod(SHAPE[1:]))


def images(seed):
    return np.random.default_rng(seed).normal(size=SHAPE)


def lengths(x):
    return np.sqrt((x**2).sum((1, 2, 3)))


def linear(w):
    return lambda x: (x * w.reshape(SHAPE[1:])).sum((1, 2, 3)) + 7


def quadratic(a):
    return lambda x: a * (x**2).sum((1, 2, 3)) / 2


def two_layers(params):
    """A critic whose slope depends on the image, of 4 hidden units."""
    first, second = params[: 4 * FLAT].reshape(FLAT, 4), params[4 * FLAT :]
    return lambda x: jnp.tanh(x.reshape(len(x), -1) @ first) @ second


class TestPenalties:
    weights = np.random.default_rng(2).normal(size=FLAT)
    share = np.random.default_rng(3).uniform(size=SHAPE[0])

    def penalties(self, critic, real=None, fake=None, share=None):
        real = images(0) if real is None else real
        fake = images(1) if fake is None else fake
        share = self.share if share is None else share
        return gradient_penalty(critic, *map(jnp.asarray, (real, fake, share)))

    def test_of_a_linear_critic_know_its_slope(self, float64):
        slope = np.linalg.norm(self.weights)
        critic = linear(jnp.asarray(self.weights))
        np.testing.assert_allclose(self.penalties(critic), np.full(5, (slope - 1) ** 2), rtol=1e-11)
        np.testing.assert_allclose(
            r1(critic, jnp.asarray(images(0))), np.full(5, slope**2 / 2), rtol=1e-12
        )

    def test_of_a_critic_of_slope_1_are_0_and_a_half(self, float64):
        critic = linear(jnp.asarray(self.weights / np.linalg.norm(self.weights)))
        np.testing.assert_allclose(self.penalties(critic), 0, atol=1e-20)
        np.testing.assert_allclose(r1(critic, jnp.asarray(images(0))), 0.5, rtol=1e-12)

    def test_of_a_quadratic_critic_know_the_place(self, float64):
        a, real, fake = 0.7, images(0), images(1)
        share = self.share[:, None, None, None]
        between = lengths(share * real + (1 - share) * fake)
        np.testing.assert_allclose(self.penalties(quadratic(a)), (a * between - 1) ** 2, rtol=1e-10)
        np.testing.assert_allclose(
            r1(quadratic(a), jnp.asarray(real)), (a * lengths(real)) ** 2 / 2, rtol=1e-12
        )

    @pytest.mark.parametrize(("share", "seed"), [(0.0, 1), (1.0, 0)])
    def test_share_0_is_the_generated_and_share_1_the_real_image(self, float64, share, seed):
        penalties = self.penalties(quadratic(0.7), share=np.full(5, share))
        np.testing.assert_allclose(penalties, (0.7 * lengths(images(seed)) - 1) ** 2, rtol=1e-10)

    def test_an_examples_penalty_is_its_own(self, float64):
        critic = two_layers(jnp.asarray(np.random.default_rng(4).normal(size=4 * FLAT + 4)))
        order = np.array([3, 0, 4, 1, 2])
        moved = self.penalties(critic, images(0)[order], images(1)[order], self.share[order])
        np.testing.assert_allclose(moved, self.penalties(critic)[order], rtol=1e-12)
        real = jnp.asarray(images(0))
        np.testing.assert_allclose(r1(critic, real[order]), r1(critic, real)[order], rtol=1e-12)

    def test_gradients_toward_a_linear_critic_are_closed_forms(self, float64):
        w = self.weights
        slope = np.linalg.norm(w)
        gradient = jax.grad(lambda w: self.penalties(linear(w)).mean())(jnp.asarray(w))
        np.testing.assert_allclose(gradient, 2 * (slope - 1) * w / slope, rtol=1e-10)
        gradient = jax.grad(lambda w: r1(linear(w), jnp.asarray(images(0))).mean())(jnp.asarray(w))
        np.testing.assert_allclose(gradient, w, rtol=1e-12)

    def test_gradients_toward_a_deep_critic_are_finite_differences(self, float64):
        params = np.random.default_rng(4).normal(size=4 * FLAT + 4)
        for penalty in (
            lambda params: self.penalties(two_layers(params)).mean(),
            lambda params: r1(two_layers(params), jnp.asarray(images(0))).mean(),
        ):
            compiled = jax.jit(penalty)
            gradient = jax.jit(jax.grad(penalty))(jnp.asarray(params))
            largest = np.abs(gradient).max()
            assert largest > 0.1
            np.testing.assert_allclose(
                gradient, partial_derivatives(compiled, params), atol=1e-8 * largest
            )

    def test_a_critic_of_slope_0_has_a_finite_gradient(self):
        penalty, gradient = jax.value_and_grad(
            lambda w: self.penalties(
                linear(w), *(jnp.asarray(images(i), jnp.float32) for i in (0, 1))
            ).mean()
        )(jnp.zeros(FLAT))
        np.testing.assert_allclose(penalty, 1, rtol=1e-5)
        assert jnp.isfinite(gradient).all()
