"""Random keys per example: a function of (seed, step, position in the global batch, purpose).

No key is stored or split in sequence, so a run depends neither on the number of devices nor on
where it was interrupted.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Key

# Purposes whose keys are computed together: XLA computes equal tables of a step once, and each
# computation of keys is some fourteen kernels, which take longer to compile than to run.
_IN_ONE_TABLE = 16


def step_key(run_key: Key[Array, ""], step: Int[Array, ""]) -> Key[Array, ""]:
    """Returns the key of one training step; a run's key is that of its seed."""
    return jax.random.fold_in(run_key, step)


def example_keys(
    rng: Key[Array, ""], purpose: int, position: Int[Array, " batch"]
) -> Key[Array, " batch"]:
    """Returns one key per example, by its position in the global batch.

    `purpose` is a small constant that separates uses within one step (latents, dropout, ...).
    """
    known = purpose < _IN_ONE_TABLE
    purposes = jnp.arange(_IN_ONE_TABLE) if known else jnp.array([purpose])
    keys: Key[Array, " batch"] = _of_purposes(rng, purposes, position)[purpose if known else 0]
    return keys


@jax.jit
def _of_purposes(
    rng: Key[Array, ""], purposes: Int[Array, " purposes"], position: Int[Array, " batch"]
) -> Key[Array, "purposes batch"]:
    keys = jax.vmap(jax.random.fold_in, (None, 0))(rng, purposes)
    return jax.vmap(jax.vmap(jax.random.fold_in, (None, 0)), (0, None))(keys, position)
