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
from scipy.optimize import minimize
from scipy.special import expit

from common.data.transforms import from_signed_unit
from common.devices.apply import by_batches
from common.learning.network import Variables
from common.learning.randomness import example_keys
from common.program.errors import UserError
from gan.sampling import BATCH, Sampler

_SEED = 11  # of the images by which the logits are known
_CHANCE = 100  # a purpose of random keys, unlike those of gan/sampling.py
_KNOWN = 1000  # images
_AT_ONCE = 256  # images
_SHARE = 0.01  # of candidates, below which the search ends
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
    """

    sampler: Sampler
    variables: Variables

    def images(self, seed: int, numbers: Numbers, label: int) -> Images:
        """Returns the images of a class by their numbers."""

        def draw(numbers: Numbers) -> Array:
            labels = np.full(len(numbers), label, np.int32)
            return from_signed_unit(self.values(seed, numbers, labels))

        return by_batches(draw, BATCH, numbers)

    def values(
        self, seed: int, numbers: Numbers, labels: Numbers
    ) -> Float[Array, "images height width channels"]:
        """Returns a batch of images in [-1, 1] by their numbers and classes."""
        latents = self.sampler.latents(seed, jnp.asarray(numbers))
        noise_keys = self.sampler.noise_keys(seed, jnp.asarray(numbers))
        return self.sampler.values(self.variables, latents, jnp.asarray(labels), noise_keys)


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


def rejection(
    drawing: Drawing,
    seed: int,
    logits_of: Callable[[Images, Numbers], Logits],
    real: tuple[Images, Numbers],
    percentile: float,
) -> Keeps:
    """Returns the test of discriminator rejection sampling, within each class.

    Args:
      drawing: of the images.
      seed: of the chance by which an image is kept.
      logits_of: images and their classes -> the discriminator's logit of each.
      real: images and their classes, by which it is known what odds a logit stands for.
      percentile: see `acceptance`.

    Raises:
      UserError: the discriminator does not take real images for real.
    """

    def logits(label: int, images: Images) -> Logits:
        return logits_of(images, np.full(len(images), label, np.int32))

    @cache
    def usual(label: int) -> Logits:
        return logits(label, drawing.images(_SEED, np.arange(_KNOWN, dtype=np.int32), label))

    generated = [usual(label) for label in np.unique(real[1]).tolist()]
    slope = slope_of_odds(logits_of(*real), np.concatenate(generated))
    if slope <= 0:
        raise UserError(
            "The discriminator takes generated images for real rather than real ones, so it can't"
            " say which to keep; leave out --reject, or train longer."
        )

    def keeps(label: int, numbers: Numbers, images: Images) -> Bool[np.ndarray, " images"]:
        chances = acceptance(slope * logits(label, images), slope * usual(label), percentile)
        keys = example_keys(jax.random.key(seed), _CHANCE + label, jnp.asarray(numbers))
        drawn = np.asarray(jax.vmap(jax.random.uniform)(keys))
        return drawn < chances

    return keeps


def slope_of_odds(
    real: Float[np.ndarray, " real"], generated: Float[np.ndarray, " generated"]
) -> float:
    """Returns the a of the logarithm of the odds `a logit + b` that an image is real.

    The a and b of a logistic regression: Platt, "Probabilistic Outputs for Support Vector Machines"
    (1999), whose targets, a little less than 1 and more than 0, keep them finite. A logit alone
    means nothing after a hinge loss, nor if the discriminator knows training images by heart. The
    odds of two images compare without b. 0 if all logits are equal.

    Args:
      real: logits of real images.
      generated: logits of generated ones.
    """
    counts = len(real), len(generated)
    logits = np.concatenate([real, generated]).astype(np.float64)
    if not (deviation := logits.std()):
        return 0.0
    inputs = np.stack([(logits - logits.mean()) / deviation, np.ones_like(logits)], 1)
    targets = np.repeat([1 - 1 / (counts[0] + 2), 1 / (counts[1] + 2)], counts)

    def cross_entropy(weights: np.ndarray) -> tuple[float, np.ndarray]:
        odds = inputs @ weights
        return np.logaddexp(0, odds).sum() - targets @ odds, (expit(odds) - targets) @ inputs

    found = minimize(cross_entropy, np.zeros(2), jac=True)
    return float(found.x[0] / deviation)


def acceptance(
    logits: Logits, usual: Float[np.ndarray, " known"], percentile: float
) -> Float64[np.ndarray, " images"]:
    """Returns the probability with which each image is kept: `sigmoid(F - gamma)`.

    `F = d - log(1 - exp(d))`, d the image's logit less the highest usual one. Where the logit is
    the logarithm of the ratio of the densities of real and generated images and gamma is 0, the
    kept images have the density of real ones. A larger gamma keeps fewer. Azadi et al.,
    "Discriminator Rejection Sampling" (2019), section 3.3; their percentile is 80.

    Args:
      logits: of the images.
      usual: of many generated images.
      percentile: of F among the usual images, which is gamma; 0: gamma is 0.
    """
    highest = usual.max()

    def log_odds(logits: Logits) -> Float64[np.ndarray, " images"]:
        below = np.minimum(logits.astype(np.float64) - highest, -_LEAST)
        odds: np.ndarray = below - np.log(-np.expm1(below))
        return odds

    gamma = np.percentile(log_odds(usual), percentile) if percentile else 0.0
    found: np.ndarray = 1 / (1 + np.exp(gamma - log_odds(logits)))
    return found
