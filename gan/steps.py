"""One training step of a GAN: draw images, update the discriminator, update the generator.

Each function is pure and usable alone, for one device's share of the batch inside the parallel
step. The generated batch is computed once: the discriminator sees its images, and the generator's
update sends the gradient back through the same computation.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key

from common.axis import AXIS
from common.training.randomness import example_keys
from gan.losses import adversarial_loss, class_loss
from gan.networks import Judgement
from gan.state import GAN, GANState, Variables

# Purposes of random keys: each draws from its own stream.
LATENTS, LABELS, DROPOUT_REAL, DROPOUT_FAKE, DROPOUT_GENERATOR, AUGMENTATION = range(6)

Images = Float[Array, "batch height width channels"]
Labels = Int[Array, " batch"]
Tree = TypeVar("Tree")
Outputs = dict[str, Float[Array, ""] | Float[Array, " batch"]]


class Generated(NamedTuple):
    """A batch of generated images and the way back to what made it.

    Attributes:
      images: in [-1, 1].
      labels: the classes asked for.
      batch_stats: the generator's running statistics after this batch.
      pullback: gradient with respect to the images -> gradient with respect to its parameters.
    """

    images: Images
    labels: Labels
    batch_stats: Variables
    pullback: Callable[[Images], tuple[Variables]]


def draw_latents(gan: GAN, keys: Key[Array, " batch"]) -> Float[Array, "batch latent"]:
    """Draws standard normal latents, one per key."""
    return jax.vmap(lambda key: jax.random.normal(key, (gan.latent_size,)))(keys)


def draw_labels(gan: GAN, keys: Key[Array, " batch"]) -> Labels:
    """Draws classes, all equally likely, one per key."""
    return jax.vmap(lambda key: jax.random.randint(key, (), 0, gan.num_classes))(keys)


def draw_fakes(
    gan: GAN, state: GANState, latents: Float[Array, "batch latent"], labels: Labels
) -> Generated:
    """Draws images in training mode (BatchNorm with the statistics of this batch)."""
    generator = state.generator

    def draw(params: Variables) -> tuple[Images, Variables]:
        variables = {"params": params, "batch_stats": generator.batch_stats}
        images, changed = gan.networks.generator.apply(
            variables, latents, labels, train=True, mutable=["batch_stats"]
        )
        return images, changed.get("batch_stats", {})

    images, pullback, batch_stats = jax.vjp(draw, generator.params, has_aux=True)
    return Generated(images, labels, batch_stats, pullback)


def discriminator_step(
    gan: GAN,
    state: GANState,
    images: Images,
    labels: Labels,
    fakes: Images,
    fake_labels: Labels,
    rng: Key[Array, ""],
    position: Int[Array, " batch"],
) -> tuple[GANState, Outputs]:
    """Updates the discriminator alone.

    The loss is half the sum over real and generated images of the adversarial loss and
    `class_weight` times the class loss. Real and generated images pass separately, so that
    BatchNorm sees each alone; one update follows from the sum.
    """
    network = state.discriminator
    real_keys = example_keys(rng, DROPOUT_REAL, position)
    fake_keys = example_keys(rng, DROPOUT_FAKE, position)

    def loss(params: Variables) -> tuple[Float[Array, ""], tuple[Variables, Outputs]]:
        real, stats = _judge(gan, params, network.batch_stats, images, real_keys)
        fake, stats = _judge(gan, params, stats, fakes, fake_keys)
        real_loss, real_outputs = _judgement_loss(gan, real, True, labels)
        fake_loss, fake_outputs = _judgement_loss(gan, fake, False, fake_labels)
        outputs = {
            **{f"{name}_real": value for name, value in real_outputs.items()},
            **{f"{name}_fake": value for name, value in fake_outputs.items()},
        }
        return 0.5 * (real_loss + fake_loss), (stats, outputs)

    (total, (batch_stats, outputs)), gradients = jax.value_and_grad(loss, has_aux=True)(
        network.params
    )
    gradients = jax.lax.pmean(gradients, AXIS)
    updates, opt_state = gan.discriminator_optimizer.update(
        gradients, network.opt_state, network.params
    )
    network = replace(
        network,
        params=optax.apply_updates(network.params, updates),
        batch_stats=batch_stats,
        opt_state=opt_state,
    )
    outputs = {f"discriminator_{name}": value for name, value in outputs.items()}
    outputs["discriminator_loss"] = total
    outputs["discriminator_gradient_norm"] = optax.tree.norm(gradients)
    return replace(state, discriminator=network), outputs


def generator_step(
    gan: GAN,
    state: GANState,
    generated: Generated,
    rng: Key[Array, ""],
    position: Int[Array, " batch"],
) -> tuple[GANState, Outputs]:
    """Updates the generator and its moving average alone, toward "real" and the asked class.

    The discriminator normalises with the statistics of this batch; its running ones stay.
    """
    keys = example_keys(rng, DROPOUT_GENERATOR, position)
    critic, network = state.discriminator, state.generator

    def loss(images: Images) -> tuple[Float[Array, ""], Outputs]:
        judged, _ = _judge(gan, critic.params, critic.batch_stats, images, keys)
        return _judgement_loss(gan, judged, True, generated.labels)

    (total, outputs), image_gradients = jax.value_and_grad(loss, has_aux=True)(generated.images)
    (gradients,) = generated.pullback(image_gradients)
    gradients = jax.lax.pmean(gradients, AXIS)
    updates, opt_state = gan.generator_optimizer.update(
        gradients, network.opt_state, network.params
    )
    params = optax.apply_updates(network.params, updates)
    network = replace(
        network, params=params, batch_stats=generated.batch_stats, opt_state=opt_state
    )
    average = moving_average(state.average, params, state.step, gan.average_decay)
    metrics = {
        "generator_loss": total,
        "generator_gradient_norm": optax.tree.norm(gradients),
        **{f"generator_{name}": value for name, value in outputs.items() if name.endswith("_loss")},
    }
    return replace(state, generator=network, average=average), metrics


def moving_average(average: Tree, params: Tree, step: Int[Array, ""], decay: float) -> Tree:
    """Returns the exponential moving average after one more step, warmed up.

    `average + (1 - d) (params - average)` with `d = min(decay, (1 + step) / (10 + step))`, so that
    the initialisation is soon forgotten; decay 0 returns the parameters themselves.
    """
    if decay == 0:
        return params
    rate = 1.0 - jnp.minimum(decay, (1.0 + step) / (10.0 + step))
    return jax.tree.map(lambda a, p: a + rate.astype(a.dtype) * (p - a), average, params)


def _judge(
    gan: GAN,
    params: Variables,
    batch_stats: Variables,
    images: Images,
    dropout_keys: Key[Array, " batch"],
) -> tuple[Judgement, Variables]:
    """Judges in training mode; returns the running statistics after this batch, too."""
    judged, changed = gan.networks.discriminator.apply(
        {"params": params, "batch_stats": batch_stats},
        images,
        train=True,
        dropout_keys=dropout_keys,
        mutable=["batch_stats"],
    )
    return judged, changed.get("batch_stats", {})


def _judgement_loss(
    gan: GAN, judged: Judgement, is_real: bool, labels: Labels
) -> tuple[Float[Array, ""], Outputs]:
    """Returns the mean loss toward a target and a class, and its parts per example."""
    adversarial = adversarial_loss(judged.logits, is_real)
    outputs: dict[str, Any] = {
        "adversarial_loss": adversarial,
        "accuracy": ((judged.logits > 0) == is_real).astype(adversarial.dtype),
    }
    total = adversarial
    if judged.class_logits is not None:
        of_class = class_loss(judged.class_logits, labels)
        total = total + gan.class_weight * of_class
        outputs["class_loss"] = of_class
        named = judged.class_logits.argmax(-1) == labels
        outputs["class_accuracy"] = named.astype(adversarial.dtype)
    return total.mean(), outputs
