"""A trained classifier on new images: logits in batches on the devices, and Grad-CAM."""

from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from classify.config import ClassifierSettings
from classify.state import Classifier, init_state, make_classifier
from common.devices import apply
from common.learning.network import Variables
from common.networks.views import views_of
from common.program.errors import UserError
from common.runs.evaluation import EVALUATION, FOLDER, average_of, stored_value
from common.runs.workdir import Run

BATCH = 32

Images = UInt8[np.ndarray, "num height width channels"]


class Inference:
    """Classifies batches of images, spread over this process's devices.

    Attributes:
      outputs: what the logits mean.
    """

    def __init__(
        self, classifier: Classifier, variables: Variables, batch: int = BATCH, average: str = ""
    ) -> None:
        self.outputs = classifier.outputs
        self._classifier, self._variables, self._batch = classifier, variables, batch
        self._logits_of = partial(logits_of, classifier, average=average)
        self._run = apply.in_batches(self._logits_of, variables, batch)
        self._maps = jax.jit(lambda variables, image: _attention(classifier, variables, image))

    def logits(self, images: Images) -> Float[np.ndarray, "num classes"]:
        """Returns the logits of any number of images."""
        return self._run(images)

    def traced(
        self, images: UInt8[Array, "batch height width channels"]
    ) -> Float[Array, "batch classes"]:
        """Returns the logits, to be part of a program."""
        return self._logits_of(self._variables, images)

    def features(self, images: Images) -> Float[np.ndarray, "num features"]:
        """Returns the last layer's input for each image."""
        return self._features(images)

    @property
    def weights(self) -> list[np.ndarray]:
        """Returns the network's parameters and running statistics."""
        return [np.asarray(weight) for weight in jax.tree.leaves(self._variables)]

    @cached_property
    def _features(self) -> Callable[[Images], Float[np.ndarray, "num features"]]:
        function = partial(_features, self._classifier)
        return apply.in_batches(function, self._variables, self._batch)

    def attention(
        self, image: UInt8[np.ndarray, "height width channels"], label: int
    ) -> Float[np.ndarray, "height width"]:
        """Returns the Grad-CAM of a class, [height, width], 0 to 1: where the evidence for it is.

        The sum of the last maps, each weighted by the mean gradient of the class's logit with
        respect to it; negative values become 0. Source: Selvaraju et al. 2017, "Grad-CAM: Visual
        Explanations from Deep Networks via Gradient-based Localization".
        """
        maps, gradients = self._maps(self._variables, jnp.asarray(image[None]))
        weights = gradients[0, label].mean((0, 1))
        heat = jnp.maximum((maps[0] * weights).sum(-1), 0)
        large = jax.image.resize(heat, image.shape[:2], "linear")
        return np.asarray(large / jnp.maximum(large.max(), jnp.finfo(large.dtype).tiny))


class MeanInference(Inference):
    """Classifies by the mean of the probabilities of several classifiers."""

    def __init__(self, members: Sequence[Inference]) -> None:
        self.outputs, self._members = members[0].outputs, members

    def logits(self, images: Images) -> Float[np.ndarray, "num classes"]:
        """Returns the logits of the mean probabilities."""
        to_shares = self.outputs.probabilities
        mean = np.mean([to_shares(one.logits(images), 1.0) for one in self._members], axis=0)
        return self.outputs.logits(mean)

    def traced(
        self, images: UInt8[Array, "batch height width channels"]
    ) -> Float[Array, "batch classes"]:
        """Returns the logits of the mean probabilities, to be part of a program."""
        each = [self.outputs.traced_probabilities(one.traced(images)) for one in self._members]
        return self.outputs.traced_logits(sum(each[1:], start=each[0]) / len(each))

    def features(self, images: Images) -> Float[np.ndarray, "num features"]:
        """Returns the features of all members, one after the other."""
        return np.concatenate([one.features(images) for one in self._members], axis=1)

    @property
    def weights(self) -> list[np.ndarray]:
        """Returns those of all members."""
        return [weight for one in self._members for weight in one.weights]

    def attention(self, image: UInt8[np.ndarray, "height width channels"], label: int) -> Any:
        """Returns the mean of the members' maps."""
        return np.mean([one.attention(image, label) for one in self._members], axis=0)


