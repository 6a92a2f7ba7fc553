"""The losses against their closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan.losses import adversarial_loss, class_loss

LOGITS = np.array([-30.0, -2.0, 0.0, 0.5, 3.0, 30.0], np.float32)


def sigmoid(x):
    return 1 / (1 + np.exp(-x.astype(np.float64)))


def test_adversarial_loss_is_minus_log_of_the_probability_of_the_target():
    np.testing.assert_allclose(
        adversarial_loss(jnp.asarray(LOGITS), True), -np.log(sigmoid(LOGITS)), rtol=1e-5, atol=1e-9
    )
    np.testing.assert_allclose(
        adversarial_loss(jnp.asarray(LOGITS), False),
        -np.log(sigmoid(-LOGITS)),
        rtol=1e-5,
        atol=1e-9,
    )


def test_an_undecided_discriminator_loses_log_2_either_way():
    undecided = jnp.zeros(3)
    for target in (True, False):
        np.testing.assert_allclose(adversarial_loss(undecided, target), np.log(2), rtol=1e-6)


@pytest.mark.parametrize("is_real", [True, False])
def test_the_gradient_is_probability_minus_target_and_never_overflows(is_real):
    logits = jnp.asarray([*LOGITS, -1e4, 1e4])
    gradient = jax.grad(lambda x: adversarial_loss(x, is_real).sum())(logits)
    np.testing.assert_allclose(gradient, jax.nn.sigmoid(logits) - is_real, atol=1e-6)


def test_class_loss_of_equal_logits_is_the_log_of_the_number_of_classes():
    logits, labels = jnp.zeros((4, 5)), jnp.arange(4)
    np.testing.assert_allclose(class_loss(logits, labels), np.log(5), rtol=1e-6)


def test_class_loss_picks_the_asked_class():
    logits = jnp.log(jnp.asarray([[0.7, 0.2, 0.1]]))
    for label, probability in enumerate((0.7, 0.2, 0.1)):
        loss = class_loss(logits, jnp.asarray([label]))
        np.testing.assert_allclose(loss, -np.log(probability), rtol=1e-5)
