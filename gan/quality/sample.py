"""The generated images that are measured."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from common.devices.apply import by_batches
from common.learning.network import Variables
from gan.quality.measures import Features
from gan.quality.reference import Images, Labels
from gan.sampling import BATCH, Sampler


@dataclass(frozen=True)
class Sample:
    """Generated images.

    Attributes:
      images: all of them.
      labels: the requested classes; 0 of an unconditional generator.
      features: by extractor of the reference.
    """

    images: Images
    labels: Labels
    features: Mapping[str, Features]


def draw_images(
    sampler: Sampler,
    variables: Variables,
    seed: int,
    counts: Sequence[int],
    chosen: Callable[[int, int], Labels] = lambda label, count: np.arange(count, dtype=np.int32),
) -> tuple[Images, Labels]:
    """Returns images of a seed and each class: those that --mode=generate writes.

    Args:
      sampler: of the generator.
      variables: its parameters and running statistics.
      seed: of the latents.
      counts: how many of class 0, 1, ...; one number for an unconditional generator.
      chosen: a class and how many -> the numbers of its images; without it 0, 1, ...
    """
    numbers = np.concatenate([chosen(label, count) for label, count in enumerate(counts)])
    labels = np.repeat(np.arange(len(counts), dtype=np.int32), counts)

    def draw(numbers: Labels, labels: Labels) -> Array:
        latents = sampler.latents(seed, jnp.asarray(numbers))
        noise_keys = sampler.noise_keys(seed, jnp.asarray(numbers))
        return sampler.images(variables, latents, jnp.asarray(labels), noise_keys)

    return by_batches(draw, BATCH, numbers, labels), labels
