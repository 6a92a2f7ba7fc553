"""The GAN task: what the loop and the modes call."""

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key
from ml_collections import ConfigDict

from common.data.prepared.prepared import DataCard, Prepared
from common.data.transforms import augment, to_signed_unit
from common.devices.lowering import Program
from common.learning.accumulation import joined
from common.learning.randomness import example_keys
from common.program.errors import UserError
from common.report.images import Picture
from common.scores import metrics
from common.training.task import Batch, Batches, Examples, Measurement, Metrics, Task
from gan.config import GANSettings
from gan.deciding import Positions
from gan.drawing import Generated, draw_fakes, draw_labels, draw_latents
from gan.export import export
from gan.generate import generate, generated
from gan.losses import class_loss
from gan.networks import find_networks, per_image
from gan.pictures import Pictures
from gan.quality import watch
from gan.quality.evaluate import evaluate
from gan.quality.folders import evaluate_without_run
from gan.sampling import Sampler
from gan.state import GAN, GANState, init_state, load_frozen, make_gan
from gan.steps import (
    AUGMENTATION,
    DROPOUT_DRAWING,
    LABELS,
    LATENTS,
    NOISE,
    Real,
    discriminator_step,
    generator_step,
)

# A mode is a function of this module.
__all__ = [
    "GANTask",
    "evaluate",
    "evaluate_without_run",
    "export",
    "generate",
    "generated",
    "make_task",
]


class GANTask(Task[GANState]):
    """Adversarial training of a generator and a discriminator."""

    settings: GANSettings

    def __init__(self, settings: GANSettings, gan: GAN, card: DataCard) -> None:
        super().__init__(settings, card)
        self.gan = gan
        self._sampler = Sampler(gan)
        self._pictures = Pictures(self._sampler, card, settings.train.picture_grid)

    @property
    def batches(self) -> Batches:
        """Returns the parts of a batch of real images for each of the discriminator's updates."""
        (number, size), parts = self.gan.batches, self.gan.accumulate
        return Batches(parts * number, size // parts)

    def init(self, rng: Key[Array, ""]) -> GANState:
        """Returns the state at step 0."""
        state: GANState = jax.jit(partial(init_state, self.gan, self.card))(rng)
        return state

    def load_frozen(self, state: GANState) -> GANState:
        """Returns the state with the weights that the networks' files give."""
        return load_frozen(self.gan, state)

    def train_step(
        self, state: GANState, batch: Batch, rng: Key[Array, ""]
    ) -> tuple[GANState, Metrics]:
        """Updates the discriminator k times, each on new images, then the generator.

        The discriminator's last update and the generator's use the same generated batch; with half
        batches, the discriminator uses the first half of it.
        """
        gan = self.gan
        batch = augment(
            batch, example_keys(rng, AUGMENTATION, batch["position"]), self.settings.augment
        )
        of_discriminator = []
        reals = gan.batches.split(batch)
        for update, real in enumerate(reals, 1):
            position = real["position"]
            drawn_for = position
            if update == len(reals) and gan.half_batches:
                drawn_for = jnp.concatenate([position, position + gan.batches.size])
            generated = self._draw(state, rng, drawn_for)
            shown = Real(to_signed_unit(real["image"]), real["label"])
            state, outputs = discriminator_step(
                gan,
                state,
                *shown,
                generated.images[: len(position)],
                generated.labels[: len(position)],
                rng,
                position,
            )
            of_discriminator.append(outputs)
        state, of_generator = generator_step(gan, state, generated, rng, drawn_for, shown)
        step, state = state.step, replace(state, step=state.step + 1)
        outputs = {**joined(of_discriminator), **of_generator}
        state = replace(state, controls=gan.controls.after(state.controls, outputs, step))
        return state, metrics.averages({**outputs, **state.controls})

    def _draw(self, state: GANState, rng: Key[Array, ""], position: Positions) -> Generated:
        gan = self.gan
        return draw_fakes(
            gan,
            state,
            draw_latents(gan, example_keys(rng, LATENTS, position)),
            draw_labels(gan, example_keys(rng, LABELS, position)),
            example_keys(rng, DROPOUT_DRAWING, position),
            example_keys(rng, NOISE, position) if gan.networks.generator.noisy else None,
        )

    def eval_step(self, state: GANState, batch: Batch) -> Metrics:
        """Measures the discriminator on held-out images: if far worse, it memorises."""
        loss = self.gan.loss
        decided: Any = self.gan.networks.discriminator.apply(
            state.discriminator.variables,
            to_signed_unit(batch["image"]),
            batch["label"],
            train=False,
        )
        logits, values = jax.tree.leaves(decided.logits), {}
        if not loss.relative:
            values["discriminator_adversarial_loss_real"] = per_image(
                [loss.real(x) for x in logits]
            )
        values["discriminator_output_real"] = per_image([loss.output(x) for x in logits])
        if loss.threshold is not None:
            values["discriminator_accuracy_real"] = per_image(
                [(x > loss.threshold).astype(jnp.float32) for x in logits]
            )
        if decided.class_logits is not None:
            correct = decided.class_logits.argmax(-1) == batch["label"]
            values["discriminator_class_accuracy_real"] = correct.astype(jnp.float32)
            if decided.embeddings is None:
                values["discriminator_class_loss_real"] = class_loss(
                    decided.class_logits, batch["label"]
                )
        return metrics.averages(values, mask=batch["valid"])

    def measurement(self, prepared: Prepared) -> Measurement[GANState] | None:
        """Returns the measurement of generated images: see gan/quality/watch.py."""
        return watch.measurement(
            self.gan, self._sampler, prepared, self.settings.quality, self.settings.data.cache_dir
        )

    def programs(self, state: GANState, size: int) -> dict[str, Program]:
        """Returns the drawing of images in [-1, 1]."""
        variables = state.generator.applied(state.average, state.generator.batch_stats)
        latents = jax.ShapeDtypeStruct((size, self.gan.latent_size), jnp.result_type(float))
        labels = jax.ShapeDtypeStruct((size,), jnp.int32)
        arguments: tuple[Any, ...] = (variables, latents, labels)
        drawn = self._sampler.draw_values
        if self.gan.networks.generator.noisy:
            arguments += (jax.eval_shape(lambda: jax.random.split(jax.random.key(0), size)),)
        rows = tuple(range(1, len(arguments)))
        return {"generate": Program(drawn, arguments, rows, (), True)}

    def pictures(self, state: GANState, examples: Examples) -> dict[str, Picture]:
        """Returns samples at fixed latents beside real images; of one-pixel images, densities."""
        return self._pictures.draw(state, examples)


def network_classes(name: str) -> dict[str, type[Any]]:
    """Returns the classes whose fields are settings, by their sections; for --mode=config.

    Args:
      name: `config.model.name`.
    """
    kinds = find_networks(name) if name else {}
    return {f"model.{part}": kind for part, kind in kinds.items()}


def make_task(config: ConfigDict, card: DataCard) -> GANTask:
    """Builds the task that a config describes.

    Raises:
      UserError: a setting is invalid, or the devices do not divide half a batch.
    """
    settings = GANSettings.of(config)
    gan = make_gan(settings, card)
    size, devices = gan.batches.size, jax.device_count()
    if gan.half_batches and size % devices:
        raise UserError(
            f"config.data.batch_size is {settings.data.batch_size}; half of it, {size}, is not"
            f" divisible by {devices} devices; make it a multiple of {2 * devices}, or set"
            " --config.optimizer.half_batches=False."
        )
    return GANTask(settings, gan, card)
