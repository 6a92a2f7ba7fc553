"""Which of the images that a generator draws are kept: --reject and --novel.

Images are candidates in the order of their numbers, and each is kept or left out by itself, so the
i-th kept image is the same however many are asked for.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float64, Int, UInt8

from common.devices.apply import by_batches
from common.learning.network import Variables
from common.learning.randomness import example_keys
from common.program.errors import UserError
from gan.sampling import BATCH, Sampler
from gan.state import GAN

_SEED = 11  # of the images by which the logits are known
_CHANCE = 100  # a purpose of random keys, unlike those of gan/sampling.py
_KNOWN = 1000  # images
_AT_ONCE = 256  # images
_SHARE = 0.01  # of candidates, below which the search ends
_PERCENTILE = 80.0  # that of the authors
_LEAST = 1e-14  # of the distance below the highest logit, for a finite logarithm

Images = UInt8[np.ndarray, "images height width channels"]
Numbers = Int[np.ndarray, " images"]
# A class, numbers and the images of these -> which are kept.
Keeps = Callable[[int, Numbers, Images], Bool[np.ndarray, " images"]]
Logits = Float[np.ndarray, " images"]


@dataclass(frozen=True)
class Drawing:
    """A generator's images by number and class.

    Attributes:
      sampler: of the generator.
      variables: its parameters and running statistics.
      truncation: of the latents.
    """

    sampler: Sampler
    variables: Variables
    truncation: float = 0.0

    def images(self, seed: int, numbers: Numbers, label: int) -> Images:
        """Returns the images of a class by their numbers."""

        def draw(numbers: Numbers) -> Array:
            latents = self.sampler.latents(seed, jnp.asarray(numbers), self.truncation)
            noise_keys = self.sampler.noise_keys(seed, jnp.asarray(numbers))
            labels = jnp.full(len(numbers), label, jnp.int32)
            return self.sampler.images(self.variables, latents, labels, noise_keys)

        return by_batches(draw, BATCH, numbers)


def kept_numbers(
    drawing: Drawing, seed: int, label: int, count: int, tests: Sequence[Keeps]
) -> Numbers:
    """Returns the numbers of the first images of a class that every test keeps.

    Args:
      drawing: of the candidates.
      seed: of their latents.
      label: the class.
      count: how many are wanted.
      tests: what an image has to pass.

    Raises:
      UserError: fewer than one of a hundred candidates is kept.
    """
    if not tests:
        return np.arange(count, dtype=np.int32)
    found: list[Numbers] = []
    kept = seen = 0
    while kept < count:
        numbers = np.arange(seen, seen + _AT_ONCE, dtype=np.int32)
        images = drawing.images(seed, numbers, label)
        for keeps in tests:
            if len(numbers):
                rows = keeps(label, numbers, images)
                numbers, images = numbers[rows], images[rows]
        found.append(numbers)
        kept, seen = kept + len(numbers), seen + _AT_ONCE
        if seen >= _KNOWN and kept < _SHARE * seen:
            raise UserError(
                f"Only {kept} of {seen} generated images are kept; leave out --reject or --novel,"
                " or train longer."
            )
    return np.concatenate(found)[:count]


def check_rejection(gan: GAN) -> None:
    """Refuses --reject of a discriminator that was not trained to give odds.

    Raises:
      UserError: its loss is of another kind.
    """
    if not gan.loss.of_probabilities:
        raise UserError(
            "--reject needs a discriminator that gives the odds of real images; train with"
            " --config.loss.name=non_saturating, or leave out --reject."
        )


def rejection(drawing: Drawing, seed: int, logits_of: Callable[[Images, Numbers], Logits]) -> Keeps:
    """Returns the test of discriminator rejection sampling, within each class.

    Args:
      drawing: of the images.
      seed: of the chance by which an image is kept.
      logits_of: images and their classes -> the discriminator's logit of each.
    """

    def logits(label: int, images: Images) -> Logits:
        return logits_of(images, np.full(len(images), label, np.int32))

    @cache
    def usual(label: int) -> Logits:
        return logits(label, drawing.images(_SEED, np.arange(_KNOWN, dtype=np.int32), label))

    def keeps(label: int, numbers: Numbers, images: Images) -> Bool[np.ndarray, " images"]:
        chances = acceptance(logits(label, images), usual(label), _PERCENTILE)
        keys = example_keys(jax.random.key(seed), _CHANCE + label, jnp.asarray(numbers))
        drawn = np.asarray(jax.vmap(jax.random.uniform)(keys))
        return drawn < chances

    return keeps


def acceptance(
    logits: Logits, usual: Float[np.ndarray, " known"], percentile: float | None
) -> Float64[np.ndarray, " images"]:
    """Returns the probability with which each image is kept: `sigmoid(F - gamma)`.

    `F = d - log(1 - exp(d))`, d the image's logit less the highest usual one. Where the logit is
    the logarithm of the ratio of the densities of real and generated images and gamma is 0, the
    kept images have the density of real ones. A larger gamma keeps fewer. Azadi et al.,
    "Discriminator Rejection Sampling" (2019), section 3.3.

    Args:
      logits: of the images.
      usual: of many generated images.
      percentile: of F among the usual images, which is gamma; None: gamma is 0.
    """
    highest = usual.max()

    def log_odds(logits: Logits) -> Float64[np.ndarray, " images"]:
        below = np.minimum(logits.astype(np.float64) - highest, -_LEAST)
        odds: np.ndarray = below - np.log(-np.expm1(below))
        return odds

    gamma = 0.0 if percentile is None else np.percentile(log_odds(usual), percentile)
    found: np.ndarray = 1 / (1 + np.exp(gamma - log_odds(logits)))
    return found
