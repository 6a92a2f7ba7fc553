"""Pix2pix: a translation learnt from pairs.

Isola, Zhu, Zhou and Efros, "Image-to-Image Translation with Conditional Adversarial Networks"
(2017): the generator wants its translations near their targets, and pairs of image and translation
that the discriminator takes for pairs of image and target.
"""

from dataclasses import replace

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from common.data.transforms import augment, to_signed_unit
from common.learning.network import Variables, moving_average, updated
from common.learning.randomness import example_keys
from common.scores import metrics
from common.training.task import Batch, Metrics
from translate.state import PairedState
from translate.steps import Images, Outputs, discriminator_step, distance, fooling, translated
from translate.translation import Translation

_AUGMENTATION = 0  # purpose of random keys


class Pix2Pix(Translation[PairedState]):
    """Adversarial training on pairs."""

    def train_step(
        self, state: PairedState, batch: Batch, rng: Key[Array, ""]
    ) -> tuple[PairedState, Metrics]:
        """Updates the generator, then the discriminator."""
        keys = example_keys(rng, _AUGMENTATION, batch["position"])
        batch = augment(batch, keys, self.settings.augment)
        images, targets = to_signed_unit(batch["image"]), to_signed_unit(batch["target"])
        state, translations, outputs = generator_step(self, state, images, targets)
        real, fake = (jnp.concatenate([images, x], -1) for x in (targets, translations))
        discriminator, more = discriminator_step(self.translator, state.discriminator, real, fake)
        state = replace(state, step=state.step + 1, discriminator=discriminator)
        return state, metrics.averages({**outputs, **more})


def generator_step(
    task: Pix2Pix, state: PairedState, images: Images, targets: Images
) -> tuple[PairedState, Images, Outputs]:
    """Updates the generator and its moving average; returns its translations, too."""
    translator, generator = task.translator, state.generator
    weights = translator.weights

    def loss(
        params: Variables,
    ) -> tuple[Float[Array, ""], tuple[Images, Variables, Outputs]]:
        found, stats = translated(translator, params, generator.batch_stats, images)
        pairs = jnp.concatenate([images, found], -1)
        adversarial, output = fooling(translator, state.discriminator, pairs)
        l1 = distance(found, targets)
        each = weights.adversarial * adversarial + weights.l1 * l1
        outputs: Outputs = {
            "generator_loss": each,
            "generator_adversarial_loss": adversarial,
            "generator_output_fake": output,
            "l1": l1 / 2,  # as a share of the range of values
        }
        return each.mean(), (found, stats, outputs)

    gradients, (found, stats, outputs) = jax.grad(loss, has_aux=True)(generator.params)
    generator, norm = updated(
        generator, translator.generator_optimizer, gradients, stats, translator.batch_norm
    )
    average = moving_average(
        state.average, generator.learning, state.step, translator.average_decay
    )
    state = replace(state, generator=generator, average=average)
    return state, found, outputs | {"generator_gradient_norm": norm}