def load_inference(run: Run, average: str | None = None) -> tuple[Inference, int]:
    """Returns the run's best checkpoint, or its newest, ready to use, and its step.

    Of an ensemble, the mean of its members, and the largest of their steps.

    Args:
      run: the run.
      average: the views to average over; None for those of the run's evaluation.

    Raises:
      UserError: there is no checkpoint, or it does not fit the config.
    """
    views = average_of(run, "") if average is None else average
    loaded = [_load(member, views) for member in run.members]
    members = [inference for inference, _ in loaded]
    step = max(step for _, step in loaded)
    return members[0] if len(members) == 1 else MeanInference(members), step


def _load(run: Run, average: str) -> tuple[Inference, int]:
    classifier = make_classifier(ClassifierSettings.of(run.config), run.card)
    like = jax.eval_shape(lambda: init_state(classifier, run.card, jax.random.key(0)))
    step, state = run.best_state(like)
    return Inference(classifier, state.average, average=average), step


def logits_of(
    classifier: Classifier,
    variables: Variables,
    images: UInt8[Array, "batch height width channels"],
    average: str = "",
) -> Float[Array, "batch classes"]:
    """Returns the logits of a batch, the mean over these views and those of the config."""
    views = views_of(images, f"{average},mirror" if classifier.mirror else average)
    each = [_logits(classifier, variables, view) for view in views]
    return sum(each[1:], start=each[0]) / len(each)


def _logits(classifier: Classifier, variables: Variables, images: Array) -> Array:
    logits: Array = classifier.network.apply(
        variables, images.astype(jnp.float32) / 255, train=False
    )
    return logits


def _features(
    classifier: Classifier, variables: Variables, images: Array
) -> Float[Array, "batch features"]:
    """Returns the last layer's input for each image."""
    _, kept = classifier.network.apply(
        variables, images / 255.0, train=False, mutable=["intermediates"]
    )
    features: Array
    (features,) = kept["intermediates"]["features"]
    return features


def _attention(
    classifier: Classifier, variables: Variables, images: UInt8[Array, "1 height width channels"]
) -> tuple[Float[Array, "1 rows columns maps"], Float[Array, "1 classes rows columns maps"]]:
    """Returns the last maps and the gradient of each class's logit with respect to them."""
    inputs = images.astype(jnp.float32) / 255

    def run(perturbation: Array) -> tuple[Array, Variables]:
        found: tuple[Array, Variables] = classifier.network.apply(
            {**variables, "perturbations": {"maps": perturbation}},
            inputs,
            train=False,
            mutable=["intermediates"],
        )
        return found

    (found,) = jax.eval_shape(
        lambda: classifier.network.apply(variables, inputs, train=False, mutable=["intermediates"])
    )[1]["intermediates"]["maps"]
    zeros = jnp.zeros(found.shape, found.dtype)
    gradients = jax.jacrev(lambda perturbation: run(perturbation)[0])(zeros)
    (maps,) = run(zeros)[1]["intermediates"]["maps"]
    return maps, gradients[:, :, 0]


def known_temperature(run: Run, step: int) -> float | None:
    """Returns the temperature that the run's evaluation fitted at this step; None without one.

    Raises:
      UserError: evaluation.json is damaged.
    """
    found = stored_value(run, "temperature", step, float)
    if found is not None and found <= 0:
        raise UserError(
            f"The temperature in {run.workdir}/{FOLDER}/{EVALUATION} is {found}; it must be more"
            f" than 0; remove it and run --mode=evaluate --workdir={run.workdir} again."
        )
    return None if found is None else float(found)
