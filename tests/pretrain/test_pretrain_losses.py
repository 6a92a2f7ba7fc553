"""VICReg and NT-Xent: their formulas, what they leave unchanged, and any number of devices."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from common.devices.axis import AXIS
from pretrain.losses import simclr, vicreg

N, WIDTH = 8, 5
RNG = np.random.default_rng(0)
FIRST, SECOND = RNG.normal(size=(2, N, WIDTH)).astype(np.float32)
PATIENTS = np.array([0, 0, 1, 2, 3, 3, 3, 4], np.int32)
ALL = np.ones(N, bool)
WEIGHTS = {"invariance": 25.0, "variance": 25.0, "covariance": 1.0}
LOSSES = {
    "vicreg": lambda first, second, valid, patients: vicreg(first, second, valid, **WEIGHTS),
    "simclr": partial(simclr, temperature=0.5),
}


def on(devices, loss, *rows):
    """Returns the terms of all images, the batch spread over so many devices."""
    spread = [jnp.asarray(x).reshape(devices, -1, *x.shape[1:]) for x in rows]
    terms = jax.jit(jax.vmap(loss, axis_name=AXIS))(*spread)
    return {name: np.asarray(x).ravel() for name, x in terms.items()}


def of(name, first=FIRST, second=SECOND, valid=ALL, patients=PATIENTS, devices=1):
    return on(devices, LOSSES[name], first, second, valid, patients)


def gradient(name, devices=1, patients=PATIENTS):
    """Returns that of the mean loss with respect to both views, as a step computes it."""

    def one(first, second, valid, patients):
        def mean(views):
            return LOSSES[name](*views, valid, patients)["loss"].mean()

        return jax.grad(mean)((first, second))

    spread = [x.reshape(devices, -1, *x.shape[1:]) for x in (FIRST, SECOND, ALL, patients)]
    found = jax.jit(jax.vmap(one, axis_name=AXIS))(*spread)
    return [np.asarray(x).reshape(N, WIDTH) / devices for x in found]


def test_vicreg_is_its_algorithm():
    spread = repulsion = 0.0
    for views in (FIRST, SECOND):
        matrix = np.cov(views.T)
        spread += np.maximum(0, 1 - np.sqrt(np.diag(matrix) + 1e-4)).mean()
        repulsion += (matrix**2).sum() / WIDTH - (np.diag(matrix) ** 2).sum() / WIDTH
    squares = ((FIRST - SECOND) ** 2).mean(1)
    found = of("vicreg")
    np.testing.assert_allclose(found["invariance"], squares, rtol=1e-5)
    np.testing.assert_allclose(found["variance"], spread, rtol=1e-5)
    np.testing.assert_allclose(found["covariance"], repulsion, rtol=1e-5)
    np.testing.assert_allclose(found["loss"], 25 * squares + 25 * spread + repulsion, rtol=1e-5)


def test_vicreg_of_collapsed_views_is_that_of_a_feature_without_spread():
    same = np.ones((N, WIDTH), np.float32)
    np.testing.assert_allclose(of("vicreg", same, same)["loss"], 50 * (1 - 0.01), rtol=1e-5)


def test_simclr_is_its_equation_with_the_images_of_others_as_negatives():
    views = np.concatenate([FIRST, SECOND])
    views /= np.linalg.norm(views, axis=1, keepdims=True)
    similar, patients = views @ views.T / 0.5, np.tile(PATIENTS, 2)
    expected = []
    for i, patient in enumerate(patients):
        partner = similar[i, (i + N) % (2 * N)]
        others = np.exp(similar[i, patients != patient]).sum()
        expected.append(-np.log(np.exp(partner) / (np.exp(partner) + others)))
    np.testing.assert_allclose(
        of("simclr")["loss"], np.mean(np.reshape(expected, (2, N)), 0), rtol=1e-5
    )


def test_simclr_of_orthogonal_patients_has_a_closed_form():
    """Each view has its partner at cosine 1 and 2 (n - 1) others at cosine 0."""
    views = np.eye(N, dtype=np.float32)
    found = of("simclr", views, views, patients=np.arange(N, dtype=np.int32))["loss"]
    np.testing.assert_allclose(found, np.log(1 + 2 * (N - 1) * np.exp(-2)), rtol=1e-5)


def test_nobody_is_pushed_away_from_their_own_images():
    """One patient alone has no negatives: no loss, and no gradient that is not a number."""
    alone = np.zeros(N, np.int32)
    np.testing.assert_allclose(of("simclr", patients=alone)["loss"], 0, atol=1e-6)
    for part in gradient("simclr", patients=alone):
        np.testing.assert_allclose(part, 0, atol=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_four_devices_are_one(name):
    one, four = of(name), of(name, devices=4)
    for term in one:
        np.testing.assert_allclose(four[term], one[term], rtol=1e-5, err_msg=term)
    for left, right in zip(gradient(name, 4), gradient(name), strict=True):
        np.testing.assert_allclose(left, right, atol=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_padding_does_not_count(name):
    padded = [np.concatenate([x, x[-1:].repeat(4, 0)]) for x in (FIRST, SECOND, ALL, PATIENTS)]
    padded[2][N:] = False
    found, expected = of(name, *padded), of(name)
    for term in expected:
        np.testing.assert_allclose(found[term][:N], expected[term], rtol=1e-5, err_msg=term)


def test_simclr_sees_directions_and_vicreg_differences():
    """The gradient of NT-Xent has no part along a view; VICReg's moves no batch as a whole."""
    for part, views in zip(gradient("simclr"), (FIRST, SECOND), strict=True):
        np.testing.assert_allclose((part * views).sum(1), 0, atol=1e-6)
    left, right = gradient("vicreg")
    np.testing.assert_allclose(left.sum(0) + right.sum(0), 0, atol=1e-5)
