"""Everything that a GAN's training changes, as one pytree, and the parts that stay fixed."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key

from common.config.durations import steps
from common.data.augmentation import Augmentation
from common.data.prepared.prepared import DataCard
from common.learning.network import NetworkState, Variables, may_be_missing
from common.learning.optimizers import holding, make_optimizer
from common.networks.layers import with_statistics
from common.program.errors import UserError
from common.training.task import Batches
from gan.config import GANSettings, PlayerOptimizer
from gan.controls import Controls
from gan.losses import AdversarialLoss, adversarial_loss
from gan.networks import Networks, make_networks
from gan.terms import TERMS, averages_of


@may_be_missing("controls")
@flax.struct.dataclass
class GANState:
    """A GAN in training.

    `average` is the moving average of the generator's parameters. `controls` are small arrays that
    training changes by rule instead of by gradients: see gan/controls.py.
    """

    step: Any  # int32 []: the number of steps made (a shape where trees are traced)
    generator: NetworkState
    discriminator: NetworkState
    average: Variables
    controls: Variables = flax.struct.field(default_factory=dict)


class Weights(NamedTuple):
    """The weights of the losses' parts; a part of weight 0 is not computed.

    Attributes:
      discriminator: of the sum over real and generated images in the discriminator's loss.
      class_loss: beside the adversarial loss, in both players' losses.
      terms: further parts, by their names in `gan.terms.TERMS`.
      class_rise: the number of steps in which the weight of the class loss rises from 0.
      generator: of all but the terms in the generator's loss.
    """

    discriminator: float
    class_loss: float
    terms: Mapping[str, float]
    class_rise: int = 0
    generator: float = 1.0

    def of_class(self, step: Int[Array, ""]) -> float | Float[Array, ""]:
        """Returns the weight of the class loss in the step after so many."""
        if not self.class_rise:
            return self.class_loss
        return self.class_loss * jnp.minimum(step / self.class_rise, 1)


@dataclass(frozen=True)
class GAN:
    """What training does not change.

    Attributes:
      networks: generator and discriminator.
      generator_optimizer: its update rule.
      discriminator_optimizer: its update rule.
      batches: of real images, one for each update of the discriminator in a step.
      half_batches: whether the generator's batch is twice as large as the discriminator's.
      num_classes: labels are 0 .. num_classes - 1.
      latent: the distribution of latents, "normal" or "uniform".
      loss: what the players minimise.
      class_loss: what it is: see `GANLoss`.
      class_of_generated: whether the discriminator learns the class from generated images, too.
      weights: of the parts of the losses.
      penalty_every: the steps between lazy terms.
      average_decay: of the moving average of the generator; 0 turns it off.
      accumulate: how many parts each player's gradient is the mean of.
      augmentation: how images, real and generated, are varied before the discriminator sees them.
      consistency: how images are varied whose decisions the consistency terms compare.
      controls: the rules by which training changes `GANState.controls`.
      dtype: what the networks compute in, in training.
      batch_norm: "synchronised", or of each "device".
    """

    networks: Networks
    generator_optimizer: optax.GradientTransformation
    discriminator_optimizer: optax.GradientTransformation
    batches: Batches
    half_batches: bool
    num_classes: int
    latent: str
    loss: AdversarialLoss
    class_loss: str
    weights: Weights
    penalty_every: int
    average_decay: float
    class_of_generated: bool = True
    accumulate: int = 1
    augmentation: Augmentation = field(default_factory=Augmentation)
    consistency: Augmentation = field(default_factory=Augmentation)
    controls: Controls = field(default_factory=Controls)
    dtype: str = "float32"
    batch_norm: str = "synchronised"

    @property
    def latent_size(self) -> int:
        """Returns the length of a latent."""
        return int(self.networks.generator.latent_size)

    @property
    def conditional(self) -> bool:
        """Returns whether the generator draws the class that it is given."""
        return bool(self.networks.generator.conditional)


def make_gan(settings: GANSettings, card: DataCard) -> GAN:
    """Builds the fixed parts that a config describes.

    Raises:
      UserError: a setting is invalid.
    """
    _check(settings)
    made, batch_norm = make_networks(settings.model, card), settings.train.batch_norm
    networks = Networks(*(with_statistics(network, batch_norm) for network in made))
    _check_labels(settings, networks)
    optimizer, loss = settings.optimizer, settings.loss
    half = optimizer.half_batches
    batches = Batches(optimizer.discriminator_steps, settings.data.batch_size // (1 + half))
    steps_per_epoch = card.num_examples["train"] / batches.examples
    num_steps = settings.train.num_steps
    terms = {name: loss.terms[name] for name in TERMS if loss.terms.get(name)}
    return GAN(
        networks=networks,
        generator_optimizer=_optimizer(
            optimizer.generator, "generator", steps_per_epoch, 1, num_steps
        ),
        discriminator_optimizer=_optimizer(
            optimizer.discriminator, "discriminator", steps_per_epoch, batches.number, num_steps
        ),
        batches=batches,
        half_batches=half,
        num_classes=len(card.classes),
        latent=settings.model.latent,
        loss=adversarial_loss(loss.name, loss.label_smoothing),
        class_loss=loss.class_loss,
        class_of_generated=loss.class_of_generated,
        weights=Weights(
            loss.discriminator_weight,
            loss.class_weight,
            terms,
            steps(loss.class_weight_rise, steps_per_epoch, num_steps),
            loss.generator_weight,
        ),
        penalty_every=loss.penalty_every,
        average_decay=settings.model.average_decay,
        accumulate=optimizer.accumulate,
        augmentation=settings.discriminator_augment,
        consistency=settings.consistency_augment,
        controls=Controls(
            averages_of(terms),
            settings.adaptive_augment.target,
            steps(settings.adaptive_augment.rise, steps_per_epoch, num_steps),
        ),
        dtype=settings.train.dtype,
        batch_norm=batch_norm,
    )


def _optimizer(
    settings: PlayerOptimizer, player: str, steps_per_epoch: float, updates: int, num_steps: str
) -> optax.GradientTransformation:
    name = f"optimizer.{player}"
    optimizer = make_optimizer(settings, name, steps_per_epoch, updates, num_steps)
    return holding(optimizer, settings.freeze, f"config.{name}.freeze")


def _check(settings: GANSettings) -> None:
    """Refuses invalid settings of a GAN."""
    loss, half = settings.loss, settings.optimizer.half_batches
    relative = adversarial_loss(loss.name, loss.label_smoothing).relative
    if half and settings.data.batch_size % 2:
        raise UserError(
            f"config.data.batch_size is {settings.data.batch_size}, which is odd, but"
            " config.optimizer.half_batches is on; make it even."
        )
    parts = settings.optimizer.accumulate * (1 + half)
    if settings.data.batch_size % parts:
        raise UserError(
            f"config.data.batch_size is {settings.data.batch_size}; config.optimizer.accumulate"
            f" divides it into {parts} equal parts, so make it a multiple of {parts}."
        )
    if half and relative:
        raise UserError(
            f"config.loss.name is {loss.name!r}, which compares each generated image with a real"
            " one, but config.optimizer.half_batches gives the generator's update more images"
            " than there are real ones; set it to False."
        )
    compared = [x for x in loss.terms if x.startswith("consistency_") and loss.terms[x]]
    if compared and not settings.consistency_augment.is_on:
        raise UserError(
            f"config.loss.{compared[0]} is {loss.terms[compared[0]]}, but"
            " config.consistency_augment varies nothing; say what it varies, such as"
            " --config.consistency_augment.translation=0.125, or set the weight to 0."
        )
    used = [TERMS[name].player for name, weight in loss.terms.items() if weight and name in TERMS]
    if not loss.generator_weight and "generator" not in used:
        raise UserError(
            "config.loss.generator_weight is 0, and the generator has no term to learn by; give"
            " one a weight, such as --config.loss.feature_matching=1."
        )
    _check_adaptive(settings)


def _check_labels(settings: GANSettings, networks: Networks) -> None:
    """Refuses images without a label for networks that need the class of each."""
    if settings.data.hides_labels and networks.generator.conditional:
        raise UserError(
            "config.data.unlabelled is 'keep', but the networks of config.model need the class of"
            " each image; take 'drop', or an unconditional network such as dcgan."
        )


def _check_adaptive(settings: GANSettings) -> None:
    """Refuses an adaptive augmentation that can't adapt, or has nothing to adapt."""
    target, loss = settings.adaptive_augment.target, settings.loss
    if not target:
        return
    if not settings.discriminator_augment.is_on:
        raise UserError(
            f"config.adaptive_augment.target is {target}, but config.discriminator_augment varies"
            " nothing; say what it varies, such as"
            " --config.discriminator_augment.translation=0.125, or set the target to 0."
        )
    if adversarial_loss(loss.name, loss.label_smoothing).threshold is None:
        raise UserError(
            f"config.adaptive_augment.target is {target}, but with the loss {loss.name!r} the sign"
            " of a logit means nothing; set the target to 0, or take another config.loss.name."
        )


