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
from common.learning.network import Variables, moving_average, updated
from common.learning.randomness import example_keys
from gan.deciding import (
    Looks,
    Positions,
    Seen,
    class_losses,
    decide_both,
    decide_on,
    share_of_labelled,
)
from gan.drawing import Classes, Generated, Images
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


class Real(NamedTuple):
    """A batch of real images in [-1, 1] and their classes."""

    images: Images
    labels: Classes


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
    network, norm = updated(
        network, gan.discriminator_optimizer, gradients, batch_stats, gan.batch_norm
    )
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
    state = replace(state, discriminator=replace(state.discriminator, batch_stats=batch_stats))
    network, weights = state.discriminator, gan.weights
    loss_of = partial(_decision_loss, gan, state.step)
    asked = _asked(gan, fake_labels) if gan.class_of_generated else None
    seen_real = Seen(images, labels, Looks.of(state, rng, DROPOUT_REAL, SEEN_REAL, position))
    seen_fake = Seen(fakes, fake_labels, Looks.of(state, rng, DROPOUT_FAKE, SEEN_FAKE, position))

    def loss(params: Variables) -> tuple[Float[Array, ""], tuple[Variables, Outputs]]:
        real, fake, stats = decide_both(gan, network, params, seen_real, seen_fake)
        real_loss, real_outputs = loss_of(gan.loss.real, real, fake, labels)
        fake_loss, fake_outputs = loss_of(gan.loss.fake, fake, real, asked)
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
        state.generator,
        gan.generator_optimizer,
        gradients,
        generated.batch_stats,
        gan.batch_norm,
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
    decide = _decider(gan, state, labels, rng, position, real)
    asked = _asked(gan, labels)

    def logit_of(seen: Images) -> Float[Array, " batch"]:
        return decide(seen)[1].logit

    def loss(images: Images, params: Variables) -> tuple[Float[Array, ""], Outputs]:
        other, decided = decide(images)
        total, outputs = _decision_loss(gan, state.step, gan.loss.generator, decided, other, asked)
        total = gan.weights.generator * total
        shown = Shown(
            logit_of=logit_of,
            fake_logit_of=logit_of,
            judged=(other, decided),
            judge_varied=None,
            images=real.images if real else None,
            labels=real.labels if real else None,
            fakes=images,
            fake_labels=labels,
            latents=latents,
            keys=lambda: example_keys(rng, GENERATOR_TERMS, position),
            controls=state.controls,
            params=params,
        )
        outputs["output_fake"] = output_of(gan, decided)
        total, terms = _with_terms(gan, "generator", total, shown, position, state)
        return total, outputs | terms

    (total, outputs), (of_images, of_terms) = jax.value_and_grad(loss, (0, 1), has_aux=True)(
        images, state.generator.params
    )
    return of_terms, (batch_stats, (of_images, {**outputs, "loss": total}))


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
        params=params,
    )


def _asked(gan: GAN, labels: Classes) -> Classes | None:
    """Returns the classes that generated images should show; None if "generated" is one itself."""
    return None if gan.networks.discriminator.classifies else labels


def _decision_loss(
    gan: GAN,
    step: Int[Array, ""],
    adversarial: Part,
    decided: Decision,
    other: Decision | None,
    labels: Classes | None,
) -> tuple[Float[Array, ""], Outputs]:
    """Returns the mean loss toward a target and a class, and its parts per example.

    `other` is the decision of the images of the other kind, real or generated; `labels` are None
    for images without a class loss.
    """
    own = jax.tree.leaves(decided.logits)
    others = jax.tree.leaves(other.logits) if other else [None] * len(own)
    losses = [adversarial(*logits) for logits in zip(own, others, strict=True)]
    outputs: dict[str, Any] = {"adversarial_loss": per_image(losses)}
    total = outputs["adversarial_loss"]
    of_class = None if labels is None else class_losses(gan, decided, labels)
    if labels is not None and decided.class_logits is not None and of_class is not None:
        outputs["class_loss"] = of_class
        total = total + gan.weights.of_class(step) * of_class
        correct = decided.class_logits.argmax(-1) == labels
        outputs["class_accuracy"] = correct.astype(total.dtype) / share_of_labelled(labels)
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
