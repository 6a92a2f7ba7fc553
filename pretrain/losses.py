"""What a network minimises without labels: two views of a patient are alike, those of others not.

Views are rows of projections, one device's share of the batch. All sums are over the batch of all
devices, so a loss does not depend on how many there are. Where `valid` is False a row is padding:
it counts for no other row.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from common.devices.axis import AXIS
from pretrain.config import PretrainLoss

Projections = Float[Array, "batch features"]
Terms = dict[str, Float[Array, " batch"]]

_TARGET = 1.0  # standard deviation of a feature over the batch, at least
_EPSILON = 1e-4  # in its root, which has no derivative at 0


def terms_of(
    settings: PretrainLoss,
    first: Projections,
    second: Projections,
    patients: Int[Array, " batch"],
    valid: Bool[Array, " batch"],
) -> Terms:
    """Returns the "loss" of each image that `config.loss` names, and its terms if it has some."""
    if settings.name == "simclr":
        return simclr(first, second, valid, patients, settings.temperature)
    return vicreg(
        first,
        second,
        valid,
        invariance=settings.invariance,
        variance=settings.variance,
        covariance=settings.covariance,
    )


def vicreg(
    first: Projections,
    second: Projections,
    valid: Bool[Array, " batch"],
    *,
    invariance: float,
    variance: float,
    covariance: float,
) -> Terms:
    """Returns VICReg's loss of each image as "loss", and its terms; the arguments are weights.

    "invariance" is the mean squared difference of an image's two views. "variance" is
    `max(0, 1 - sqrt(Var(z_j) + 1e-4))`, the mean over features j, and "covariance" is
    `sum_{i != j} Cov(z_i, z_j)**2 / d`; both are of the batch, summed over first and second views.
    Source: Bardes, Ponce and LeCun, "VICReg: Variance-Invariance-Covariance Regularization for
    Self-Supervised Learning" (2022), algorithm 1.
    """
    both = [_spread(views, valid) for views in (first, second)]
    ones = jnp.ones(len(first), first.dtype)
    terms = {
        "invariance": ((first - second) ** 2).mean(-1),
        "variance": ones * sum(hinge for hinge, _ in both),
        "covariance": ones * sum(redundancy for _, redundancy in both),
    }
    loss = (
        invariance * terms["invariance"]
        + variance * terms["variance"]
        + covariance * terms["covariance"]
    )
    return {"loss": loss, **terms}


def _spread(
    views: Projections, valid: Bool[Array, " batch"]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Returns the variance and the covariance term of a batch's first or second views."""
    weight = valid.astype(views.dtype)[:, None]
    number = jax.lax.psum(weight.sum(), AXIS)
    mean = jax.lax.psum((weight * views).sum(0), AXIS) / number
    centred = weight * (views - mean)
    matrix = jax.lax.psum(centred.T @ centred, AXIS) / jnp.maximum(number - 1, 1)
    own = jnp.diagonal(matrix)
    hinge = jnp.maximum(0, _TARGET - jnp.sqrt(own + _EPSILON)).mean()
    return hinge, ((matrix**2).sum() - (own**2).sum()) / len(own)


def simclr(
    first: Projections,
    second: Projections,
    valid: Bool[Array, " batch"],
    patients: Int[Array, " batch"],
    temperature: float,
) -> Terms:
    """Returns NT-Xent of each image as "loss": the mean of its two views'.

    Of a view z with the partner p it is `-log(exp(s(z, p)) / (exp(s(z, p)) + sum_n exp(s(z, n))))`,
    s being the cosine divided by the temperature. The negatives n are all views of images of other
    patients, so nobody's images are pushed apart; in the paper every image is a patient. Source:
    Chen, Kornblith, Norouzi and Hinton, "A Simple Framework for Contrastive Learning of Visual
    Representations" (2020), equation 1.

    Args:
      first: views of the images.
      second: their partners.
      valid: see above.
      patients: a number for each image, equal for images of one patient.
      temperature: divides cosines.
    """
    first, second = normalised(first), normalised(second)
    everything = jnp.concatenate([_of_all_devices(views) for views in (first, second)])
    others, known = _of_all_devices(patients), _of_all_devices(valid)
    negative = jnp.tile((patients[:, None] != others) & known, 2)
    positive = (first * second).sum(-1, keepdims=True) / temperature

    def of(views: Projections) -> Float[Array, " batch"]:
        similar = jnp.where(negative, views @ everything.T / temperature, -jnp.inf)
        loss: Array = -jax.nn.log_softmax(jnp.concatenate([positive, similar], 1))[:, 0]
        return loss

    return {"loss": (of(first) + of(second)) / 2}


def normalised(views: Projections) -> Projections:
    """Returns rows of length 1; one of zeros stays so."""
    return views * jax.lax.rsqrt((views**2).sum(-1, keepdims=True) + 1e-12)


def _of_all_devices(rows: Array) -> Array:
    """Returns the rows of all devices, one device after the other."""
    gathered: Array = jax.lax.all_gather(rows, AXIS, tiled=True)
    return gathered
