"""A pool of earlier translations: a discriminator that sees them does not chase the last ones.

Shrivastava et al., "Learning from Simulated and Unsupervised Images through Adversarial Training"
(2017), section 2.3, as in CycleGAN. The pool is part of the state: it is the same on all devices,
and a run that goes on finds it as it was.
"""

from dataclasses import replace
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from common.devices.axis import AXIS

Images = Float[Array, "batch height width channels"]


@flax.struct.dataclass
class Pool:
    """Images, of which the first `filled` have been put in."""

    images: Any  # float32 [size, height, width, channels]
    filled: Any  # int32 []

    @classmethod
    def empty(cls, size: int, image_size: int, channels: int) -> "Pool":
        """Returns a pool that no image is in."""
        shape = size, image_size, image_size, channels
        return cls(jnp.zeros(shape), jnp.zeros((), jnp.int32))


def exchanged(pool: Pool, images: Images, keys: Key[Array, " batch"]) -> tuple[Pool, Images]:
    """Puts images into a pool, one after the other, and returns what is shown instead of each.

    While there is room, an image goes in and is shown. Then every other one, at random, changes
    places with one of the pool, which is shown; the rest are shown and forgotten.

    Args:
      pool: with room for one image or more; one without shows the images themselves.
      images: new ones.
      keys: one per image.
    """
    size = len(pool.images)
    if not size:
        return pool, images

    def put(pool: Pool, new: tuple[Array, Array]) -> tuple[Pool, Array]:
        image, key = new
        of_coin, of_place = jax.random.split(key)
        full = pool.filled >= size
        place = jnp.where(full, jax.random.randint(of_place, (), 0, size), pool.filled)
        swaps = full & jax.random.bernoulli(of_coin)
        there = pool.images[place]
        stays = jnp.where(swaps | ~full, image, there)
        pool = replace(
            pool,
            images=pool.images.at[place].set(stays),
            filled=jnp.minimum(pool.filled + 1, size),
        )
        return pool, jnp.where(swaps, there, image)

    return jax.lax.scan(put, pool, (images, keys))


def exchanged_by_all(pool: Pool, images: Images, keys: Key[Array, " batch"]) -> tuple[Pool, Images]:
    """Does what `exchanged` does with the images of all devices; returns this one's share."""
    everyone = jax.lax.all_gather(images, AXIS, tiled=True)
    data = jax.lax.all_gather(jax.random.key_data(keys), AXIS, tiled=True)
    pool, shown = exchanged(pool, everyone, jax.random.wrap_key_data(data))
    first = jax.lax.axis_index(AXIS) * len(images)
    return pool, jax.lax.dynamic_slice_in_dim(shown, first, len(images))
