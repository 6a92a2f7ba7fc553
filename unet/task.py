"""The segmentation task: what the loop and the modes call."""

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, UInt8
from ml_collections import ConfigDict

from common.data.prepared.prepared import DataCard
from common.data.transforms import augment
from common.devices.lowering import Program
from common.learning.accumulation import joined, mean_gradient
from common.learning.network import NetworkState, SupervisedState, Variables, advanced
from common.learning.precision import narrow, widen
from common.learning.randomness import example_keys
from common.program.memory import low_memory_options
from common.report.images import Picture
from common.scores.metrics import (
    averages_and_scores,
    by_convention,
    confusion_matrix,
    segmentation_scores,
)
from common.training.task import Batch, Batches, Examples, Metrics, Task
from unet.config import UNetSettings
from unet.evaluate import evaluate
from unet.export import export
from unet.inputs import network_input
from unet.losses import deep_loss, log_probabilities, total_loss
from unet.masks import open_segmenter
from unet.panels import training_panels
from unet.predict import open_predictor, predict
from unet.segment import probabilities_of
from unet.state import Segmenter, init_state, make_segmenter, with_weights

# A mode is a function of this module.
__all__ = [
    "UNetTask",
    "evaluate",
    "export",
    "make_task",
    "open_predictor",
    "open_segmenter",
    "predict",
]

_AUGMENTATION = 0  # purpose of random keys

Logits = Float[Array, "batch height width outputs"]


class UNetTask(Task[SupervisedState]):
    """Supervised training of a segmentation network on images and their masks."""

    settings: UNetSettings

    def __init__(self, settings: UNetSettings, segmenter: Segmenter, card: DataCard) -> None:
        super().__init__(settings, card)
        self.segmenter = segmenter
        self._segment = jax.jit(partial(_segment, segmenter), compiler_options=low_memory_options())

    @property
    def batches(self) -> Batches:
        """Returns the parts of a batch whose gradients are accumulated."""
        return Batches.in_parts(self.settings.data.batch_size, self.settings.optimizer.accumulate)

    def init(self, rng: Key[Array, ""]) -> SupervisedState:
        """Returns the state at step 0."""
        state: SupervisedState = jax.jit(partial(init_state, self.segmenter, self.card))(rng)
        return state

    def warm_start(self, state: SupervisedState) -> SupervisedState:
        """Returns the state with the published weights of its encoder, if it has some."""
        return with_weights(self.settings, state)

    def train_step(
        self, state: SupervisedState, batch: Batch, rng: Key[Array, ""]
    ) -> tuple[SupervisedState, Metrics]:
        """Updates the network once; the metrics are of the augmented batch."""
        segmenter, network = self.segmenter, state.network
        keys = example_keys(rng, _AUGMENTATION, batch["position"])
        batch = augment(batch, keys, self.settings.augment)
        gradients, batch_stats, outputs = mean_gradient(
            partial(self._gradient, network),
            network.params,
            network.batch_stats,
            self.batches.split(batch),
            state.step >= 0,
        )
        logits, losses = joined(outputs)
        state, norm = advanced(
            state,
            segmenter.optimizer,
            gradients,
            batch_stats,
            segmenter.average_decay,
            self.settings.train.batch_norm,
        )
        return state, self._metrics(logits, batch, {**losses, "gradient_norm": norm})

    def _gradient(
        self, network: NetworkState, batch_stats: Variables, batch: Batch
    ) -> tuple[Variables, tuple[Variables, tuple[Logits, dict[str, Array]]]]:
        segmenter = self.segmenter
        images = network_input(batch["image"], segmenter.input)

        def loss(
            params: Variables,
        ) -> tuple[Float[Array, ""], tuple[Variables, tuple[Logits, dict[str, Array]]]]:
            variables = {"params": params, "batch_stats": batch_stats}
            logits, changed = segmenter.network.apply(
                variables,
                narrow(images, segmenter.dtype),
                train=True,
                mutable=["batch_stats", "intermediates"],
            )
            logits, smaller = widen(logits), jax.tree.map(widen, changed.get("intermediates", {}))
            total, parts = total_loss(logits, batch["mask"], segmenter.loss)
            total = deep_loss(smaller, total, batch["mask"], segmenter.loss)
            return total.mean(), (changed["batch_stats"], (logits, {"loss": total, **parts}))

        gradient, output = jax.grad(loss, has_aux=True)(network.params)
        return gradient, output

    def eval_step(self, state: SupervisedState, batch: Batch) -> Metrics:
        """Segments held-out images; the classes are the likeliest ones (a threshold of 1/2)."""
        segmenter = self.segmenter
        images = network_input(batch["image"], segmenter.input)
        logits: Any = segmenter.network.apply(state.average, images, train=False)
        # Over the batch, the loss would depend on which images, and what padding, it holds.
        each = replace(segmenter.loss, overlap_over="image")
        total, parts = total_loss(logits, batch["mask"], each)
        return self._metrics(logits, batch, {"loss": total, **parts})

    def programs(self, state: SupervisedState, size: int) -> dict[str, Program]:
        """Returns the segmentation of a batch of windows."""
        card = self.card
        shape = (size, card.image_size, card.image_size, card.channels)
        windows = jax.ShapeDtypeStruct(shape, jnp.uint8)
        each = jax.ShapeDtypeStruct((size, 1, 1, card.channels), jnp.float32)
        segment = partial(probabilities_of, self.segmenter)
        return {
            "predict": Program(segment, (state.average, windows, each, each), (1, 2, 3), (), True)
        }

    def pictures(self, state: SupervisedState, examples: Examples) -> dict[str, Picture]:
        """Returns training images beside their true and predicted masks."""
        return {"segments": training_panels(self._segment, state, self.card, examples)}

    def _metrics(self, logits: Logits, batch: Batch, values: dict[str, Array]) -> Metrics:
        """Returns pooled scores, and means over images under names of their own."""
        classes = self.segmenter.classes
        predicted = log_probabilities(logits).argmax(-1)
        confusion = confusion_matrix(batch["mask"], predicted, len(classes))
        scores = by_convention(confusion)
        values |= {f"{name}_per_image": scores[name][:, 1:].mean(-1) for name in ("iou", "dice")}
        return averages_and_scores(
            values, confusion, segmentation_scores(classes), batch.get("valid")
        )


def _segment(
    segmenter: Segmenter, variables: Variables, images: UInt8[Array, "batch height width channels"]
) -> Int[Array, "batch height width"]:
    """Returns the likeliest class of every pixel."""
    logits: Any = segmenter.network.apply(
        variables, network_input(images, segmenter.input), train=False
    )
    return log_probabilities(logits).argmax(-1)


def make_task(config: ConfigDict, card: DataCard) -> UNetTask:
    """Builds the task that a config describes.

    Raises:
      UserError: the data has no masks, or a setting is invalid.
    """
    settings = UNetSettings.of(config)
    return UNetTask(settings, make_segmenter(settings, card), card)
