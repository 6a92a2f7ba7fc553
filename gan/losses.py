"""The losses of GANs, per example; the steps average them."""

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int


def adversarial_loss(logits: Float[Array, " batch"], is_real: bool) -> Float[Array, " batch"]:
    """Binary cross-entropy of a discriminator's logits against "real" or "generated".

    `-log D(x)` toward real, `-log(1 - D(x))` toward generated, with `D = sigmoid(logit)`. The
    generator minimises it toward real on its own images: the non-saturating loss of Goodfellow et
    al., "Generative Adversarial Nets" (2014), section 3.

    Args:
      logits: positive for "real".
      is_real: the target.
    """
    return optax.sigmoid_binary_cross_entropy(logits, jnp.full_like(logits, is_real))


def class_loss(
    class_logits: Float[Array, "batch classes"], labels: Int[Array, " batch"]
) -> Float[Array, " batch"]:
    """Cross-entropy of the auxiliary classifier, `-log p(label | x)` (Odena et al., 2017)."""
    return optax.softmax_cross_entropy_with_integer_labels(class_logits, labels)
