"""The AC-GAN as Keras users train it, after the public Keras-GAN script, on TensorFlow."""

import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from jaxtyping import Float32, Int32
from keras_networks import build_discriminator, build_generator
from rows import Row, settings

Images = Float32[np.ndarray, "n height width channels"]
Labels = Int32[np.ndarray, " n"]

_TRIAL = 3  # steps
_LOSSES = ["binary_crossentropy", "sparse_categorical_crossentropy"]


def software() -> str:
    """Returns the versions, and the devices of TensorFlow."""
    devices = {device.device_type for device in tf.config.list_logical_devices()}
    on = ", ".join(sorted(devices))
    return f"Keras {keras.__version__} on TensorFlow {tf.__version__} ({on})"


class KerasGAN:
    """The script's training: a real batch, a generated one, then the `combined` model.

    Attributes:
      generator: the model that draws.
      discriminator: the model that judges.
      combined: latents and labels -> judgement, with the discriminator frozen; None at first.
    """

    def __init__(
        self,
        images: Images,
        labels: Labels,
        num_classes: int,
        latent_size: int,
        batch_size: int,
        jit_compile: bool,
    ) -> None:
        self._images, self._labels, self._num_classes = images, labels, num_classes
        self._latent_size, self._batch_size = latent_size, batch_size
        self._jit_compile = jit_compile
        self._random = np.random.default_rng(0)
        size, channels = images.shape[1], images.shape[3]
        self.generator = build_generator(size, channels, num_classes, latent_size)
        self.generator.compile(jit_compile=jit_compile)  # for `predict_on_batch`
        self.discriminator = build_discriminator(size, channels, num_classes)
        self.discriminator.compile(
            loss=_LOSSES,
            optimizer=keras.optimizers.Adam(2e-4, 0.5),
            metrics=[["accuracy"], ["accuracy"]],
            jit_compile=jit_compile,
        )
        self.combined: Any = None

    def run(self, num_steps: int) -> None:
        """Runs iterations of the script."""
        batch_size, random = self._batch_size, self._random
        valid, fake = np.ones((batch_size, 1)), np.zeros((batch_size, 1))
        for _ in range(num_steps):
            rows = random.integers(0, len(self._images), batch_size)
            latents = random.normal(0, 1, (batch_size, self._latent_size))
            asked = random.integers(0, self._num_classes, (batch_size, 1))
            # Faster than the script's `predict` and than `generator(x, training=False)`.
            generated = self.generator.predict_on_batch([latents, asked])
            self.discriminator.train_on_batch(self._images[rows], [valid, self._labels[rows]])
            self.discriminator.train_on_batch(generated, [fake, asked])
            if self.combined is None:
                self._combine()
            self.combined.train_on_batch([latents, asked], [valid, asked])

    def _combine(self) -> None:
        """Builds `combined` after the discriminator's first update.

        Keras 3 reads `trainable` when it traces that update, not in `compile` as Keras 2 did: in
        the script's own order the discriminator would stay as it was initialised.
        """
        self.discriminator.trainable = False
        judged = self.discriminator(self.generator.output)
        self.combined = keras.Model(self.generator.input, judged)
        self.combined.compile(
            loss=_LOSSES,
            optimizer=keras.optimizers.Adam(2e-4, 0.5),
            jit_compile=self._jit_compile,
        )


class Rival:
    """What the worker runs for Keras: the faster of its two modes, without and with XLA.

    Attributes:
      software: its version.
      run: runs a number of steps and waits for them.
      first_step: seconds from building to the end of the first step.
      difference: the largest between its outputs and ours.
    """

    def __init__(self, row: Row, scratch: Path) -> None:
        config = settings(row, scratch / "cache")
        with np.load(scratch / "examples.npz") as examples:
            images, labels = examples["image"].astype("float32") / 127.5 - 1, examples["label"]
        ways = {}
        for jit in (False, True):
            started = time.perf_counter()
            gan = KerasGAN(
                images,
                labels,
                int(labels.max()) + 1,
                config.model.generator.latent_size,
                config.data.batch_size,
                jit,
            )
            gan.run(1)
            first = time.perf_counter() - started
            started = time.perf_counter()
            gan.run(_TRIAL)
            ways[jit] = time.perf_counter() - started, first, gan
        jit = min(ways, key=lambda way: ways[way][0])
        _, self.first_step, gan = ways[jit]
        self.run = gan.run
        self.software = f"{software()}, jit_compile={jit}"
        from keras_same import compare

        self.difference = compare(
            images.shape[1], images.shape[3], int(labels.max()) + 1
        ).difference

    def facts(self) -> dict[str, float]:
        """Returns facts about this rival."""
        return {"difference": self.difference}
