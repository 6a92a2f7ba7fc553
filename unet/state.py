"""The fixed parts of training a segmentation network, and its initial state."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import optax
from jaxtyping import Array, Key
from ml_collections import ConfigDict

from common.config.defaults import OptimizerSettings
from common.data.prepared.prepared import DataCard
from common.learning.network import SupervisedState
from common.learning.optimizers import make_optimizer
from common.networks.unet import UNet
from common.program.errors import UserError
from unet.losses import LOSSES, LossSettings


@dataclass(frozen=True)
class Segmenter:
    """What training does not change.

    Attributes:
      network: images -> logits.
      optimizer: its update rule.
      classes: of the masks, the background first.
      input: the kind of input, see `unet.inputs`.
      weights: of the losses, by name.
      loss: settings of the losses.
      average_decay: of the moving average; 0 turns it off.
      dtype: what the network computes in, in training.
    """

    network: UNet
    optimizer: optax.GradientTransformation
    classes: tuple[str, ...]
    input: str
    weights: Mapping[str, float]
    loss: LossSettings
    average_decay: float
    dtype: str = "float32"


def make_segmenter(config: ConfigDict, card: DataCard) -> Segmenter:
    """Builds the fixed parts that a config describes.

    Raises:
      UserError: the data has no masks, or a setting is invalid.
    """
    _check(config, card)
    model, loss = config.model, config.loss
    num_classes = len(card.mask_classes)
    network = UNet(
        out_channels=1 if num_classes == 2 else num_classes,
        width=model.width,
        depth=model.depth,
        norm_output=model.norm_output,
        momentum=model.momentum,
        epsilon=model.epsilon,
    )
    if card.image_size % network.multiple:
        near = max(1, round(card.image_size / network.multiple)) * network.multiple
        raise UserError(
            f"config.data.image_size is {card.image_size}; {model.depth} levels halve it"
            f" {model.depth - 1} times, so make it a multiple of {network.multiple}, such as"
            f" --config.data.image_size={near}, or change config.model.depth."
        )
    return Segmenter(
        network=network,
        optimizer=make_optimizer(
            OptimizerSettings.of(config.optimizer),
            "optimizer",
            card.num_examples["train"] / config.data.batch_size,
            num_steps=config.train.num_steps,
        ),
        classes=card.mask_classes,
        input=model.input,
        weights={name: float(loss[name]) for name in LOSSES},
        loss=LossSettings(
            loss.focal_gamma, loss.tversky_alpha, loss.tversky_beta, loss.overlap_over
        ),
        average_decay=model.average_decay,
        dtype=config.train.dtype,
    )


def _check(config: ConfigDict, card: DataCard) -> None:
    """Refuses data without masks and invalid settings."""
    if not card.mask_classes:
        raise UserError(
            f"config.task is 'unet', but the images of {card.name} have no masks; put images into"
            " DIR/images and masks of the same names into DIR/masks, see docs/own_data.md."
        )
    if not any(config.loss[name] for name in LOSSES):
        raise UserError(
            f"config.loss gives no loss a weight; set one of {', '.join(sorted(LOSSES))} above 0."
        )


def init_state(segmenter: Segmenter, card: DataCard, rng: Key[Array, ""]) -> SupervisedState:
    """Returns the state at step 0."""
    size = segmenter.network.multiple
    made: Any = segmenter.network.init(rng, jnp.zeros((1, size, size, card.channels)), train=True)
    return SupervisedState.create(made, segmenter.optimizer)
