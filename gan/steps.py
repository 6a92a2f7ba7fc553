"""One training step of a GAN: draw images, update the discriminator, update the generator.

Each function is pure and usable alone, for one device's share of the batch inside the parallel
step. The generated batch is computed once: the discriminator sees its images, and the generator's
update sends the gradient back through the same computation.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
from jaxtyping import Array, Float, Int, Key

from common.data.transforms import augment_images
from common.learning.network import Variables, moving_average, updated
from common.learning.precision import narrow, widen
from common.learning.randomness import example_keys
from gan.deciding import (
    Classes,
    Images,
    Looks,
    Positions,
    Seen,
    class_losses,
    decide_both,
    decide_on,
)
from gan.losses import Part
from gan.networks import Decision, per_image
from gan.state import GAN, GANState
from gan.terms import Shown, added

# Purposes of random keys: each draws from its own stream.
(
    LATENTS,
    LABELS,
    DROPOUT_REAL,
    DROPOUT_FAKE,
    DROPOUT_GENERATOR,
    AUGMENTATION,
    DROPOUT_DRAWING,
    PENALTY,
    NOISE,
    DROPOUT_GENERATOR_REAL,
    GENERATOR_TERMS,
    SEEN_REAL,
    SEEN_FAKE,
    CONSISTENCY_REAL,
    CONSISTENCY_FAKE,
) = range(15)

Outputs = dict[str, Float[Array, ""] | Float[Array, " batch"]]


class Generated(NamedTuple):
    """A batch of generated images and the gradient's way back to the generator.

    Attributes:
      images: in [-1, 1].
      labels: the requested classes.
      latents: what the images were drawn from.
      batch_stats: the generator's running statistics after this batch.
      pullback: gradient with respect to the images -> gradient with respect to its parameters.
    """

    images: Images
    labels: Classes
    latents: Float[Array, "batch latent"]
    batch_stats: Variables
    pullback: Callable[[Images], tuple[Variables]]


class Real(NamedTuple):
    """A batch of real images in [-1, 1] and their classes."""

    images: Images
    labels: Classes


def draw_latents(
    gan: GAN, keys: Key[Array, " batch"], truncation: float = 0.0
) -> Float[Array, "batch latent"]:
    """Draws latents, one per key: standard normal, or uniform in [-1, 1].

    With a truncation, normal entries are redrawn until they lie between minus and plus it, which
    trades variety for quality (Brock et al., "Large Scale GAN Training", 2019); 0 is none.
    """
    shape = (gan.latent_size,)
    if gan.latent == "uniform":
        return jax.vmap(lambda key: jax.random.uniform(key, shape, minval=-1.0))(keys)
    if truncation:
        return jax.vmap(
            lambda key: jax.random.truncated_normal(key, -truncation, truncation, shape)
        )(keys)
    return jax.vmap(lambda key: jax.random.normal(key, shape))(keys)


def draw_labels(gan: GAN, keys: Key[Array, " batch"]) -> Classes:
    """Draws classes, all equally likely, one per key."""
    return jax.vmap(lambda key: jax.random.randint(key, (), 0, gan.num_classes))(keys)


def draw_fakes(
    gan: GAN,
    state: GANState,
    latents: Float[Array, "batch latent"],
    labels: Classes,
    dropout_keys: Key[Array, " batch"] | None = None,
    noise_keys: Key[Array, " batch"] | None = None,
) -> Generated:
    """Draws images in training mode (BatchNorm with the statistics of this batch)."""
    generator = state.generator

    def draw(params: Variables) -> tuple[Images, Variables]:
        images, changed = gan.networks.generator.apply(
            generator.applied(params, generator.batch_stats),
            narrow(latents, gan.dtype),
            labels,
            train=True,
            dropout_keys=dropout_keys,
            noise_keys=noise_keys,
            mutable=["batch_stats"],
        )
        return widen(images), changed.get("batch_stats", {})

    images, pullback, batch_stats = jax.vjp(draw, generator.params, has_aux=True)
    return Generated(images, labels, latents, batch_stats, pullback)


def discriminator_step(
    gan: GAN,
    state: GANState,
    images: Images,
    labels: Classes,
    fakes: Images,
    fake_labels: Classes,
    rng: Key[Array, ""],
    position: Positions,
) -> tuple[GANState, Outputs]:
    """Updates the discriminator alone.

    The loss is the weighted sum over real and generated images of the adversarial loss and the
    class loss, plus the terms of gan/terms.py. Real and generated images pass separately, so that
    BatchNorm sees each alone, unless the discriminator is `joint`; one update follows from the sum.
    The outputs D(x) and D(G(z)) are those of the parameters before it, that is, after the
    generator's last update.
    """
    network, weights = state.discriminator, gan.weights
    loss_of = partial(_decision_loss, gan, state.step)
    seen_real = Seen(images, labels, Looks.of(state, rng, DROPOUT_REAL, SEEN_REAL, position))
    seen_fake = Seen(fakes, fake_labels, Looks.of(state, rng, DROPOUT_FAKE, SEEN_FAKE, position))

    def loss(params: Variables) -> tuple[Float[Array, ""], tuple[Variables, Outputs]]:
        real, fake, stats = decide_both(gan, network, params, seen_real, seen_fake)
        real_loss, real_outputs = loss_of(gan.loss.real, real, fake, labels)
        fake_loss, fake_outputs = loss_of(gan.loss.fake, fake, real, fake_labels)
        outputs = {
            **_named(gan, real, "real", real_outputs),
            **_named(gan, fake, "fake", fake_outputs),
        }
        total = weights.discriminator * (real_loss + fake_loss)

        shown = _shown(gan, state, params, (seen_real, seen_fake), (real, fake), rng, position)
        total, terms = _with_terms(gan, "discriminator", total, shown, position, state)
        return total, (stats, outputs | terms)

    (total, (batch_stats, outputs)), gradients = jax.value_and_grad(loss, has_aux=True)(
        network.params
    )
    network, norm = updated(network, gan.discriminator_optimizer, gradients, batch_stats)
    outputs = {f"discriminator_{name}": value for name, value in outputs.items()}
    outputs["discriminator_loss"] = total
    outputs["discriminator_gradient_norm"] = norm
    return replace(state, discriminator=network), outputs


def generator_step(
    gan: GAN,
    state: GANState,
    generated: Generated,
    rng: Key[Array, ""],
    position: Positions,
    real: Real | None = None,
) -> tuple[GANState, Outputs]:
    """Updates the generator and its moving average alone, toward "real" and the requested class.

    The discriminator normalises with the statistics of this batch; its running ones stay. The
    output D(G(z)) is that of the parameters before this update and after the discriminator's. Only
    a relative loss and a `joint` discriminator look at real images, too; the loss needs as many as
    generated ones.

    Raises:
      ValueError: generated images are judged beside real ones, but there are none.
    """
    decide = _decider(gan, state, generated.labels, rng, position, real)

    def loss(images: Images) -> tuple[Float[Array, ""], Outputs]:
        other, decided = decide(images)
        total, outputs = _decision_loss(
            gan, state.step, gan.loss.generator, decided, other, generated.labels
        )

        def logit_of(seen: Images) -> Float[Array, " batch"]:
            return decide(seen)[1].logit

        shown = Shown(
            logit_of=logit_of,
            fake_logit_of=logit_of,
            judged=(other, decided),
            judge_varied=None,
            images=real.images if real else None,
            labels=real.labels if real else None,
            fakes=images,
            fake_labels=generated.labels,
            latents=generated.latents,
            keys=lambda: example_keys(rng, GENERATOR_TERMS, position),
            controls=state.controls,
        )
        outputs["output_fake"] = output_of(gan, decided)
        total, terms = _with_terms(gan, "generator", total, shown, position, state)
        return total, outputs | terms

    (total, outputs), image_gradients = jax.value_and_grad(loss, has_aux=True)(generated.images)
    (gradients,) = generated.pullback(image_gradients)
    network, norm = updated(
        state.generator, gan.generator_optimizer, gradients, generated.batch_stats
    )
    average = moving_average(state.average, network.params, state.step, gan.average_decay)
    outputs = {f"generator_{name}": value for name, value in outputs.items()}
    outputs["generator_loss"] = total
    outputs["generator_gradient_norm"] = norm
    return replace(state, generator=network, average=average), outputs


def _decider(
    gan: GAN,
    state: GANState,
    labels: Classes,
    rng: Key[Array, ""],
    position: Positions,
    real: Real | None,
) -> Callable[[Images], tuple[Decision | None, Decision]]:
    """Returns how the discriminator decides on images in the generator's update.

    It is a function of generated images to the decisions on real ones beside them and on these; the
    first is None where no loss and no BatchNorm looks at real images.
    """
    critic = state.discriminator
    looks = Looks.of(state, rng, DROPOUT_GENERATOR, SEEN_FAKE, position)
    if not gan.loss.relative and not gan.networks.discriminator.joint:
        decide_alone = partial(decide_on, gan, critic, critic.params, critic.batch_stats)
        return lambda images: (None, decide_alone(Seen(images, labels, looks))[0])
    if real is None:
        raise ValueError("generated images are judged beside real ones: give some")
    beside = Seen(*real, Looks.of(state, rng, DROPOUT_GENERATOR_REAL, SEEN_REAL, position))
    decide = partial(decide_both, gan, critic, critic.params, beside)
    return lambda images: decide(Seen(images, labels, looks))[:2]


def _shown(
    gan: GAN,
    state: GANState,
    params: Variables,
    seen: tuple[Seen, Seen],
    judged: tuple[Decision, Decision],
    rng: Key[Array, ""],
    position: Positions,
) -> Shown:
    """Returns what the discriminator's terms are shown: of real images, then of generated ones."""
    network, (real, fake) = state.discriminator, seen

    def logit_of(seen: Seen, images: Images) -> Float[Array, " batch"]:
        seen = seen._replace(images=images)
        return decide_on(gan, network, params, network.batch_stats, seen)[0].logit

    def varied(seen: Seen, purpose: int) -> Seen:
        keys = example_keys(rng, purpose, position)
        return seen._replace(images=augment_images(seen.images, keys, gan.consistency))

    def judge_varied() -> tuple[Decision, Decision]:
        both = varied(real, CONSISTENCY_REAL), varied(fake, CONSISTENCY_FAKE)
        return decide_both(gan, network, params, *both)[:2]

    return Shown(
        logit_of=partial(logit_of, real),
        fake_logit_of=partial(logit_of, fake),
        judged=judged,
        judge_varied=judge_varied,
        images=real.images,
        labels=real.labels,
        fakes=fake.images,
        fake_labels=fake.labels,
        latents=None,
        keys=lambda: example_keys(rng, PENALTY, position),
        controls=state.controls,
    )


