"""The GAN task: what the loop and the modes call."""

from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np
from clu import parameter_overview
from jaxtyping import Array, Key
from ml_collections import ConfigDict

from common import metrics
from common.data.augmentation import Augmentation
from common.data.prepared import DataCard
from common.data.transforms import augment, to_signed_unit
from common.report.images import Picture, beside, grid, titled, zoom_for
from common.training.randomness import example_keys
from common.training.task import Batch, Examples, Metrics
from gan.generate import generate
from gan.losses import adversarial_loss, class_loss
from gan.sampling import Sampler
from gan.state import GAN, GANState, init_state, make_gan
from gan.steps import (
    AUGMENTATION,
    LABELS,
    LATENTS,
    discriminator_step,
    draw_fakes,
    draw_labels,
    draw_latents,
    generator_step,
)

__all__ = ["GANTask", "generate", "make_task"]  # a mode is a function of this module

_COLUMNS = 8
_MAX_ROWS = 8
_PICTURE_SEED = 0
# Enough for a picture: BatchNorm averages over every pixel of these 128 images, too.
_PICTURE_ESTIMATION_BATCHES = 2


class GANTask:
    """Adversarial training of a generator and a discriminator."""

    def __init__(self, gan: GAN, card: DataCard, augmentation: Augmentation) -> None:
        self.gan, self.card, self._augmentation = gan, card, augmentation
        self._sampler = Sampler(gan)

    def init(self, rng: Key[Array, ""]) -> GANState:
        """Returns the state at step 0."""
        return init_state(self.gan, self.card, rng)

    def train_step(
        self, state: GANState, batch: Batch, rng: Key[Array, ""]
    ) -> tuple[GANState, Metrics]:
        """Updates the discriminator, then the generator, on one generated batch."""
        gan, position = self.gan, batch["position"]
        batch = augment(batch, example_keys(rng, AUGMENTATION, position), self._augmentation)
        latents = draw_latents(gan, example_keys(rng, LATENTS, position))
        labels = draw_labels(gan, example_keys(rng, LABELS, position))
        generated = draw_fakes(gan, state, latents, labels)
        state, of_discriminator = discriminator_step(
            gan,
            state,
            to_signed_unit(batch["image"]),
            batch["label"],
            generated.images,
            generated.labels,
            rng,
            position,
        )
        state, of_generator = generator_step(gan, state, generated, rng, position)
        state = replace(state, step=state.step + 1)
        return state, metrics.averages({**of_discriminator, **of_generator})

    def eval_step(self, state: GANState, batch: Batch) -> Metrics:
        """Judges held-out real images: far worse than on training ones means memorising."""
        judged: Any = self.gan.networks.discriminator.apply(
            state.discriminator.variables, to_signed_unit(batch["image"]), train=False
        )
        values = {
            "discriminator_adversarial_loss_real": adversarial_loss(judged.logits, True),
            "discriminator_accuracy_real": (judged.logits > 0).astype(jnp.float32),
        }
        if judged.class_logits is not None:
            named = judged.class_logits.argmax(-1) == batch["label"]
            values["discriminator_class_accuracy_real"] = named.astype(jnp.float32)
            values["discriminator_class_loss_real"] = class_loss(
                judged.class_logits, batch["label"]
            )
        return metrics.averages(values, mask=batch["valid"])

    def describe(self, state: GANState) -> str:
        """Returns tables of both networks' parameters and running statistics."""
        return "\n".join(
            f"{name}\n{parameter_overview.get_parameter_overview(network.variables)}"
            for name, network in (
                ("generator", state.generator),
                ("discriminator", state.discriminator),
            )
        )

    def pictures(self, state: GANState, examples: Examples) -> dict[str, Picture]:
        """Returns a row per class at fixed latents, real images of the same classes beside it."""
        sampler, classes = self._sampler, self.card.classes[:_MAX_ROWS]
        variables = {
            "params": state.average,
            "batch_stats": sampler.batch_stats(
                state.average, state.generator.batch_stats, _PICTURE_ESTIMATION_BATCHES
            ),
        }
        # The same latents in every row: what differs down a column is the class.
        columns = np.tile(np.arange(_COLUMNS), len(classes))
        labels = np.repeat(np.arange(len(classes)), _COLUMNS)
        latents = sampler.latents(_PICTURE_SEED, jnp.asarray(columns))
        drawn = np.asarray(sampler.images(variables, latents, jnp.asarray(labels)))
        zoom = zoom_for(self.card.image_size)
        drawn = grid(drawn.reshape(len(classes), _COLUMNS, *drawn.shape[1:]), zoom)
        real = grid(_rows_of_real(examples, len(classes)), zoom)
        rows = " / ".join(classes)
        picture = beside(
            [
                titled(drawn, f"generated, step {int(state.step)}: {rows}"),
                titled(real, f"real: {self.card.caption}"),
            ]
        )
        return {"samples": picture}


def make_task(config: ConfigDict, card: DataCard) -> GANTask:
    """Builds the task that a config describes."""
    return GANTask(make_gan(config, card), card, Augmentation(**config.augment))


def _rows_of_real(examples: Examples, num_classes: int) -> Any:
    """Returns a row of examples per class; a class with too few repeats them."""
    images, labels = examples["image"], examples["label"]
    rows = []
    for label in range(num_classes):
        found = np.flatnonzero(labels == label)
        blank = np.full((_COLUMNS, *images.shape[1:]), 255, np.uint8)
        rows.append(images[np.resize(found, _COLUMNS)] if len(found) else blank)
    return np.stack(rows)
