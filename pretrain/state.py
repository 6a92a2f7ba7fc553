"""The fixed parts of a pretraining, its initial state, and the features that it gives images."""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key, UInt8

from classify.networks import make_network
from common.data.prepared.prepared import DataCard
from common.data.transforms import to_unit
from common.learning.network import SupervisedState, Variables
from common.learning.optimizers import make_optimizer
from common.networks.layers import with_statistics
from common.program.errors import UserError
from common.training.task import Batches, Pairs
from pretrain.config import PretrainSettings
from pretrain.losses import normalised
from pretrain.network import PretrainedNetwork


@dataclass(frozen=True)
class Pretraining:
    """What training does not change.

    Attributes:
      network: images in [0, 1] -> features and their projections.
      optimizer: its update rule.
      batches: what a step takes: images and, if views are of two images, their partners.
    """

    network: Any
    optimizer: optax.GradientTransformation
    batches: Batches


def make_pretraining(settings: PretrainSettings, card: DataCard) -> Pretraining:
    """Builds the fixed parts that a config describes.

    Raises:
      UserError: a setting is invalid.
    """
    size, model = settings.data.batch_size, settings.model
    if size < 2:
        raise UserError(
            f"config.data.batch_size is {size}, but a network learns what images have in common,"
            " and what not, from several of them; make it 2 or more, better 128."
        )
    if not model.projector:
        raise UserError("config.model.projector is empty; name the widths of its layers.")
    batches = Pairs.of(size) if settings.loss.positives == "patient" else Batches(1, size)
    steps_per_epoch = card.num_examples["train"] / batches.examples
    optimizer = make_optimizer(
        settings.optimizer, "optimizer", steps_per_epoch, num_steps=settings.train.num_steps
    )
    statistics = settings.train.batch_norm
    trunk = with_statistics(make_network(model, 0), statistics)
    network = with_statistics(PretrainedNetwork(trunk, model.projector), statistics)
    return Pretraining(network, optimizer, batches)


def init_state(pretraining: Pretraining, card: DataCard, rng: Key[Array, ""]) -> SupervisedState:
    """Returns the state at step 0, drawn at random."""
    images = jnp.zeros((1, card.image_size, card.image_size, card.channels))
    made = pretraining.network.init(rng, images, train=True)
    return SupervisedState.create(made, pretraining.optimizer)


def features_of(
    pretraining: Pretraining,
    variables: Variables,
    images: UInt8[Array, "num height width channels"],
) -> Float[Array, "num features"]:
    """Returns the trunk's features of stored images, each of length 1."""
    features, _ = pretraining.network.apply(variables, to_unit(images), train=False)
    return normalised(features)