def _decision_loss(
    gan: GAN,
    step: Int[Array, ""],
    adversarial: Part,
    decided: Decision,
    other: Decision | None,
    labels: Classes,
) -> tuple[Float[Array, ""], Outputs]:
    """Returns the mean loss toward a target and a class, and its parts per example.

    `other` is the decision of the images of the other kind, real or generated.
    """
    own = jax.tree.leaves(decided.logits)
    others = jax.tree.leaves(other.logits) if other else [None] * len(own)
    losses = [adversarial(*logits) for logits in zip(own, others, strict=True)]
    outputs: dict[str, Any] = {"adversarial_loss": per_image(losses)}
    total = outputs["adversarial_loss"]
    of_class = class_losses(gan, decided, labels)
    if decided.class_logits is not None and of_class is not None:
        outputs["class_loss"] = of_class
        total = total + gan.weights.of_class(step) * of_class
        correct = decided.class_logits.argmax(-1) == labels
        outputs["class_accuracy"] = correct.astype(total.dtype)
    return total.mean(), outputs


def _with_terms(
    gan: GAN,
    player: str,
    total: Float[Array, ""],
    shown: Shown,
    position: Positions,
    state: GANState,
) -> tuple[Float[Array, ""], Outputs]:
    """Returns a player's loss with its terms, and these by name."""
    every = gan.penalty_every
    terms = added(
        player, gan.weights.terms, shown, position, lambda: state.step % every == 0, every
    )
    for weight, value in terms.values():
        total += weight * value.mean()
    return total, {name: value for name, (_, value) in terms.items()}


def output_of(gan: GAN, decided: Decision) -> Float[Array, " batch"]:
    """Returns D(x) of each image."""
    return per_image(jax.tree.map(gan.loss.output, decided.logits))


def _named(gan: GAN, decided: Decision, half: str, outputs: Outputs) -> Outputs:
    """Returns all outputs for the half "real" or "fake", with the half in their names."""
    more: dict[str, Any] = {"output": output_of(gan, decided)}
    if f"logit_{half}" in gan.controls.averages:
        more["logit"] = decided.logit
    if (threshold := gan.loss.threshold) is not None:
        more["accuracy"] = per_image(
            [
                ((x > threshold) == (half == "real")).astype(x.dtype)
                for x in jax.tree.leaves(decided.logits)
            ]
        )
    return {f"{name}_{half}": value for name, value in (outputs | more).items()}
