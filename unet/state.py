"""The fixed parts of training a segmentation network, and its initial state."""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import optax
from jaxtyping import Array, Key

from common.data.prepared.prepared import DataCard
from common.learning.network import SupervisedState
from common.learning.optimizers import holding, make_optimizer
from common.networks.efficientnet_lite import HALVED, STAGES, published_variables
from common.networks.layers import with_statistics
from common.networks.unet import UNet
from common.program.errors import UserError
from common.training.published import weights_file, with_published
from unet.config import ENCODERS, UNetLoss, UNetSettings
from unet.inputs import TO_UNIT
from unet.losses import LOSSES


@dataclass(frozen=True)
class Segmenter:
    """What training does not change.

    Attributes:
      network: images -> logits.
      optimizer: its update rule.
      classes: of the masks, the background first.
      input: the kind of input, see `unet.inputs`.
      loss: weights and settings of the losses.
      average_decay: of the moving average; 0 turns it off.
      dtype: what the network computes in, in training.
    """

    network: UNet
    optimizer: optax.GradientTransformation
    classes: tuple[str, ...]
    input: str
    loss: UNetLoss
    average_decay: float
    dtype: str = "float32"


def make_segmenter(settings: UNetSettings, card: DataCard) -> Segmenter:
    """Builds the fixed parts that a config describes.

    Raises:
      UserError: the data has no masks, or a setting is invalid.
    """
    _check(settings.loss, card)
    _check_encoder(settings, card)
    model, num_classes = settings.model, len(card.mask_classes)
    frozen = STAGES[: settings.optimizer.frozen]
    optimizer = make_optimizer(
        settings.optimizer,
        "optimizer",
        card.num_examples["train"] / settings.data.batch_size,
        num_steps=settings.train.num_steps,
    )
    made = UNet(
        out_channels=1 if num_classes == 2 else num_classes,
        width=model.width,
        depth=model.depth,
        norm_output=model.norm_output,
        residual_blocks=model.residual_blocks,
        deep_supervision=model.deep_supervision,
        momentum=model.momentum,
        epsilon=model.epsilon,
        encoder=model.encoder,
        frozen=len(frozen),
        to_unit=TO_UNIT[model.input],
    )
    network = with_statistics(made, settings.train.batch_norm)
    if card.image_size % network.multiple:
        near = max(1, round(card.image_size / network.multiple)) * network.multiple
        raise UserError(
            f"config.data.image_size is {card.image_size}; {model.depth} levels halve it"
            f" {model.depth - 1} times, so make it a multiple of {network.multiple}, such as"
            f" --config.data.image_size={near}, or change config.model.depth."
        )
    return Segmenter(
        network=network,
        optimizer=holding(
            optimizer, f"^({'|'.join(frozen)})_" if frozen else "", "config.optimizer.frozen"
        ),
        classes=card.mask_classes,
        input=model.input,
        loss=settings.loss,
        average_decay=model.average_decay,
        dtype=settings.train.dtype,
    )


def _check(loss: UNetLoss, card: DataCard) -> None:
    """Refuses data without masks and invalid settings."""
    if not card.mask_classes:
        raise UserError(
            f"config.task is 'unet', but the images of {card.name} have no masks; put images into"
            " DIR/images and masks of the same names into DIR/masks, see docs/own_data.md."
        )
    if not any(getattr(loss, name) for name in LOSSES):
        raise UserError(
            f"config.loss gives no loss a weight; set one of {', '.join(sorted(LOSSES))} above 0."
        )


def _check_encoder(settings: UNetSettings, card: DataCard) -> None:
    """Refuses what the encoder can't be used with."""
    model, frozen = settings.model, settings.optimizer.frozen
    if model.encoder not in ENCODERS:
        if frozen:
            raise UserError(
                f"config.optimizer.frozen is {frozen}, but config.model.encoder, {model.encoder!r},"
                f" has no stages to freeze; set it to 0, or name one of {', '.join(ENCODERS)}."
            )
        return
    deepest = 1 + len(HALVED)
    if not 2 <= model.depth <= deepest:
        raise UserError(
            f"config.model.depth is {model.depth}, but {model.encoder} halves images at most"
            f" {len(HALVED)} times; make it 2 to {deepest}."
        )
    last = HALVED[model.depth - 2]
    if frozen > (number := STAGES.index(last) + 1):
        raise UserError(
            f"config.optimizer.frozen is {frozen}, but of {model.encoder} a U-Net of"
            f" {model.depth} levels has {number} stages; make it 0 to {number}."
        )
    if card.channels not in (1, 3):
        raise UserError(
            f"{model.encoder} sees images of 1 or 3 channels, but with config.data.neighbours these"
            f" have {card.channels}; set --config.data.channels=1 and --config.data.neighbours=1,"
            " or --config.data.neighbours=0."
        )


def with_weights(settings: UNetSettings, state: SupervisedState) -> SupervisedState:
    """Returns a state whose encoder starts from the published weights of `config.model.weights`.

    Raises:
      UserError: they can't be read, or are those of another network.
    """
    model = settings.model
    if model.encoder not in ENCODERS or not model.weights:
        return state
    file = weights_file(model.weights, model.weights_sha256, settings.data.cache_dir)
    trunk = published_variables(ENCODERS.index(model.encoder), file, model.weights_sha256)
    own = state.network.variables
    found = {
        kind: {name: layers[name] for name in layers.keys() & own[kind].keys()}
        for kind, layers in trunk.items()
    }
    return with_published(state, found, str(file or model.weights))


def init_state(segmenter: Segmenter, card: DataCard, rng: Key[Array, ""]) -> SupervisedState:
    """Returns the state at step 0."""
    size = segmenter.network.multiple
    made: Any = segmenter.network.init(rng, jnp.zeros((1, size, size, card.channels)), train=True)
    return SupervisedState.create(made, segmenter.optimizer)