def init_state(gan: GAN, card: DataCard, rng: Key[Array, ""]) -> GANState:
    """Returns the state at step 0."""
    generator_key, discriminator_key = jax.random.split(rng)
    latents, labels = jnp.zeros((1, gan.latent_size)), jnp.zeros(1, jnp.int32)
    images = jnp.zeros((1, card.image_size, card.image_size, card.channels))
    generator_variables: Any = gan.networks.generator.init(
        generator_key,
        latents,
        labels,
        train=True,
        noise_keys=jax.random.split(generator_key, 1) if gan.networks.generator.noisy else None,
    )
    discriminator: Any = gan.networks.discriminator.init(
        discriminator_key, images, labels, train=True
    )
    generator = NetworkState.create(generator_variables, gan.generator_optimizer)
    return GANState(
        step=jnp.zeros((), jnp.int32),
        generator=generator,
        discriminator=NetworkState.create(discriminator, gan.discriminator_optimizer),
        average=generator.params,
        controls=gan.controls.at_first,
    )


def load_frozen(gan: GAN, state: GANState, *, discriminator: bool = True) -> GANState:
    """Returns a state, or its shapes, with the networks' weights that do not learn."""
    players = {"generator": gan.networks.generator}
    if discriminator:
        players["discriminator"] = gan.networks.discriminator
    loaded = {
        name: replace(getattr(state, name), frozen=player.load_frozen())
        for name, player in players.items()
    }
    return replace(state, **loaded)
