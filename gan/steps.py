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
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from common.data.transforms import augment_images
from common.learning.accumulation import joined, mean_gradient, parts_of
from common.learning.network import NetworkState, Variables, moving_average, updated
from common.learning.precision import narrow, widen
from common.learning.randomness import example_keys
from gan.drawing import Classes, Generated, Images
from gan.losses import Part, class_loss
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
) = range(13)

Positions = Int[Array, " batch"]
Outputs = dict[str, Float[Array, ""] | Float[Array, " batch"]]


class Real(NamedTuple):
    """A batch of real images in [-1, 1] and their classes."""

    images: Images
    labels: Classes


class Looks(NamedTuple):
    """The keys by which the discriminator looks at each image: its dropout, and how it is varied.

    A generated image is varied alike in both players' updates. The second are drawn only if images
    are varied.
    """

    dropout: Key[Array, " batch"]
    seen: Callable[[], Key[Array, " batch"]]

    @classmethod
    def of(cls, rng: Key[Array, ""], dropout: int, seen: int, position: Positions) -> "Looks":
        """Returns the keys for two purposes."""
        return cls(example_keys(rng, dropout, position), lambda: example_keys(rng, seen, position))


class Seen(NamedTuple):
    """A batch as the discriminator sees it: images in [-1, 1], their classes, and its keys."""

    images: Images
    labels: Classes
    looks: Looks


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
    network = state.discriminator
    rows = (images, labels, fakes, fake_labels, position)
    gradients, batch_stats, outputs = mean_gradient(
        partial(_discriminator_gradient, gan, state, rng),
        network.params,
        network.batch_stats,
        parts_of(rows, gan.accumulate),
        state.step >= 0,
    )
    network, norm = updated(network, gan.discriminator_optimizer, gradients, batch_stats)
    named = {f"discriminator_{name}": value for name, value in joined(outputs).items()}
    return replace(state, discriminator=network), {**named, "discriminator_gradient_norm": norm}


def _discriminator_gradient(
    gan: GAN,
    state: GANState,
    rng: Key[Array, ""],
    batch_stats: Variables,
    rows: tuple[Images, Classes, Images, Classes, Positions],
) -> tuple[Variables, tuple[Variables, Outputs]]:
    """Returns the gradient of the discriminator's loss, its running statistics, and its outputs."""
    images, labels, fakes, fake_labels, position = rows
    network, weights = replace(state.discriminator, batch_stats=batch_stats), gan.weights
    seen_real = Seen(images, labels, Looks.of(rng, DROPOUT_REAL, SEEN_REAL, position))
    seen_fake = Seen(fakes, fake_labels, Looks.of(rng, DROPOUT_FAKE, SEEN_FAKE, position))

    def loss(params: Variables) -> tuple[Float[Array, ""], tuple[Variables, Outputs]]:
        real, fake, stats = _decide_both(gan, network, params, seen_real, seen_fake)
        real_loss, real_outputs = _decision_loss(gan, gan.loss.real, real, fake, labels)
        fake_loss, fake_outputs = _decision_loss(gan, gan.loss.fake, fake, real, fake_labels)
        outputs = {
            **_named(gan, real, "real", real_outputs),
            **_named(gan, fake, "fake", fake_outputs),
        }
        total = weights.discriminator * (real_loss + fake_loss)

        def logit_of(x: Images) -> Float[Array, " batch"]:
            seen = seen_real._replace(images=x)
            return _decide(gan, network, params, network.batch_stats, seen)[0].logit

        shown = Shown(
            logit_of=logit_of,
            images=images,
            labels=labels,
            fakes=fakes,
            fake_labels=fake_labels,
            latents=None,
            keys=lambda: example_keys(rng, PENALTY, position),
            params=params,
        )
        total, terms = _with_terms(gan, "discriminator", total, shown, position, state)
        return total, (stats, outputs | terms)

    (total, (batch_stats, outputs)), gradients = jax.value_and_grad(loss, has_aux=True)(
        network.params
    )
    return gradients, (batch_stats, {**outputs, "loss": total})


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
    rows = (generated.images, generated.labels, generated.latents, position, real)
    of_terms, _, found = mean_gradient(
        partial(_generator_gradient, gan, state, rng),
        state.generator.params,
        {},
        parts_of(rows, gan.accumulate),
        state.step >= 0,
    )
    image_gradients, outputs = joined(found)
    (gradients,) = generated.pullback(image_gradients)
    gradients = jax.tree.map(jnp.add, gradients, of_terms)
    network, norm = updated(
        state.generator, gan.generator_optimizer, gradients, generated.batch_stats
    )
    average = moving_average(state.average, network.params, state.step, gan.average_decay)
    named = {f"generator_{name}": value for name, value in outputs.items()}
    state = replace(state, generator=network, average=average)
    return state, {**named, "generator_gradient_norm": norm}


