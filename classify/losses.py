"""What a classifier minimises: cross-entropy toward targets, smoothed, mixed and weighted."""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, Key

from common.devices.axis import AXIS

Logits = Float[Array, "batch classes"]
Targets = Float[Array, "batch classes"]


def targets_of(labels: Int[Array, " batch"], classes: int, smoothing: float) -> Targets:
    """Returns `(1 - s) * onehot + s / classes` for the smoothing s, onehot being 1 at the label.

    Source: Szegedy et al. 2016, "Rethinking the Inception Architecture for Computer Vision".
    """
    return (1 - smoothing) * jax.nn.one_hot(labels, classes) + smoothing / classes


def cross_entropy(
    logits: Logits, targets: Targets, class_weights: Float[Array, " classes"]
) -> Float[Array, " batch"]:
    """Returns `-sum_c w_c t_c log p_c` of each image, p being the softmax of the logits."""
    return -(class_weights * targets * jax.nn.log_softmax(logits)).sum(-1)


def finding_targets(shown: Bool[Array, "batch classes"], smoothing: float) -> Targets:
    """Returns `(1 - s) * t + s / 2` for the smoothing s, t being 1 for findings that are shown."""
    return (1 - smoothing) * shown + smoothing / 2


def binary_cross_entropy(logits: Logits, targets: Targets) -> Float[Array, " batch"]:
    """Returns the mean over findings of `-t log p - (1 - t) log(1 - p)`, p being the sigmoid."""
    losses: Array = optax.sigmoid_binary_cross_entropy(logits, targets)
    return losses.mean(-1)


def mixup(
    images: Float[Array, "batch height width channels"],
    targets: Targets,
    keys: Key[Array, " batch"],
    alpha: float,
) -> tuple[Float[Array, "batch height width channels"], Targets]:
    """Blends each image and its target with those of the next one in the global batch.

    The share of an image is drawn from Beta(alpha, alpha), the larger of the two, by the image's
    own key: it does not matter how the batch is spread over devices. Source: Zhang et al. 2018,
    "mixup: Beyond Empirical Risk Minimization".
    """
    share = jax.vmap(lambda key: jax.random.beta(key, alpha, alpha))(keys)
    share = jnp.maximum(share, 1 - share)

    def blended(x: Array) -> Array:
        mine = share.reshape(-1, *[1] * (x.ndim - 1))
        return mine * x + (1 - mine) * _next(x)

    return blended(images), blended(targets)


def _next(x: Array) -> Array:
    """Returns, for each example, the next one; for the last, the first of the next device."""
    devices = jax.lax.axis_size(AXIS)
    pairs = [(device, (device - 1) % devices) for device in range(devices)]
    following = jax.lax.ppermute(x[:1], AXIS, pairs)
    return jnp.concatenate([x[1:], following])
