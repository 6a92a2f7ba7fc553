"""The pool of earlier translations: what it shows, and that devices share one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from common.devices.axis import AXIS
from translate.pool import Pool, exchanged, exchanged_by_all

SIZE = 10
MANY = 3000


def numbered(first, count):
    """Images of one pixel that are their numbers."""
    return jnp.arange(first, first + count, dtype=jnp.float32).reshape(-1, 1, 1, 1)


def keys_of(seed, count):
    return jax.random.split(jax.random.key(seed), count)


@pytest.fixture(scope="module")
def shown():
    """What was shown instead of the images 1, 2, ..., MANY, one after the other."""
    pool, images = Pool.empty(SIZE, 1, 1), numbered(1, MANY)
    return np.asarray(exchanged(pool, images, keys_of(0, MANY))[1]).ravel()


def test_until_it_is_full_it_shows_the_images_themselves(shown):
    np.testing.assert_array_equal(shown[:SIZE], np.arange(1, SIZE + 1))


def test_then_it_shows_every_other_one_and_instead_of_the_rest_an_earlier_one(shown):
    age = np.arange(1, MANY + 1) - shown
    itself = (age[SIZE:] == 0).mean()
    assert abs(itself - 0.5) < 4 * np.sqrt(0.25 / MANY)
    assert (age >= 0).all()


def test_the_age_of_earlier_ones_is_geometric(shown):
    """One of the pool leaves with probability 1 / (2 SIZE) at each image: after 2 SIZE on average.

    The deviation of that is sqrt(1 - p) / p, and about half of the images show an earlier one.
    """
    age = (np.arange(1, MANY + 1) - shown)[SIZE:]
    earlier, p = age[age > 0], 1 / (2 * SIZE)
    assert abs(earlier.mean() - 1 / p) < 4 * np.sqrt(1 - p) / p / np.sqrt(len(earlier))


def test_no_image_comes_back_twice(shown):
    back = shown[SIZE:]
    assert len(np.unique(back)) == len(back)


def test_without_room_it_shows_the_images_themselves():
    pool, images = Pool.empty(0, 1, 1), numbered(0, 4)
    after, shown = exchanged(pool, images, keys_of(0, 4))
    assert after.filled == 0
    np.testing.assert_array_equal(shown, images)


@pytest.mark.parametrize("devices", [2, 4])
def test_all_devices_share_a_pool_that_takes_their_images_in_order(devices):
    one = many = Pool.empty(3, 1, 1)
    for step in range(4):
        images, keys = numbered(8 * step, 8), keys_of(step, 8)
        one, expected = exchanged(one, images, keys)
        pools, shown = jax.vmap(exchanged_by_all, (None, 0, 0), axis_name=AXIS)(
            many, images.reshape(devices, -1, 1, 1, 1), keys.reshape(devices, -1)
        )
        many = jax.tree.map(lambda x: x[0], pools)
        np.testing.assert_array_equal(shown.ravel(), expected.ravel())
        for leaf, others in zip(jax.tree.leaves(one), jax.tree.leaves(pools), strict=True):
            np.testing.assert_array_equal(others, np.broadcast_to(leaf, others.shape))
