"""The orthogonal regulariser: a closed form, and a part of the generator's loss and gradient."""

import jax
import jax.numpy as jnp
import numpy as np

from gan.terms import orthogonality
from tests.gan.test_recipes import task_and_state, train

WEIGHT = 0.5


def by_hand(params):
    """`|W^T W - diag|^2` of each kernel, and its gradient `4 W (W^T W - diag)`."""
    total, gradients = 0.0, {}
    for name, layer in params.items():
        if "kernel" in layer:
            columns = np.reshape(layer["kernel"], (-1, layer["kernel"].shape[-1]))
            products = columns.T @ columns
            products -= np.diag(np.diag(products))
            total += (products**2).sum()
            gradients[name] = np.reshape(4 * columns @ products, layer["kernel"].shape)
    return total, gradients


def test_is_a_sum_over_kernels_of_any_shape(float64):
    random = np.random.default_rng(0)
    params = {
        "conv": {"kernel": random.normal(size=(3, 3, 2, 4)), "bias": random.normal(size=4)},
        "dense": {"kernel": random.normal(size=(5, 3))},
        "class": {"embedding": random.normal(size=(2, 3))},
    }
    expected, gradients = by_hand(params)
    found, gradient = jax.value_and_grad(orthogonality)(jax.tree.map(jnp.asarray, params))
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    for name, of_kernel in gradients.items():
        np.testing.assert_allclose(gradient[name]["kernel"], of_kernel, rtol=1e-9)
    assert not gradient["class"]["embedding"].any() and not gradient["conv"]["bias"].any()


def test_of_orthogonal_columns_is_nothing_whatever_their_lengths():
    kernel = np.linalg.qr(np.random.default_rng(0).normal(size=(6, 4)))[0] * [1, 2, 3, 4]
    assert orthogonality({"dense": {"kernel": jnp.asarray(kernel)}}) < 1e-9


def test_is_part_of_the_generators_loss_and_moves_its_kernels(float64):
    settings = {"optimizer__generator__name": "sgd", "optimizer__generator__beta1": 0.0}
    rate = 0.1
    settings["optimizer__generator__learning_rate"] = rate

    task, _ = task_and_state(**settings)
    before = task.init(jax.random.key(0))
    plain, _ = train(task, before)
    task, _ = task_and_state(**settings, loss__orthogonality=WEIGHT)
    found, logged = train(task, before)
    expected, gradients = by_hand(before.generator.params)
    np.testing.assert_allclose(logged["generator_orthogonality"], expected, rtol=1e-6)
    total = logged["generator_adversarial_loss"] + WEIGHT * expected
    np.testing.assert_allclose(logged["generator_loss"], total, rtol=1e-6)
    for name, gradient in gradients.items():
        moved = plain.generator.params[name]["kernel"] - found.generator.params[name]["kernel"]
        np.testing.assert_allclose(moved, rate * WEIGHT * gradient, rtol=1e-5, atol=1e-7)
    assert gradients
    jax.tree.map(np.testing.assert_array_equal, plain.discriminator, found.discriminator)
