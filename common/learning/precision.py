"""Mixed precision: networks that compute in bfloat16 with parameters and statistics in float32.

A layer with an input narrower than float32 computes in that dtype, with its weights rounded to it;
only BatchNorm takes its statistics in float32. So a narrow input is all that a network needs.
bfloat16 has the exponents of float32, so losses need no scaling (Kalamkar et al., "A Study of
BFLOAT16 for Deep Learning Training", 2019). Losses, gradients of parameters and updates are
float32.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float


def narrow(x: Float[Array, "*shape"], dtype: str) -> Float[Array, "*shape"]:
    """Returns a network's input for computing in `dtype`; "float32" changes nothing."""
    return x.astype(jnp.bfloat16) if dtype == "bfloat16" else x


def widen(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Returns a network's output in float32, or in its own dtype if that is wider."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))
