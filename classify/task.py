"""The classification task: what the loop and the modes call."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, UInt8
from ml_collections import ConfigDict

from classify.config import ClassifierSettings
from classify.evaluate import evaluate
from classify.export import export
from classify.features import with_features
from classify.inference import logits_of
from classify.judge import make_judge
from classify.losses import (
    binary_cross_entropy,
    cross_entropy,
    finding_targets,
    mixup,
    targets_of,
)
from classify.networks import find_network
from classify.predict import open_predictor, predict
from classify.state import (
    Classifier,
    init_state,
    make_classifier,
    path_of,
    with_weights,
)
from common.data.prepared.prepared import DataCard, Prepared
from common.data.transforms import augment, to_unit
from common.devices.lowering import Program
from common.learning.accumulation import joined, mean_gradient
from common.learning.network import SupervisedState, Variables, advanced
from common.learning.precision import narrow, widen
from common.learning.randomness import example_keys
from common.program.memory import low_memory_options
from common.report.images import Picture, grid, titled, zoom_for
from common.scores.metrics import averages_and_scores, classification_scores, confusion_matrix
from common.training.task import Batch, Batches, Examples, Metrics, Task

__all__ = [
    "ClassifyTask",
    "evaluate",
    "export",
    "make_judge",
    "make_task",
    "open_predictor",
    "predict",
]  # a mode is a function of this module

_AUGMENTATION, _DROPOUT, _MIXUP = range(3)  # purposes of random keys
_SHOWN = 32
_PRESENCE = ("absent", "present")  # of a finding

Logits = Float[Array, "batch classes"]


class ClassifyTask(Task[SupervisedState]):
    """Supervised training of a classifier on images and their labels."""

    settings: ClassifierSettings

    def __init__(
        self, settings: ClassifierSettings, classifier: Classifier, card: DataCard
    ) -> None:
        super().__init__(settings, card)
        self.classifier = classifier
        self._predict = jax.jit(
            partial(_predict, classifier), compiler_options=low_memory_options()
        )

    @property
    def batches(self) -> Batches:
        """Returns the parts of a batch whose gradients are accumulated."""
        return self.classifier.batches

    def init(self, rng: Key[Array, ""]) -> SupervisedState:
        """Returns the state at step 0, drawn at random."""
        state: SupervisedState = jax.jit(partial(init_state, self.classifier, self.card))(rng)
        return state

    def warm_start(self, state: SupervisedState) -> SupervisedState:
        """Returns the state with the published weights that the config names."""
        return with_weights(self.settings, state)

    @property
    def needs_preparation(self) -> bool:
        """Returns whether the features of a frozen trunk are computed once."""
        return bool(self.settings.model.cached_views)

    def prepare(self, prepared: Prepared, state: SupervisedState) -> Prepared:
        """Adds the features of the frozen trunk, if they are computed once."""
        if not self.needs_preparation:
            return prepared
        return with_features(prepared, self.classifier, state.network.variables, self.settings)

    def train_step(
        self, state: SupervisedState, batch: Batch, rng: Key[Array, ""]
    ) -> tuple[SupervisedState, Metrics]:
        """Updates the network once, by the mean gradient of the batch's parts.

        The metrics are of the augmented images and of their own labels; with mixup the loss is of
        the blends.
        """
        network = state.network

        def gradient_of(
            batch_stats: Variables, part: Batch
        ) -> tuple[Variables, tuple[Variables, tuple[Array, Array]]]:
            loss = partial(self._loss, batch_stats, part, rng)
            gradient, output = jax.grad(loss, has_aux=True)(network.params)
            return gradient, output

        gradients, batch_stats, outputs = mean_gradient(
            gradient_of,
            network.params,
            network.batch_stats,
            self.batches.split(batch),
            state.step >= 0,
        )
        logits, losses = joined(outputs)
        classifier = self.classifier
        state, norm = advanced(
            state,
            classifier.optimizer,
            gradients,
            batch_stats,
            classifier.average_decay,
            self.settings.train.batch_norm,
        )
        return state, self._metrics(logits, batch, {"loss": losses, "gradient_norm": norm})

    def _loss(
        self, batch_stats: Variables, batch: Batch, rng: Key[Array, ""], params: Variables
    ) -> tuple[Float[Array, ""], tuple[Variables, tuple[Array, Array]]]:
        classifier, position = self.classifier, batch["position"]
        keys = [
            example_keys(rng, purpose, position) for purpose in (_AUGMENTATION, _DROPOUT, _MIXUP)
        ]
        features = None
        if "features" in batch:
            features = _any_view(batch["features"], keys[0])
        else:
            batch = augment(batch, keys[0], self.settings.augment)
        images = to_unit(batch["image"])
        targets = self._targets(batch["label"], classifier.label_smoothing)
        if classifier.mixup:
            images, targets = mixup(images, targets, keys[2], classifier.mixup)
        params = jax.tree_util.tree_map_with_path(
            lambda path, x: jax.lax.stop_gradient(x) if classifier.frozen(path_of(path)) else x,
            params,
        )
        logits, changed = classifier.network.apply(
            {"params": params, "batch_stats": batch_stats},
            narrow(images, classifier.dtype),
            train=True,
            dropout_keys=keys[1],
            features=None if features is None else narrow(features, classifier.dtype),
            mutable=["batch_stats"],
        )
        logits = widen(logits)
        losses = self._losses(logits, targets, classifier.class_weights)
        return losses.mean(), (changed.get("batch_stats", {}), (logits, losses))

    def _targets(self, labels: Int[Array, " batch"], smoothing: float) -> Logits:
        outputs = self.classifier.outputs
        if outputs.several:
            return finding_targets(jnp.asarray(outputs.shown)[labels], smoothing)
        return targets_of(labels, len(outputs.names), smoothing)

    def _losses(
        self, logits: Logits, targets: Logits, weights: Float[np.ndarray, " classes"]
    ) -> Float[Array, " batch"]:
        if self.classifier.outputs.several:
            return binary_cross_entropy(logits, targets)
        return cross_entropy(logits, targets, jnp.asarray(weights))

    def eval_step(self, state: SupervisedState, batch: Batch) -> Metrics:
        """Classifies held-out images; the loss is the plain cross-entropy."""
        classifier = self.classifier
        logits: Any = classifier.network.apply(
            state.average,
            to_unit(batch["image"]),
            train=False,
            features=batch["features"][:, 0] if "features" in batch else None,
        )
        plain = np.ones(len(classifier.outputs.names), np.float32)
        losses = self._losses(logits, self._targets(batch["label"], 0.0), plain)
        return self._metrics(logits, batch, {"loss": losses})

    def programs(self, state: SupervisedState, size: int) -> dict[str, Program]:
        """Returns the classification of a batch of images."""
        shape = (size, self.card.image_size, self.card.image_size, self.card.channels)
        images = jax.ShapeDtypeStruct(shape, jnp.uint8)
        classify = partial(logits_of, self.classifier)
        return {"predict": Program(classify, (state.average, images), (1,), (), True)}

    def pictures(self, state: SupervisedState, examples: Examples) -> dict[str, Picture]:
        """Returns training images in rows by their likeliest class."""
        chosen = np.linspace(0, len(examples["image"]) - 1, _SHOWN, dtype=int)
        images = examples["image"][chosen]
        predicted = np.asarray(self._predict(state.average, images))
        zoom, rows = zoom_for(self.card.image_size), []
        outputs = self.classifier.outputs
        for label, name in enumerate(outputs.names):
            shown = images[predicted == label][: _SHOWN // 2]
            correct = outputs.shown[examples["label"][chosen][predicted == label], label].sum()
            blank = np.full((_SHOWN // 2 - len(shown), *images.shape[1:]), 255, np.uint8)
            row = grid(np.concatenate([shown, blank])[None], zoom)
            caption = f"{(predicted == label).sum()} predicted as {name}, {correct} correctly"
            rows.append(titled(row, caption))
        title = f"step {int(state.step)}: training images of {self.card.caption}"
        return {"predictions": titled(np.concatenate(rows), title)}

    def _metrics(self, logits: Logits, batch: Batch, values: dict[str, Array]) -> Metrics:
        outputs = self.classifier.outputs
        truth, predicted = batch["label"][:, None], logits.argmax(-1)[:, None]
        classes = outputs.names
        if outputs.several:  # all findings pooled: which are there, which are found
            truth, predicted = jnp.asarray(outputs.shown)[batch["label"]], logits >= 0
            truth, predicted, classes = truth.astype(int), predicted.astype(int), _PRESENCE
        confusion = confusion_matrix(truth, predicted, len(classes))
        return averages_and_scores(
            values, confusion, classification_scores(classes), batch.get("valid")
        )


def _predict(
    classifier: Classifier, variables: Variables, images: UInt8[Array, "batch h w channels"]
) -> Int[Array, " batch"]:
    """Returns the likeliest class of each image."""
    logits: Array = classifier.network.apply(variables, to_unit(images), train=False)
    return logits.argmax(-1)


def _any_view(
    features: Float[Array, "batch views features"], keys: Key[Array, " batch"]
) -> Float[Array, "batch features"]:
    """Draws one of the views of each example, by the example's own key."""
    views = features.shape[1]
    chosen = jax.vmap(lambda key: jax.random.randint(key, (), 0, views))(keys)
    return jnp.take_along_axis(features, chosen[:, None, None], axis=1)[:, 0]


def network_classes(name: str) -> dict[str, type[Any]]:
    """Returns the classes whose fields are settings, by their sections; for --mode=config.

    Args:
      name: `config.model.name`.
    """
    return {"model.network": find_network(name).Network} if name else {}


def make_task(config: ConfigDict, card: DataCard) -> ClassifyTask:
    """Builds the task that a config describes.

    Raises:
      UserError: the data has only one class, or a setting is invalid.
    """
    settings = ClassifierSettings.of(config)
    return ClassifyTask(settings, make_classifier(settings, card), card)