def _generator_gradient(
    gan: GAN,
    state: GANState,
    rng: Key[Array, ""],
    batch_stats: Variables,
    rows: tuple[Images, Classes, Float[Array, "batch latent"], Positions, Real | None],
) -> tuple[Variables, tuple[Variables, tuple[Images, Outputs]]]:
    """Returns the gradient of the generator's terms alone, and that of its loss by its images."""
    images, labels, latents, position, real = rows
    looks = Looks.of(rng, DROPOUT_GENERATOR, SEEN_FAKE, position)
    critic = state.discriminator
    beside = None
    if gan.loss.relative or gan.networks.discriminator.joint:
        if real is None:
            raise ValueError("generated images are judged beside real ones: give some")
        beside = Seen(*real, Looks.of(rng, DROPOUT_GENERATOR_REAL, SEEN_REAL, position))

    def decide(images: Images) -> tuple[Decision | None, Decision]:
        seen = Seen(images, labels, looks)
        if beside is None:
            return None, _decide(gan, critic, critic.params, critic.batch_stats, seen)[0]
        return _decide_both(gan, critic, critic.params, beside, seen)[:2]

    def loss(images: Images, params: Variables) -> tuple[Float[Array, ""], Outputs]:
        other, decided = decide(images)
        total, outputs = _decision_loss(gan, gan.loss.generator, decided, other, labels)
        shown = Shown(
            logit_of=lambda seen: decide(seen)[1].logit,
            images=real.images if real else None,
            labels=real.labels if real else None,
            fakes=images,
            fake_labels=labels,
            latents=latents,
            keys=lambda: example_keys(rng, GENERATOR_TERMS, position),
            params=params,
        )
        outputs["output_fake"] = output_of(gan, decided)
        total, terms = _with_terms(gan, "generator", total, shown, position, state)
        return total, outputs | terms

    (total, outputs), (of_images, of_terms) = jax.value_and_grad(loss, (0, 1), has_aux=True)(
        images, state.generator.params
    )
    return of_terms, (batch_stats, (of_images, {**outputs, "loss": total}))


def _decide(
    gan: GAN, network: NetworkState, params: Variables, batch_stats: Variables, *batches: Seen
) -> tuple[Decision, Variables]:
    """Returns the decision in training mode and the running statistics after it.

    Of two batches, the first is real, the second generated, and one decision is of both.
    """
    images, labels, dropout = (
        jnp.concatenate(rows) if len(rows) > 1 else rows[0]
        for rows in zip(*(_varied(gan, seen) for seen in batches), strict=True)
    )
    discriminator = gan.networks.discriminator
    if len(batches) > 1:
        discriminator = discriminator.clone(num_real=len(batches[0].images))
    decided, changed = discriminator.apply(
        network.applied(params, batch_stats),
        narrow(images, gan.dtype),
        labels,
        train=True,
        dropout_keys=dropout,
        mutable=["batch_stats"],
    )
    return jax.tree.map(widen, decided), changed.get("batch_stats", {})


def _varied(gan: GAN, seen: Seen) -> tuple[Images, Classes, Key[Array, " batch"]]:
    """Returns images as they are shown, labels and keys of dropout."""
    images, labels, looks = seen
    if gan.augmentation.is_on:
        images = augment_images(images, looks.seen(), gan.augmentation)
    return images, labels, looks.dropout


def _decide_both(
    gan: GAN, network: NetworkState, params: Variables, real: Seen, fake: Seen
) -> tuple[Decision, Decision, Variables]:
    """Returns the decisions of real and generated images and the running statistics after both."""
    decide = partial(_decide, gan, network, params)
    if not gan.networks.discriminator.joint:
        of_real, stats = decide(network.batch_stats, real)
        of_fake, stats = decide(stats, fake)
        return of_real, of_fake, stats
    decided, stats = decide(network.batch_stats, real, fake)
    num_real = len(real.images)
    of_real = jax.tree.map(lambda x: x[:num_real], decided)
    return of_real, jax.tree.map(lambda x: x[num_real:], decided), stats


def _decision_loss(
    gan: GAN, adversarial: Part, decided: Decision, other: Decision | None, labels: Classes
) -> tuple[Float[Array, ""], Outputs]:
    """Returns the mean loss toward a target and a class, and its parts per example.

    `other` is the decision of the images of the other kind, real or generated.
    """
    own = jax.tree.leaves(decided.logits)
    others = jax.tree.leaves(other.logits) if other else [None] * len(own)
    losses = [adversarial(*logits) for logits in zip(own, others, strict=True)]
    outputs: dict[str, Any] = {"adversarial_loss": per_image(losses)}
    total = outputs["adversarial_loss"]
    if decided.class_logits is not None:
        outputs["class_loss"] = class_loss(decided.class_logits, labels)
        total = total + gan.weights.class_loss * outputs["class_loss"]
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
    if (threshold := gan.loss.threshold) is not None:
        more["accuracy"] = per_image(
            [
                ((x > threshold) == (half == "real")).astype(x.dtype)
                for x in jax.tree.leaves(decided.logits)
            ]
        )
    return {f"{name}_{half}": value for name, value in (outputs | more).items()}
