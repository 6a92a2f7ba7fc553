"""All that a GAN's training changes, as one pytree, and the fixed parts that it belongs to."""

from dataclasses import dataclass
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Key
from ml_collections import ConfigDict

from common.data.prepared import DataCard
from gan.networks import Networks, make_networks

Variables = dict[str, Any]  # a tree of arrays, named as the modules are


@flax.struct.dataclass
class NetworkState:
    """One network: parameters, running statistics of BatchNorm, state of its optimizer."""

    params: Variables
    batch_stats: Variables
    opt_state: optax.OptState

    @property
    def variables(self) -> Variables:
        """Returns what `module.apply` takes."""
        return {"params": self.params, "batch_stats": self.batch_stats}


@flax.struct.dataclass
class GANState:
    """A GAN in training; `average` is the moving average of the generator's parameters."""

    step: Any  # int32 []: how many steps were made (also a shape, where trees are traced)
    generator: NetworkState
    discriminator: NetworkState
    average: Variables


@dataclass(frozen=True)
class GAN:
    """What training does not change.

    Attributes:
      networks: generator and discriminator.
      generator_optimizer: its update rule.
      discriminator_optimizer: its update rule.
      num_classes: labels are 0 .. num_classes - 1.
      class_weight: of the class loss beside the adversarial loss.
      average_decay: of the moving average of the generator; 0 turns it off.
    """

    networks: Networks
    generator_optimizer: optax.GradientTransformation
    discriminator_optimizer: optax.GradientTransformation
    num_classes: int
    class_weight: float
    average_decay: float

    @property
    def latent_size(self) -> int:
        """Returns the length of a latent."""
        return int(self.networks.generator.latent_size)


def make_gan(config: ConfigDict, card: DataCard) -> GAN:
    """Builds the fixed parts that a config describes."""
    optimizer = config.optimizer
    return GAN(
        networks=make_networks(config.model, card),
        generator_optimizer=_adam(optimizer.generator),
        discriminator_optimizer=_adam(optimizer.discriminator),
        num_classes=len(card.classes),
        class_weight=config.loss.class_weight,
        average_decay=config.model.average_decay,
    )


def init_state(gan: GAN, card: DataCard, rng: Key[Array, ""]) -> GANState:
    """Returns the state at step 0."""
    generator_key, discriminator_key = jax.random.split(rng)
    latents, labels = jnp.zeros((1, gan.latent_size)), jnp.zeros(1, jnp.int32)
    images = jnp.zeros((1, card.image_size, card.image_size, card.channels))
    generator: Any = gan.networks.generator.init(generator_key, latents, labels, train=True)
    discriminator: Any = gan.networks.discriminator.init(discriminator_key, images, train=True)
    return GANState(
        step=jnp.zeros((), jnp.int32),
        generator=_network_state(generator, gan.generator_optimizer),
        discriminator=_network_state(discriminator, gan.discriminator_optimizer),
        average=generator["params"],
    )


def _network_state(variables: Variables, optimizer: optax.GradientTransformation) -> NetworkState:
    params = variables["params"]
    return NetworkState(params, variables.get("batch_stats", {}), optimizer.init(params))


def _adam(settings: ConfigDict) -> optax.GradientTransformation:
    return optax.adam(
        settings.learning_rate, b1=settings.beta1, b2=settings.beta2, eps=settings.epsilon
    )
