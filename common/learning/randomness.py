"""Random keys per example: a function of (seed, step, position in the global batch, purpose).

No key is stored or split in sequence, so a run depends neither on the number of devices nor on
where it was interrupted.
"""

import jax
from jaxtyping import Array, Int, Key


def step_key(run_key: Key[Array, ""], step: Int[Array, ""]) -> Key[Array, ""]:
    """Returns the key of one training step; a run's key is that of its seed."""
    return jax.random.fold_in(run_key, step)


def example_keys(
    rng: Key[Array, ""], purpose: int, position: Int[Array, " batch"]
) -> Key[Array, " batch"]:
    """Returns one key per example, by its position in the global batch.

    `purpose` is a small constant that separates uses within one step (latents, dropout, ...).
    """
    key = jax.random.fold_in(rng, purpose)
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, position)
