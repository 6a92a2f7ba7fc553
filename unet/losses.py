"""What a segmentation network minimises: a weighted sum of losses, `config.loss`.

A loss sees the log-probability of every class at every pixel and the true class, and returns one
number for each image, or for all of them if it is taken over the batch. To add one, write a
function here, name it in `LOSSES` and give it a weight in `unet/config.py`.
"""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8

from common.devices.axis import AXIS
from unet.config import UNetLoss

LogProbabilities = Float[Array, "batch height width classes"]
Truth = UInt8[Array, "batch height width"]
PerImage = Float[Array, " batch"]

_SMOOTH = 1.0  # pixels; without it an image without the class has no gradient at all


def log_probabilities(
    logits: Float[Array, "batch height width outputs"],
) -> LogProbabilities:
    """Returns the log-probability of each class.

    One output is the logit of the foreground against the background (a sigmoid); more are the
    logits of as many classes (a softmax).
    """
    if logits.shape[-1] == 1:
        return jnp.concatenate([jax.nn.log_sigmoid(-logits), jax.nn.log_sigmoid(logits)], -1)
    return jax.nn.log_softmax(logits)


def cross_entropy(log_probs: LogProbabilities, truth: Truth, settings: UNetLoss) -> PerImage:
    """Returns the mean over pixels of `-log p`, p being the probability of the true class."""
    del settings
    return -_of_truth(log_probs, truth).mean((1, 2))


def focal(log_probs: LogProbabilities, truth: Truth, settings: UNetLoss) -> PerImage:
    """Returns the mean over pixels of `-(1 - p)^gamma log p`.

    Source: Lin et al. 2017, "Focal Loss for Dense Object Detection", equation 4. Equal to
    `optax.sigmoid_focal_loss` for one output; that one has no softmax for more.
    """
    log_p = _of_truth(log_probs, truth)
    # 1 - p = -expm1(log p); a power of exactly 0 has no finite gradient for gamma below 1.
    missing = jnp.maximum(-jnp.expm1(log_p), jnp.finfo(log_p.dtype).tiny)
    return -(missing**settings.focal_gamma * log_p).mean((1, 2))


def dice(log_probs: LogProbabilities, truth: Truth, settings: UNetLoss) -> PerImage:
    """Returns `1 - (2 TP + s) / (2 TP + FP + FN + s)`, the mean over classes but the background.

    TP, FP and FN are sums of probabilities and `s` is one pixel; with nothing to find and nothing
    found the loss is 0. Source: Milletari et al. 2016, "V-Net", without the squares. Equal to
    `optax.losses.dice_loss` of single images; that one has no sums over a batch on many devices.
    """
    return _overlap_loss(log_probs, truth, 0.5, 0.5, settings.overlap_over)


def tversky(log_probs: LogProbabilities, truth: Truth, settings: UNetLoss) -> PerImage:
    """Returns `1 - (TP + s/2) / (TP + alpha FP + beta FN + s/2)`; with 1/2 and 1/2 it is Dice.

    Source: Salehi et al. 2017, "Tversky loss function for image segmentation using 3D fully
    convolutional deep networks".
    """
    alpha, beta = settings.tversky_alpha, settings.tversky_beta
    return _overlap_loss(log_probs, truth, alpha, beta, settings.overlap_over)


Loss = Callable[[LogProbabilities, Truth, UNetLoss], PerImage]
LOSSES: Mapping[str, Loss] = {
    "cross_entropy": cross_entropy,
    "dice": dice,
    "focal": focal,
    "tversky": tversky,
}


def total_loss(
    logits: Float[Array, "batch height width outputs"],
    truth: Truth,
    settings: UNetLoss,
) -> tuple[PerImage, dict[str, PerImage]]:
    """Returns the weighted sum of the losses that have a weight, and each as "NAME_loss"."""
    log_probs = log_probabilities(logits)
    weights = {name: getattr(settings, name) for name in LOSSES}
    parts = {
        name: loss(log_probs, truth, settings) for name, loss in LOSSES.items() if weights[name]
    }
    total = sum(weights[name] * part for name, part in parts.items())
    return jnp.asarray(total), {f"{name}_loss": part for name, part in parts.items()}


def deep_loss(
    smaller: Mapping[str, tuple[Float[Array, "batch _height _width outputs"]]],
    whole: PerImage,
    truth: Truth,
    settings: UNetLoss,
) -> PerImage:
    """Returns the mean of the losses of all sizes; half the size has half the weight.

    Source: Isensee et al. 2021, "nnU-Net: a self-configuring method for deep learning-based
    biomedical image segmentation".

    Args:
      smaller: logits of half the size, "deep_1", of a quarter, "deep_2", and so on.
      whole: the loss at full size.
      truth: at full size; a smaller output sees the pixels in the middle of its own.
      settings: of the losses.
    """
    total, weights = whole, 1.0
    for name, (logits,) in smaller.items():
        step = 1 << int(name.removeprefix("deep_"))
        own, _ = total_loss(logits, truth[:, step // 2 :: step, step // 2 :: step], settings)
        total, weights = total + own / step, weights + 1 / step
    return total / weights


def _of_truth(log_probs: LogProbabilities, truth: Truth) -> Float[Array, "batch height width"]:
    return (log_probs * _one_hot(log_probs, truth)).sum(-1)


def _one_hot(log_probs: LogProbabilities, truth: Truth) -> LogProbabilities:
    return jax.nn.one_hot(truth, log_probs.shape[-1], dtype=log_probs.dtype)


def _overlap_loss(
    log_probs: LogProbabilities, truth: Truth, alpha: float, beta: float, over: str
) -> PerImage:
    probabilities = jnp.exp(log_probs[..., 1:])
    true = _one_hot(log_probs, truth)[..., 1:]
    sums = jnp.stack([probabilities * true, probabilities, true]).sum((2, 3))
    if over == "batch":
        all_images = jax.lax.psum(sums.sum(1, keepdims=True), AXIS)
        sums = jnp.broadcast_to(all_images, sums.shape)
    both, predicted, true = sums
    wrong = alpha * (predicted - both) + beta * (true - both)
    losses: Array = (1 - (both + _SMOOTH / 2) / (both + wrong + _SMOOTH / 2)).mean(-1)
    return losses
