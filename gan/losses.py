"""The losses of GANs, per example; the steps average them. Chosen by name: config.loss.name.

`l` is the discriminator's logit, `D = sigmoid(l)` where it is a probability, `s` the label
smoothing; `r` and `f` are the logits of a real image and of the generated one beside it.

| name           | discriminator, on real           | on generated     | generator       |
|----------------|----------------------------------|------------------|-----------------|
| minimax        | `-(1-s) log D - s log(1-D)`      | `-log(1 - D)`    | `log(1 - D)`    |
| non_saturating | the same                         | `-log(1 - D)`    | `-log D`        |
| least_squares  | `(l - (1 - s))^2 / 2`            | `l^2 / 2`        | `(l - 1)^2 / 2` |
| hinge          | `max(0, 1 - l)`                  | `max(0, 1 + l)`  | `-l`            |
| wasserstein    | `-l`                             | `l`              | `-l`            |
| relativistic   | `log(1 + exp(f - r)) / 2`        | the same         | `log(1 + exp(r - f))` |
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from common.program.errors import UserError

# Of `data_to_data`: its authors' margin and temperature.
_NEAR, _TEMPERATURE = 0.98, 0.5

Logits = Float[Array, "batch *patches"]
Losses = Float[Array, " batch"]
OfLogits = Float[Array, "batch *patches"]  # for each logit
Images = Float[Array, "batch height width channels"]


@runtime_checkable
class Part(Protocol):
    """A loss of each logit."""

    def __call__(self, own: Logits, other: Logits | None = None) -> OfLogits:
        """Returns losses of logits, beside those of the images of the other kind."""
        ...


@dataclass(frozen=True)
class AdversarialLoss:
    """What the players minimise, each a function of the discriminator's logits.

    Attributes:
      real: the discriminator's loss on real images.
      fake: the discriminator's loss on generated images.
      generator: the generator's loss on its own images.
      output: what is logged as D(x): a probability where the logit stands for one.
      threshold: logits above it mean "real"; None where only differences of logits mean anything.
      relative: whether losses depend on the logits of the other kind of images, real or generated.
    """

    real: Part
    fake: Part
    generator: Part
    output: Callable[[Logits], OfLogits]
    threshold: float | None
    relative: bool = False


def adversarial_loss(name: str, label_smoothing: float = 0.0) -> AdversarialLoss:
    """Returns the named loss.

    Args:
      name: a key of `LOSSES`.
      label_smoothing: the target of real images is 1 minus it, that of generated ones stays 0
        (one-sided: Salimans et al., "Improved Techniques for Training GANs", 2016, section 3.4).

    Raises:
      UserError: an unknown name, a smoothing outside [0, 1), or one for a loss without targets.
    """
    if name not in LOSSES:
        raise UserError(f"config.loss.name is {name!r}; it must be one of {', '.join(LOSSES)}.")
    if not 0 <= label_smoothing < 1:
        raise UserError(
            f"config.loss.label_smoothing is {label_smoothing}; it must be 0 (off) or more, and"
            " less than 1."
        )
    if label_smoothing and name in ("hinge", "wasserstein", "relativistic"):
        raise UserError(
            f"config.loss.label_smoothing is {label_smoothing}, but the {name} loss has no targets"
            " to smooth; set it to 0."
        )
    return LOSSES[name](label_smoothing)


def minimax(smoothing: float) -> AdversarialLoss:
    """The value function itself, `E log D(x) + E log(1 - D(G(z)))`, which the generator minimises.

    Its gradient toward the generator is `-D`: it vanishes where the discriminator is sure
    ("saturates"). Goodfellow et al., "Generative Adversarial Nets" (2014), equation 1.
    """
    real, fake = _cross_entropies(smoothing)
    return AdversarialLoss(real, fake, _alone(lambda logits: -fake(logits)), jax.nn.sigmoid, 0.0)


def non_saturating(smoothing: float) -> AdversarialLoss:
    """The generator maximises `E log D(G(z))`: the same equilibrium, gradient `-(1 - D)`.

    Goodfellow et al. (2014), section 3.
    """
    real, fake = _cross_entropies(smoothing)
    generator, _ = _cross_entropies(0.0)
    return AdversarialLoss(real, fake, generator, jax.nn.sigmoid, 0.0)


def least_squares(smoothing: float) -> AdversarialLoss:
    """Squared distance from the targets 1 and 0.

    Mao et al., "Least Squares Generative Adversarial Networks" (2017), equation 9.
    """

    def toward(target: float) -> Part:
        return _alone(lambda logits: 0.5 * (logits - target) ** 2)

    return AdversarialLoss(toward(1 - smoothing), toward(0.0), toward(1.0), lambda x: x, 0.5)


def hinge(smoothing: float) -> AdversarialLoss:
    """The discriminator stops caring beyond a margin of 1.

    Lim and Ye, "Geometric GAN" (2017); Miyato et al., "Spectral Normalization for GANs" (2018).
    """
    del smoothing
    return AdversarialLoss(
        real=_alone(lambda logits: jax.nn.relu(1 - logits)),
        fake=_alone(lambda logits: jax.nn.relu(1 + logits)),
        generator=_alone(lambda logits: -logits),
        output=lambda logits: logits,
        threshold=0.0,
    )


def wasserstein(smoothing: float) -> AdversarialLoss:
    """The difference of the means of a critic, an estimate of the Wasserstein-1 distance.

    It is one only for a 1-Lipschitz critic: set config.loss.gradient_penalty to 10. Arjovsky,
    Chintala and Bottou, "Wasserstein GAN" (2017).
    """
    del smoothing
    return AdversarialLoss(
        real=_alone(lambda logits: -logits),
        fake=_alone(lambda logits: logits),
        generator=_alone(lambda logits: -logits),
        output=lambda logits: logits,
        threshold=None,
    )


def relativistic(smoothing: float) -> AdversarialLoss:
    """Is a real image more real than the generated one beside it? The generator wants the reverse.

    The discriminator's sum over both halves is the loss of the pair, `-log sigmoid(r - f)`.
    Jolicoeur-Martineau, "The relativistic discriminator: a key element missing from standard GAN"
    (2018); in pairs as in Huang et al., "The GAN is dead; long live the GAN!" (2024), who need
    gradient penalties with it: config.loss.r1.
    """
    del smoothing

    def behind(own: Logits, other: Logits | None = None) -> OfLogits:
        assert other is not None
        return jax.nn.softplus(other - own)

    def ahead(own: Logits, other: Logits | None = None) -> OfLogits:
        assert other is not None
        return jax.nn.softplus(own - other)

    return AdversarialLoss(
        real=lambda own, other=None: behind(own, other) / 2,
        fake=lambda own, other=None: ahead(own, other) / 2,
        generator=behind,
        output=lambda logits: logits,
        threshold=None,
        relative=True,
    )


LOSSES: dict[str, Callable[[float], AdversarialLoss]] = {
    "minimax": minimax,
    "non_saturating": non_saturating,
    "least_squares": least_squares,
    "hinge": hinge,
    "wasserstein": wasserstein,
    "relativistic": relativistic,
}


def class_loss(
    class_logits: Float[Array, "batch classes"], labels: Int[Array, " batch"]
) -> Float[Array, " batch"]:
    """Cross-entropy of the auxiliary classifier, `-log p(label | x)` (Odena et al., 2017).

    0 for an image without a label (-1).
    """
    known = jnp.maximum(labels, 0)
    losses: Array = optax.softmax_cross_entropy_with_integer_labels(class_logits, known)
    return jnp.where(labels < 0, 0, losses)


def data_to_data(
    cosines: Float[Array, "batch classes"],
    embeddings: Float[Array, "batch size"],
    labels: Int[Array, " batch"],
    others: Float[Array, "all size"],
    other_labels: Int[Array, " all"],
) -> Float[Array, " batch"]:
    """Data-to-data cross-entropy, `-log(e^p / (e^p + sum over j of e^n_j))`.

    `p = min(0, cos(f, v) - 0.98) / 0.5` of an image's embedding f and that of its class, v;
    `n_j = max(0, cos(f, f_j) - 0.02) / 0.5` of the images j of other classes in the batch. An image
    that is near enough to its class and far enough from the others moves no more. Kang, Shim, Cho
    and Park, "Rebooting ACGAN: Auxiliary Classifier GANs with Stable Training" (2021);
    there the discriminator learns the classes of real images only.

    Args:
      cosines: of each embedding with those of the classes.
      embeddings: unit vectors.
      labels: of the images.
      others: the embeddings of the whole batch, these among them.
      other_labels: of the whole batch.
    """
    own = jnp.take_along_axis(cosines, labels[:, None], 1)
    attraction = jnp.minimum(0, own - _NEAR) / _TEMPERATURE
    repulsion = jax.nn.relu(embeddings @ others.T - (1 - _NEAR)) / _TEMPERATURE
    repulsion = jnp.where(labels[:, None] == other_labels, -jnp.inf, repulsion)
    together = jax.nn.logsumexp(jnp.concatenate([attraction, repulsion], 1), axis=1)
    return together - attraction[:, 0]


def gradient_penalty(
    logit_of: Callable[[Images], Losses],
    real: Images,
    fake: Images,
    share: Float[Array, " batch"],
) -> Losses:
    """`(|gradient of the critic at x'| - 1)^2` between real and generated images.

    `x' = share real + (1 - share) fake`. Gulrajani et al., "Improved Training of Wasserstein GANs"
    (2017), equation 3. Their critic has no BatchNorm, which would tie the examples together.

    Args:
      logit_of: images to one logit of each.
      real: a batch.
      fake: a batch.
      share: drawn uniformly from [0, 1].
    """
    share = share[:, None, None, None]
    square = _squared_gradient_norm(logit_of, share * real + (1 - share) * fake)
    # The root's derivative is infinite at 0, and dead units make the gradient 0.
    return (jnp.sqrt(square + 1e-12) - 1) ** 2


def r1(logit_of: Callable[[Images], Losses], real: Images) -> Losses:
    """`|gradient of the discriminator at x|^2 / 2` on real images.

    Mescheder, Geiger and Nowozin, "Which Training Methods for GANs do actually Converge?" (2018),
    equation 9.
    """
    return 0.5 * _squared_gradient_norm(logit_of, real)


def _squared_gradient_norm(logit_of: Callable[[Images], Losses], images: Images) -> Losses:
    """Returns the squared length of each logit's gradient with respect to its image."""
    gradients = jax.grad(lambda x: logit_of(x).sum())(images)
    squares: Losses = (gradients**2).sum((1, 2, 3))
    return squares


def _alone(loss: Callable[[Logits], OfLogits]) -> Part:
    """Returns a loss that does not depend on the other images."""
    return lambda own, other=None: loss(own)


def _cross_entropies(smoothing: float) -> tuple[Part, Part]:
    """Returns binary cross-entropy toward 1 - smoothing and toward 0."""

    def toward(target: float) -> Part:
        return _alone(
            lambda logits: optax.sigmoid_binary_cross_entropy(logits, jnp.full_like(logits, target))
        )

    return toward(1 - smoothing), toward(0.0)
