"""Everything that the training of a translation changes, and the parts that stay fixed."""

from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Key

from common.data.prepared.prepared import DataCard
from common.learning.network import NetworkState, Variables
from common.learning.optimizers import make_optimizer
from common.networks.layers import with_statistics
from common.networks.unet import UNet
from common.program.errors import UserError
from gan.losses import AdversarialLoss, adversarial_loss
from translate.config import TranslateLoss, TranslateModel, TranslateSettings
from translate.networks import SMALLEST, PatchDiscriminator, ResidualGenerator
from translate.pool import Pool


@flax.struct.dataclass
class PairedState:
    """Pix2pix in training; `average` is the moving average of the generator's variables."""

    step: Any  # int32 []: the number of steps made (a shape where trees are traced)
    generator: NetworkState
    discriminator: NetworkState
    average: Variables


@flax.struct.dataclass
class CycleState:
    """CycleGAN in training: the names with `back_` are of the way from the targets to the images.

    A discriminator and a pool belong to the generator whose translations they see.
    """

    step: Any
    generator: NetworkState
    discriminator: NetworkState
    average: Variables
    pool: Pool
    back_generator: NetworkState
    back_discriminator: NetworkState
    back_average: Variables
    back_pool: Pool


@dataclass(frozen=True)
class Translator:
    """What training does not change.

    Attributes:
      generator: the network that translates; its output is before the last tanh, or with
        `difference` is added to the image.
      discriminator: the network that judges patches.
      generator_optimizer: its update rule.
      discriminator_optimizer: its update rule.
      adversarial: what the two play for.
      weights: of the parts of the generator's loss.
      average_decay: of the moving average of the generator; 0 turns it off.
      difference: whether the generator draws what is added to the image.
      dtype: what the networks compute in, in training.
      batch_norm: "synchronised", or of each "device".
    """

    generator: UNet | ResidualGenerator
    discriminator: PatchDiscriminator
    generator_optimizer: optax.GradientTransformation
    discriminator_optimizer: optax.GradientTransformation
    adversarial: AdversarialLoss
    weights: TranslateLoss
    average_decay: float = 0.0
    difference: bool = False
    dtype: str = "float32"
    batch_norm: str = "synchronised"


def make_translator(settings: TranslateSettings, card: DataCard) -> Translator:
    """Builds the fixed parts that a config describes.

    Raises:
      UserError: the data has no pairs or no two domains, or a setting is invalid.
    """
    model, optimizer = settings.model, settings.optimizer
    _check_data(model.name, card)
    made = _make_generator(model, card.channels)
    generator = with_statistics(made, settings.train.batch_norm)
    _check_size(generator.multiple, card.image_size)
    steps_per_epoch = card.num_examples["train"] / settings.data.batch_size
    num_steps = settings.train.num_steps
    return Translator(
        generator=generator,
        discriminator=PatchDiscriminator(model.patch_width, model.patch_norm),
        generator_optimizer=make_optimizer(
            optimizer.generator, "optimizer.generator", steps_per_epoch, num_steps=num_steps
        ),
        discriminator_optimizer=make_optimizer(
            optimizer.discriminator, "optimizer.discriminator", steps_per_epoch, num_steps=num_steps
        ),
        adversarial=adversarial_loss(settings.loss.name),
        weights=settings.loss,
        average_decay=model.average_decay,
        difference=model.difference,
        dtype=settings.train.dtype,
        batch_norm=settings.train.batch_norm,
    )


def init_state(
    settings: TranslateSettings, translator: Translator, card: DataCard, rng: Key[Array, ""]
) -> PairedState | CycleState:
    """Returns the state at step 0."""
    if settings.model.name == "cyclegan":
        return _init_cycle(translator, card, settings.model.pool_size, rng)
    return _init_paired(translator, card, rng)


def average_of(state: PairedState | CycleState, back: bool = False) -> Variables:
    """Returns the variables of the generator that translates images, or `back` to images."""
    if not back:
        return state.average
    assert isinstance(state, CycleState)
    return state.back_average


