"""Pictures of a GAN in training: samples at fixed latents beside real images."""

import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Int, UInt8

from common.data.prepared.prepared import DataCard
from common.report.images import Picture, beside, grid, titled, zoom_for
from common.training.task import Examples
from gan.density import density_picture
from gan.sampling import Sampler
from gan.state import GANState

_SEED = 0
# Enough for a picture: BatchNorm averages over every pixel of these 128 images, too.
_ESTIMATION_BATCHES = 2
_ENOUGH = 16  # images of a class


class Pictures:
    """Draws the pictures of one run, always from the same latents."""

    def __init__(self, sampler: Sampler, card: DataCard, side: int) -> None:
        """Prepares the drawing.

        Args:
          sampler: of the GAN.
          card: of its data.
          side: number of columns, and of rows unless the generator is conditional: then each class
            has as many rows as 16 images need, so that one sees whether it repeats itself.
        """
        self._gan, self._sampler = sampler.gan, sampler
        self._card, self._side = card, side

    def draw(self, state: GANState, examples: Examples) -> dict[str, Picture]:
        """Returns the pictures of a state, by name.

        Args:
          state: on the host or on one device.
          examples: of the training set, as stored.
        """
        if self._card.image_size == 1:
            return {"density": density_picture(self._gan, self._sampler, state, examples["image"])}
        classes = self._card.classes[: self._side]
        if self._gan.conditional:
            # The same latents in every class: what differs is the class alone.
            of_class = -(-_ENOUGH // self._side) * self._side
            numbers = np.tile(np.arange(of_class), len(classes))
            labels = np.repeat(np.arange(len(classes)), of_class)
            real = _rows_by_class(examples, len(classes), of_class)
            real = real.reshape(-1, self._side, *real.shape[2:])
            rows = ": " + " / ".join(classes)
        else:
            numbers = np.arange(self._side**2)
            labels = np.zeros_like(numbers)
            real = _spread(examples["image"], self._side)
            rows = ""
        drawn = self._drawn(state, numbers, labels).reshape(real.shape)
        zoom = zoom_for(self._card.image_size)
        picture = beside(
            [
                titled(grid(drawn, zoom), f"generated, step {int(state.step)}{rows}"),
                titled(grid(real, zoom), f"real: {self._card.caption}"),
            ]
        )
        return {"samples": picture}

    def _drawn(
        self, state: GANState, numbers: Int[np.ndarray, " n"], labels: Int[np.ndarray, " n"]
    ) -> UInt8[np.ndarray, "n height width channels"]:
        sampler = self._sampler
        variables = sampler.variables(state, _ESTIMATION_BATCHES)
        latents = sampler.latents(_SEED, jnp.asarray(numbers))
        noise_keys = sampler.noise_keys(_SEED, jnp.asarray(numbers))
        return np.asarray(sampler.images(variables, latents, jnp.asarray(labels), noise_keys))


def _rows_by_class(
    examples: Examples, num_classes: int, side: int
) -> UInt8[np.ndarray, "rows side height width channels"]:
    """Returns a row of examples per class; a class with too few repeats them."""
    images, labels = examples["image"], examples["label"]
    rows = []
    for label in range(num_classes):
        found = np.flatnonzero(labels == label)
        blank = np.full((side, *images.shape[1:]), 255, np.uint8)
        rows.append(images[np.resize(found, side)] if len(found) else blank)
    return np.stack(rows)


def _spread(
    images: UInt8[np.ndarray, "n height width channels"], side: int
) -> UInt8[np.ndarray, "side side height width channels"]:
    """Returns a square of evenly spaced examples; too few are repeated."""
    apart = max(1, math.floor(len(images) / side**2))
    return np.resize(images[::apart], (side, side, *images.shape[1:]))
