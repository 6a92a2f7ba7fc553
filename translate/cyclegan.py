"""CycleGAN: translations both ways between two kinds of images, learnt without pairs.

Zhu, Park, Isola and Efros, "Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial
Networks" (2017): each generator wants its translations to be taken for images of the other kind,
the other generator to bring them back, and what is of that kind already to stay as it is.
"""

from dataclasses import replace
from typing import Any, NamedTuple

import jax
from jaxtyping import Array, Float, Key

from common.data.prepared.prepared import Prepared
from common.data.transforms import augment, to_signed_unit
from common.learning.network import NetworkState, Variables, moving_average, updated
from common.learning.randomness import example_keys
from common.scores import metrics
from common.training.task import Batch, Metrics
from translate.pool import exchanged_by_all
from translate.state import CycleState, Translator
from translate.steps import (
    Images,
    OfImages,
    Outputs,
    discriminator_step,
    distance,
    fooling,
    translated,
)
from translate.translation import Translation
from translate.unpaired import unpaired

# Purposes of random keys: each draws from its own stream.
_AUGMENTATION, _POOL, _BACK_POOL = range(3)


class CycleGAN(Translation[CycleState]):
    """Adversarial training both ways, on images that are no pairs."""

    both_ways = True

    @property
    def needs_preparation(self) -> bool:
        """Returns that training images are put together anew: see `prepare`."""
        return True

    def prepare(self, prepared: Prepared, state: CycleState) -> Prepared:
        """Returns the data with an image of each kind in a training example, no pair in any."""
        return unpaired(prepared)

    def train_step(
        self, state: CycleState, batch: Batch, rng: Key[Array, ""]
    ) -> tuple[CycleState, Metrics]:
        """Updates both generators, then both discriminators, which see pooled translations."""
        translator, position = self.translator, batch["position"]
        keys = example_keys(rng, _AUGMENTATION, position)
        batch = augment(batch, keys, self.settings.augment)
        images = to_signed_unit(batch["image"])
        # Without targets there is only what a plan compiles: any images of this shape.
        targets = to_signed_unit(batch.get("target", batch["image"]))
        state, fake_targets, fake_images, outputs = generators_step(
            translator, state, images, targets
        )
        pool, shown = exchanged_by_all(state.pool, fake_targets, example_keys(rng, _POOL, position))
        back_pool, back_shown = exchanged_by_all(
            state.back_pool, fake_images, example_keys(rng, _BACK_POOL, position)
        )
        discriminator, of_one = discriminator_step(translator, state.discriminator, targets, shown)
        back_discriminator, of_other = discriminator_step(
            translator, state.back_discriminator, images, back_shown
        )
        state = replace(
            state,
            step=state.step + 1,
            discriminator=discriminator,
            pool=pool,
            back_discriminator=back_discriminator,
            back_pool=back_pool,
        )
        return state, metrics.averages({**outputs, **of_one, **_back(of_other)})


class _Player(NamedTuple):
    """A generator with the parameters that it is tried with, and its discriminator."""

    params: Variables
    generator: NetworkState
    discriminator: NetworkState


def generators_step(
    translator: Translator, state: CycleState, images: Images, targets: Images
) -> tuple[CycleState, Images, Images, Outputs]:
    """Updates both generators and their averages by the sum of their losses.

    Returns the translations of the images and of the targets, too.
    """
    generator, back_generator = state.generator, state.back_generator

    def loss(params: tuple[Variables, Variables]) -> tuple[Float[Array, ""], Any]:
        one = _Player(params[0], generator, state.discriminator)
        other = _Player(params[1], back_generator, state.back_discriminator)
        each, found = _way(translator, one, other, images, targets)
        back_each, back_found = _way(translator, other, one, targets, images)
        return (each + back_each).mean(), (found, back_found)

    both = generator.params, back_generator.params
    gradients, (found, back_found) = jax.grad(loss, has_aux=True)(both)
    optimizer, decay = translator.generator_optimizer, translator.average_decay
    batch_norm = translator.batch_norm
    generator, norm = updated(generator, optimizer, gradients[0], found.stats, batch_norm)
    back_generator, back_norm = updated(
        back_generator, optimizer, gradients[1], back_found.stats, batch_norm
    )
    state = replace(
        state,
        generator=generator,
        average=moving_average(state.average, generator.learning, state.step, decay),
        back_generator=back_generator,
        back_average=moving_average(state.back_average, back_generator.learning, state.step, decay),
    )
    outputs = found.outputs | {"generator_gradient_norm": norm}
    back_outputs = _back(back_found.outputs | {"generator_gradient_norm": back_norm})
    return state, found.images, back_found.images, outputs | back_outputs


class _Found(NamedTuple):
    """What came of one way: translations, running statistics after them, and losses."""

    images: Images
    stats: Variables
    outputs: Outputs


def _way(
    translator: Translator, there: _Player, back: _Player, images: Images, others: Images
) -> tuple[OfImages, _Found]:
    """Returns the loss of translating images there, and of bringing them back."""
    weights = translator.weights
    there_stats, back_stats = there.generator.batch_stats, back.generator.batch_stats
    found, stats = translated(translator, there.params, there_stats, images)
    # Running statistics are of what will be translated: real images alone.
    returned, _ = translated(translator, back.params, back_stats, found)
    adversarial, output = fooling(translator, there.discriminator, found)
    cycle = distance(returned, images)
    each = weights.adversarial * adversarial + weights.cycle * cycle
    outputs: Outputs = {
        "generator_adversarial_loss": adversarial,
        "generator_output_fake": output,
        "cycle_l1": cycle / 2,  # as a share of the range of values
    }
    if weights.identity:
        same, _ = translated(translator, there.params, there_stats, others)
        identity = distance(same, others)
        each = each + weights.identity * identity
        outputs["identity_l1"] = identity / 2
    return each, _Found(found, stats, outputs | {"generator_loss": each})


def _back(outputs: Outputs) -> Outputs:
    return {f"back_{name}": value for name, value in outputs.items()}
