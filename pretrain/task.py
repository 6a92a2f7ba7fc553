"""The pretraining task: what the loop and the modes call."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key
from ml_collections import ConfigDict

from classify.networks import find_network
from classify.state import with_weights
from common.data.prepared.prepared import DataCard, Prepared
from common.data.transforms import augment, to_unit
from common.devices.apply import by_batches
from common.devices.axis import AXIS
from common.learning.network import SupervisedState, Variables, advanced
from common.learning.precision import narrow, widen
from common.learning.randomness import example_keys
from common.program.memory import low_memory_options
from common.report.images import Picture
from common.scores.metrics import averages
from common.training.task import Batch, Batches, Examples, Metrics, Task
from pretrain.config import PretrainSettings
from pretrain.evaluate import evaluate
from pretrain.losses import Terms, terms_of
from pretrain.nearest import nearest, picture_of_rows
from pretrain.patients import all_with_patients
from pretrain.state import Pretraining, features_of, init_state, make_pretraining

__all__ = ["PretrainTask", "evaluate", "make_task"]  # a mode is a function of this module

_AT_ONCE = 32  # images whose features are computed
_SHOWN, _NEAREST = 8, 6  # images in a picture, and the nearest of each

Images = Float[Array, "batch height width channels"]


class PretrainTask(Task[SupervisedState]):
    """Training of a classifier's network without labels, on two views of each patient."""

    settings: PretrainSettings

    def __init__(
        self, settings: PretrainSettings, pretraining: Pretraining, card: DataCard
    ) -> None:
        super().__init__(settings, card)
        self.pretraining = pretraining
        self._features = jax.jit(
            partial(features_of, pretraining), compiler_options=low_memory_options()
        )

    @property
    def batches(self) -> Batches:
        """Returns what one training step takes."""
        return self.pretraining.batches

    def init(self, rng: Key[Array, ""]) -> SupervisedState:
        """Returns the state at step 0, drawn at random."""
        return init_state(self.pretraining, self.card, rng)

    def warm_start(self, state: SupervisedState) -> SupervisedState:
        """Returns the state with the published weights that the config names."""
        return with_weights(self.settings, state)

    @property
    def needs_preparation(self) -> bool:
        """Returns that examples have to say whose they are."""
        return True

    def prepare(self, prepared: Prepared, state: SupervisedState) -> Prepared:
        """Returns the data with "patient" in each example."""
        return all_with_patients(prepared)

    def train_step(
        self, state: SupervisedState, batch: Batch, rng: Key[Array, ""]
    ) -> tuple[SupervisedState, Metrics]:
        """Updates the network once."""
        parts = self.batches.split(batch)
        first, second = (
            self._view(part, example_keys(rng, view, part["position"]))
            for view, part in enumerate((parts[0], parts[-1]))
        )
        valid = jnp.ones(len(first), bool)

        def loss(params: Variables) -> tuple[Array, tuple[Variables, Terms]]:
            network = state.network.applied(params, state.network.batch_stats)
            (_, projections), changed = self.pretraining.network.apply(
                network,
                narrow(jnp.concatenate([first, second]), self.settings.train.dtype),
                train=True,
                mutable=["batch_stats"],
            )
            terms = self._terms(projections, parts[0], valid)
            return terms["loss"].mean(), (changed.get("batch_stats", {}), terms)

        gradients, (batch_stats, terms) = jax.grad(loss, has_aux=True)(state.network.params)
        state, norm = advanced(
            state,
            self.pretraining.optimizer,
            gradients,
            batch_stats,
            0.0,
            self.settings.train.batch_norm,
        )
        return state, averages({**terms, "gradient_norm": norm})

    def eval_step(self, state: SupervisedState, batch: Batch) -> Metrics:
        """Returns the loss of two views of each held-out image, which are always the same."""
        number = len(batch["image"])
        position = jax.lax.axis_index(AXIS) * number + jnp.arange(number, dtype=jnp.int32)
        views = [
            self._view(batch, example_keys(jax.random.key(0), view, position)) for view in (0, 1)
        ]
        _, projections = self.pretraining.network.apply(
            state.average, jnp.concatenate(views), train=False
        )
        return averages(self._terms(projections, batch, batch["valid"]), batch["valid"])

    def _view(self, batch: Batch, keys: Key[Array, " batch"]) -> Images:
        return to_unit(augment({"image": batch["image"]}, keys, self.settings.augment)["image"])

    def _terms(self, projections: Float[Array, "views width"], batch: Batch, valid: Array) -> Terms:
        """Returns the loss of a batch's first views, which are the first half, and second ones."""
        first, second = jnp.split(widen(projections), 2)
        # Without patients there is only what a plan compiles: any numbers of this shape.
        patients = batch.get("patient", batch["label"])
        return terms_of(self.settings.loss, first, second, patients, valid)

    def pictures(self, state: SupervisedState, examples: Examples) -> dict[str, Picture]:
        """Returns training images, a view of each, and the images of others most like it."""
        images, some = examples["image"], np.arange(min(_SHOWN, len(examples["image"])))
        keys = jax.random.split(jax.random.key(0), len(some))
        shown = {"image": jnp.asarray(images[some])}
        views = np.asarray(augment(shown, keys, self.settings.augment)["image"])
        features = by_batches(partial(self._features, state.average), _AT_ONCE, images)
        owners = examples["patient"]
        found = nearest(features[some], features, _NEAREST, (owners[some], owners))
        columns = [images[some], views, *(images[places] for places in found.places.T)]
        title = f"step {int(state.step)}: an image, a view of it, the images of others most like it"
        return {"nearest": picture_of_rows(columns, title)}


def network_classes(name: str) -> dict[str, type]:
    """Returns the classes whose fields are settings, by their sections; for --mode=config.

    Args:
      name: `config.model.name`.
    """
    return {"model.network": find_network(name).Network} if name else {}


def make_task(config: ConfigDict, card: DataCard) -> PretrainTask:
    """Builds the task that a config describes.

    Raises:
      UserError: a setting is invalid.
    """
    settings = PretrainSettings.of(config)
    return PretrainTask(settings, make_pretraining(settings, card), card)
