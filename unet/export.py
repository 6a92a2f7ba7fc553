"""--mode=export of a segmentation network: windows of pixels in, probabilities of classes out."""

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial

import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8

from common.export.model import Model, Values
from common.export.write import write_model
from common.learning.network import Variables
from common.runs.evaluation import average_of
from common.runs.workdir import Run
from unet.decision import known_decision
from unet.flags import UNetOptions
from unet.inputs import input_scale
from unet.segment import load_networks, probabilities_of
from unet.state import Segmenter


def export(run: Run, options: UNetOptions) -> None:
    """Writes the network, of an ensemble the mean of all, for other programs: see common/export.

    Raises:
      UserError: there is no checkpoint, or --output can't be used.
    """
    write_model(run, options, _model)


def _model(run: Run) -> Model:
    networks, step = load_networks(run)
    average = average_of(run, "")
    card, side = run.card, run.card.image_size
    facts: dict[str, object] = {"mask_classes": list(card.mask_classes)}
    if len(card.mask_classes) == 2:
        facts |= asdict(known_decision(run, UNetOptions(), step))
    return Model(
        partial(_probabilities, networks, average),
        {"images": Values((side, side, card.channels), "uint8", "pixels, 0 to 255")},
        Values(
            (side, side, len(card.mask_classes)),
            "float32",
            "the probability of each class at each pixel",
        ),
        step,
        facts,
    )


def _probabilities(
    networks: Sequence[tuple[Segmenter, Variables]],
    average: str,
    images: UInt8[Array, "batch height width channels"],
) -> Float[Array, "batch height width classes"]:
    """Returns the mean of the networks, which see each image scaled alike."""
    shift, scale = (jnp.asarray(x) for x in input_scale(images, networks[0][0].input))
    each = [
        probabilities_of(network, variables, images, shift, scale, average)
        for network, variables in networks
    ]
    total: Array = sum(each[1:], start=each[0])
    return total / len(each)
