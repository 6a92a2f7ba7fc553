"""Random keys per example: a function of (seed, step, position in the global batch, purpose).

Nothing random is stored and nothing is split in sequence, so a run depends neither on how many
devices it ran on nor on where it was interrupted.
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

    `purpose` is a small constant that keeps two uses in one step apart (latents, dropout, ...).
    """
    key = jax.random.fold_in(rng, purpose)
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, position)
