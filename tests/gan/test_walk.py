"""Walks in latent space: where they begin, where they end, what lies between."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from common.data.prepared.prepared import DataCard
from common.program.errors import UserError
from configs.acgan_covid import get_config as acgan
from configs.dense_gan_mnist import get_config as dense
from configs.toy_gan_1d import get_config as toy
from gan.config import GANSettings
from gan.flags import GANOptions
from gan.sampling import Sampler
from gan.selection import Drawing
from gan.state import init_state, make_gan
from gan.walk import _points, check_walk, linear, spherical, write_walk

CARD = DataCard("test", ("A", "B", "C"), {"train": 8}, 16, 1, "0", False, 0)
SHARE = jnp.linspace(0.0, 1.0, 9)


def gan_of(get_config):
    return make_gan(GANSettings.of(get_config("tiny")), CARD)


def options(walk, **others):
    return GANOptions(walk=walk, output="unused", **others)


@pytest.fixture(scope="module")
def ends():
    return jax.random.normal(jax.random.key(0), (2, 5, 100))


@pytest.mark.parametrize("way", [linear, spherical])
def test_a_walk_leads_from_its_start_to_its_end(ends, way):
    walk = way(*ends, SHARE)
    assert walk.shape == (5, 9, 100)
    np.testing.assert_allclose(walk[:, 0], ends[0], atol=1e-5)
    np.testing.assert_allclose(walk[:, -1], ends[1], atol=1e-5)


def test_a_spherical_walk_keeps_the_length_and_a_straight_one_does_not(ends):
    lengths = jnp.linalg.norm(ends, axis=-1)
    middle = jnp.linalg.norm(spherical(*ends, SHARE)[:, 4], axis=-1)
    np.testing.assert_allclose(middle, lengths.mean(0), rtol=1e-5)
    assert (jnp.linalg.norm(linear(*ends, SHARE)[:, 4], axis=-1) < 0.85 * middle).all()


def test_a_spherical_walk_turns_evenly(ends):
    walk = spherical(*ends, SHARE)
    unit = walk / jnp.linalg.norm(walk, axis=-1, keepdims=True)
    turns = jnp.arccos((unit[:, 1:] * unit[:, :-1]).sum(-1))
    np.testing.assert_allclose(turns, turns.mean(1, keepdims=True).repeat(8, 1), rtol=1e-3)


def test_a_spherical_walk_between_equal_latents_stays(ends):
    np.testing.assert_allclose(spherical(ends[0], ends[0], SHARE)[:, 4], ends[0], atol=1e-5)


def test_along_an_axis_nothing_else_changes():
    gan = gan_of(dense)
    points, _ = _points(gan, Sampler(gan), CARD, options("axes", rows=3, frames=7, axis=5))
    for row, axis in enumerate((5, 6, 7)):
        np.testing.assert_allclose(points[row, :, axis], np.linspace(-3, 3, 7), atol=1e-6)
        others = np.delete(np.asarray(points[row]), axis, axis=1)
        np.testing.assert_array_equal(others, others[:1].repeat(7, 0))


def test_from_class_to_class_the_latent_stays_and_the_shares_add_up_to_one():
    gan = gan_of(acgan)
    points, shares = _points(
        gan, Sampler(gan), CARD, options("classes", rows=2, frames=5, label="C,A,B")
    )
    np.testing.assert_array_equal(points, points[:, :1].repeat(5, 1))
    np.testing.assert_allclose(
        shares[0], [[0, 0, 1], [0.5, 0, 0.5], [1, 0, 0], [0.5, 0.5, 0], [0, 1, 0]], atol=1e-6
    )


def test_a_walk_is_written_as_a_strip_and_as_a_film(tmp_path):
    gan = gan_of(acgan)
    state = jax.jit(lambda rng: init_state(gan, CARD, rng))(jax.random.key(0))
    variables = state.generator.variables
    chosen = options("spherical", rows=2, frames=6)
    write_walk(tmp_path, gan, Drawing(Sampler(gan), variables), CARD, chosen)
    with Image.open(tmp_path / "walk.webp") as film:
        assert film.n_frames == 10  # there and back, the ends once
        assert film.width == 2 * film.height - 2  # two walks side by side
    with Image.open(tmp_path / "walk.png") as strip:
        assert strip.width > strip.height


@pytest.mark.parametrize(
    ("get_config", "chosen", "expected"),
    [
        (dense, options("classes"), "needs a conditional generator"),
        (acgan, options("classes", label="A"), "two classes"),
        (acgan, options("classes", label="A,X"), "X is unknown"),
        (toy, options("spherical"), "use linear"),
        (dense, options("axes", axis=98), "--axis=98"),
        (dense, options("linear", bits=16), "--bits=16"),
    ],
)
def test_impossible_walks_are_refused(get_config, chosen, expected):
    with pytest.raises(UserError, match=expected):
        check_walk(gan_of(get_config), CARD, chosen)