def _init_paired(translator: Translator, card: DataCard, rng: Key[Array, ""]) -> PairedState:
    """Returns the state of pix2pix; its discriminator sees the image and its target."""
    generator_key, discriminator_key = jax.random.split(rng)
    generator, average = _new_generator(translator, card, generator_key)
    return PairedState(
        step=jnp.zeros((), jnp.int32),
        generator=generator,
        discriminator=_new_discriminator(translator, card, 2 * card.channels, discriminator_key),
        average=average,
    )


def _init_cycle(
    translator: Translator, card: DataCard, pool_size: int, rng: Key[Array, ""]
) -> CycleState:
    """Returns the state of CycleGAN, its pools empty."""
    keys = jax.random.split(rng, 4)
    generator, average = _new_generator(translator, card, keys[0])
    back_generator, back_average = _new_generator(translator, card, keys[1])
    pool = Pool.empty(pool_size, card.image_size, card.channels)
    return CycleState(
        step=jnp.zeros((), jnp.int32),
        generator=generator,
        discriminator=_new_discriminator(translator, card, card.channels, keys[2]),
        average=average,
        pool=pool,
        back_generator=back_generator,
        back_discriminator=_new_discriminator(translator, card, card.channels, keys[3]),
        back_average=back_average,
        back_pool=jax.tree.map(jnp.copy, pool),
    )


def _make_generator(model: TranslateModel, channels: int) -> UNet | ResidualGenerator:
    generator: UNet | ResidualGenerator
    if model.generator == "residual":
        generator = ResidualGenerator(channels, model.width, model.blocks)
    else:
        generator = UNet(
            out_channels=channels,
            width=model.width,
            depth=model.depth,
            momentum=model.momentum,
            epsilon=model.epsilon,
        )
    if model.difference:  # it begins at none, and the translation at its image
        generator = generator.clone(output_init=nn.initializers.zeros)
    return generator


def _new_generator(
    translator: Translator, card: DataCard, key: Key[Array, ""]
) -> tuple[NetworkState, Variables]:
    images = jnp.zeros((1, card.image_size, card.image_size, card.channels))
    made: Any = translator.generator.init(key, images, train=True)
    network = NetworkState.create(made, translator.generator_optimizer)
    return network, network.learning


def _new_discriminator(
    translator: Translator, card: DataCard, channels: int, key: Key[Array, ""]
) -> NetworkState:
    images = jnp.zeros((1, card.image_size, card.image_size, channels))
    made: Any = translator.discriminator.init(key, images, train=True)
    return NetworkState.create(made, translator.discriminator_optimizer)


def _check_data(name: str, card: DataCard) -> None:
    """Refuses data that are no pairs, or no two domains."""
    if card.has_targets:
        return
    if name == "pix2pix":
        raise UserError(
            f"config.model.name is 'pix2pix', which learns from pairs, but the images of"
            f" {card.name} have no targets; put those of DIR/images/a.png into DIR/targets/a.png,"
            " name two channels as in --config.data.take='R>G', or learn without pairs with"
            " configs/cyclegan_brain_mri.py."
        )
    if len(card.classes) != 2:
        found = ", ".join(card.classes)
        raise UserError(
            f"config.model.name is 'cyclegan', which translates between two kinds of images, but"
            f" {card.name} has {'one' if len(card.classes) == 1 else len(card.classes)} ({found});"
            " put the images of each kind into a folder of its own, or name two with"
            " --config.data.only=A,B"
        )


def _check_size(multiple: int, image_size: int) -> None:
    least = -(-SMALLEST // multiple) * multiple
    if image_size % multiple or image_size < SMALLEST:
        near = max(least, round(image_size / multiple) * multiple)
        raise UserError(
            f"config.data.image_size is {image_size}; the networks take multiples of {multiple}"
            f" from {least} on, such as --config.data.image_size={near}"
        )
