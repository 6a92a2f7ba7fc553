"""The fixed parts of training a classifier, and its initial state."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.tree_util import KeyEntry
from jaxtyping import Array, Float, Key, PyTree

from classify.config import ClassifierOptimizer, ClassifierSettings, NetworkSettings
from classify.networks import Stages, find_network, make_network, stage_of
from classify.outputs import Outputs
from common.config.durations import steps
from common.data.prepared.prepared import DataCard
from common.learning.network import SupervisedState, Variables
from common.learning.optimizers import clipped, learning_rate_schedule, update_rule
from common.networks.layers import with_statistics
from common.program.errors import UserError
from common.training.published import weights_file, with_published
from common.training.task import Batches


@dataclass(frozen=True)
class Classifier:
    """What training does not change.

    Attributes:
      network: images in [0, 1] -> logits.
      optimizer: its update rule.
      frozen: whether the parameter at a path never learns, and needs no gradient.
      batches: what a step takes: the parts of a batch whose gradients are accumulated.
      outputs: what its outputs mean.
      class_weights: in the loss; their mean over training images is 1.
      label_smoothing: see `classify.losses.targets_of`.
      mixup: its alpha; 0 is off.
      average_decay: of the moving average; 0 turns it off.
      mirror: whether new images are also seen mirrored left to right.
      dtype: what the network computes in, in training.
    """

    network: Any
    optimizer: optax.GradientTransformation
    frozen: Callable[[str], bool]
    batches: Batches
    outputs: Outputs
    class_weights: Float[np.ndarray, " classes"]
    label_smoothing: float
    mixup: float
    average_decay: float
    mirror: bool
    dtype: str = "float32"


def make_classifier(settings: ClassifierSettings, card: DataCard) -> Classifier:
    """Builds the fixed parts that a config describes.

    Raises:
      UserError: the data has only one class, or a setting is invalid.
    """
    _check(settings, card)
    model, loss = settings.model, settings.loss
    batches = Batches.in_parts(settings.data.batch_size, settings.optimizer.accumulate)
    optimizer, frozen = _make_optimizer(
        settings.optimizer,
        find_network(model.name).STAGES,
        card.num_examples["train"] / batches.examples,
        settings.train.num_steps,
    )
    outputs = Outputs.of(card.classes)
    return Classifier(
        network=with_statistics(
            make_network(model, len(outputs.names), settings.optimizer.never_learning),
            settings.train.batch_norm,
        ),
        optimizer=optimizer,
        frozen=frozen,
        batches=batches,
        outputs=outputs,
        class_weights=_class_weights(loss.class_weights, card),
        label_smoothing=loss.label_smoothing,
        mixup=loss.mixup,
        average_decay=model.average_decay,
        mirror=model.mirror,
        dtype=settings.train.dtype,
    )


def init_state(classifier: Classifier, card: DataCard, rng: Key[Array, ""]) -> SupervisedState:
    """Returns the state at step 0, drawn at random."""
    images = jnp.zeros((1, card.image_size, card.image_size, card.channels))
    made = classifier.network.init(rng, images, train=True)
    return SupervisedState.create(made, classifier.optimizer)


def with_weights(settings: NetworkSettings, state: SupervisedState) -> SupervisedState:
    """Returns a state that starts from the published weights that `config.model.weights` names.

    Raises:
      UserError: the network has none, or they can't be read.
    """
    model = settings.model
    if not model.weights:
        return state
    module = find_network(model.name)
    if not hasattr(module, "pretrained"):
        raise UserError(
            f"config.model.weights is {model.weights!r}, but there are none for {model.name}; set"
            " --config.model.weights=''."
        )
    file = weights_file(model.weights, model.weights_sha256, settings.data.cache_dir)
    found = module.pretrained(file, model.weights_sha256)
    return with_published(state, found, str(file or model.weights))


def path_of(keys: tuple[KeyEntry, ...]) -> str:
    """Returns a path in a tree as text, "trunk/block1_conv1/kernel"."""
    return "/".join(str(getattr(key, "key", key)) for key in keys)


def _make_optimizer(
    settings: ClassifierOptimizer,
    stages: Stages,
    steps_per_epoch: float,
    num_steps: str,
) -> tuple[optax.GradientTransformation, Callable[[str], bool]]:
    """Returns the optimizer with a learning rate for each stage, and which parameters never learn.

    The head learns at the config's rate, stage i of n at `stage_decay ** (n - i)` of it
    (Howard and Ruder, 2018, "Universal Language Model Fine-tuning"); frozen stages learn at 0 until
    `unfreeze_every`, if set, thaws them from the top.
    """
    schedule = learning_rate_schedule(settings, "optimizer", steps_per_epoch, num_steps=num_steps)
    every = steps(settings.unfreeze_every, steps_per_epoch)

    def of_stage(stage: int) -> optax.GradientTransformation:
        share = settings.stage_decay ** (len(stages) - stage)
        thaws = (settings.frozen - stage) * every if stage < settings.frozen else 0
        if stage < settings.frozen and not every:
            return optax.set_to_zero()
        return update_rule(
            settings, "optimizer", lambda count: share * schedule(count) * (count >= thaws)
        )

    def labels(params: Variables) -> PyTree:
        return jax.tree_util.tree_map_with_path(
            lambda keys, _: str(stage_of(path_of(keys), stages)), params
        )

    rules = {str(stage): of_stage(stage) for stage in range(len(stages) + 1)}
    optimizer = clipped(optax.multi_transform(rules, labels), settings.clip)
    return optimizer, lambda path: stage_of(path, stages) < settings.never_learning


def _class_weights(text: str, card: DataCard) -> Float[np.ndarray, " classes"]:
    """Returns the weight of each class, scaled so that their mean over training images is 1."""
    counts = np.array(card.class_counts, float)
    number, outputs = len(card.classes), Outputs.of(card.classes)
    if not text:
        return np.ones(len(outputs.names), np.float32)
    if outputs.several:
        raise UserError(
            f"config.loss.class_weights is {text!r}, but images of {card.name} may show several"
            " findings, whose losses are not weighted; leave it empty."
        )
    if text == "balanced":
        balanced: np.ndarray = (counts.sum() / (number * np.maximum(counts, 1))).astype(np.float32)
        return balanced
    if not re.fullmatch(r"\s*[\d.]+\s*(,\s*[\d.]+\s*)*", text) or text.count(",") != number - 1:
        raise UserError(
            f"config.loss.class_weights is {text!r}; it must be 'balanced', or a number for each of"
            f" {', '.join(card.classes)}, such as '1,2.5'."
        )
    given = np.array([float(part) for part in text.split(",")])
    weights: np.ndarray = given * counts.sum() / (given * counts).sum()
    return weights.astype(np.float32)


def _check(settings: ClassifierSettings, card: DataCard) -> None:
    """Refuses invalid data and settings."""
    if len(card.classes) < 2:
        raise UserError(
            f"config.task is 'classify', but all images of {card.name} are of one class,"
            f" {card.classes[0]}; put those of each class into a folder of its own, see"
            " docs/own_data.md."
        )
    name, frozen = settings.model.name, settings.optimizer.frozen
    number = len(find_network(name).STAGES)
    _check_cached_views(settings, number)
    if frozen > number:
        raise UserError(
            f"config.optimizer.frozen is {frozen}; {name} has {number} stages, so it must be a"
            f" whole number from 0 to {number}."
        )


def _check_cached_views(settings: ClassifierSettings, stages: int) -> None:
    """Refuses to cache features that training would change."""
    views, augmentation = settings.model.cached_views, settings.augment
    if views <= 0:
        return
    if settings.optimizer.never_learning < stages:
        raise UserError(
            f"config.model.cached_views is {views}, which needs a trunk that stays frozen; set"
            f" --config.optimizer.frozen={stages} and --config.optimizer.unfreeze_every=0."
        )
    if settings.loss.mixup:
        raise UserError(
            "config.loss.mixup blends images, but with config.model.cached_views training sees"
            " features only; set one of them to 0."
        )
    varies = augmentation.is_on
    if views > 1 and not varies:
        raise UserError(
            f"config.model.cached_views is {views}, but config.augment is off, so all views would"
            " be equal; set it to 1."
        )
    if views == 1 and varies:
        raise UserError(
            "config.model.cached_views is 1, which keeps each image as it is, but config.augment"
            " varies images; set it to, say, 8, or turn config.augment off."
        )
