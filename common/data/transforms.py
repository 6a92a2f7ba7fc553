"""What happens to pixels on the device, inside the step."""

import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8


def to_signed_unit(
    images: UInt8[Array, "batch height width channels"],
) -> Float[Array, "batch height width channels"]:
    """Maps stored pixels 0..255 to [-1, 1], the range of tanh."""
    return images.astype(jnp.float32) / 127.5 - 1.0


def from_signed_unit(
    images: Float[Array, "batch height width channels"],
) -> UInt8[Array, "batch height width channels"]:
    """Maps [-1, 1] to 0..255, rounded; the inverse of `to_signed_unit` on stored pixels."""
    return jnp.clip(jnp.round((images + 1.0) * 127.5), 0, 255).astype(jnp.uint8)
