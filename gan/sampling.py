"""Drawing images from a trained generator.

The moving average of the parameters has no running statistics of its own, so BatchNorm's are
estimated, from latents of a fixed seed: the same state always draws the same images.
"""

import hashlib
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int, UInt8

from common.data.transforms import from_signed_unit
from common.devices.apply import by_batches
from common.learning.network import Variables
from common.learning.randomness import example_keys
from common.program.cache import cache_dir, kept_array
from common.program.memory import low_memory_options
from gan.drawing import draw_labels, draw_latents
from gan.networks import Labels, Noise, NoiseKeys
from gan.state import GAN, GANState

BATCH = 32  # on two CPU cores 0.87 of the time of 64 (AC-GAN, 5 rounds), in half the memory
ESTIMATION_BATCH = 64
_ESTIMATION_SEED = 7
# Purposes of random keys: sampling and estimation never share one, whatever the seeds.
LATENTS, ESTIMATION_LATENTS, ESTIMATION_LABELS, NOISE, ESTIMATION_NOISE = range(5)


class Sampler:
    """Compiled sampling: params and batch_stats in, uint8 images out."""

    def __init__(self, gan: GAN, truncation: float = 1.0) -> None:
        """Prepares to draw from a GAN.

        Args:
          gan: whose generator draws.
          truncation: see `Generator`. Truncated images have statistics of BatchNorm of their own;
            with those of all, they come out pale.
        """
        self.gan = gan
        # BatchNorm outside the parallel step; with momentum 0 the running statistics are those of
        # the current batch.
        self._generator = _with(gan.networks.generator, axis_name="", truncation=truncation)
        self._estimator = _with(self._generator, momentum=0.0)
        options = low_memory_options()
        self._moments = jax.jit(self._moments_of_batch, compiler_options=options)
        self._values = jax.jit(self.draw_values, compiler_options=options)
        self._latents = jax.jit(self._draw_latents)

    def batch_stats(
        self,
        params: Variables,
        batch_stats: Variables,
        num_batches: int,
        frozen: Variables | None = None,
    ) -> Variables:
        """Estimates the statistics of every BatchNorm over `num_batches` batches of 64 latents.

        The variance is that of all batches pooled: the mean square less the squared mean.
        """
        if not batch_stats:
            return batch_stats
        # A Python loop: inside the program it would be slow on CPUs. It waits; otherwise a CPU
        # would begin the next batch before this one's memory is free.
        batches = [
            jax.block_until_ready(
                self._moments(params, batch_stats, jnp.int32(number), frozen or {})
            )
            for number in range(num_batches)
        ]
        moments = jax.tree.map(lambda *values: sum(values) / num_batches, *batches)
        return _of_each_norm(moments, lambda mean, square: jnp.maximum(square - mean**2, 0.0))

    def kept_batch_stats(
        self,
        params: Variables,
        batch_stats: Variables,
        num_batches: int,
        cache: str,
        frozen: Variables | None = None,
    ) -> Variables:
        """Returns `batch_stats` of these arguments; estimates them only the first time.

        The cache keeps them by the program and the parameters that they come from.

        Args:
          params: of the generator.
          batch_stats: running statistics, for their structure.
          num_batches: of 64 latents.
          cache: `config.data.cache_dir`.
          frozen: weights that do not learn.
        """
        if not batch_stats:
            return batch_stats
        first = (params, batch_stats, jnp.int32(0), frozen or {})
        program = self._moments.lower(*first).as_text()
        digest = hashlib.sha256(f"{num_batches} {program}".encode())
        for leaf in jax.tree.leaves((params, frozen or {})):
            digest.update(np.ascontiguousarray(leaf).data)
        file = cache_dir(cache) / "statistics" / f"{digest.hexdigest()[:24]}.npy"
        numbers, from_numbers = ravel_pytree(batch_stats)

        def estimate() -> Any:
            found = self.batch_stats(params, batch_stats, num_batches, frozen)
            return np.asarray(ravel_pytree(found)[0])

        kept: Variables = from_numbers(jnp.asarray(kept_array(file, len(numbers), estimate)))
        return kept

    def variables(self, state: GANState, num_batches: int, cache: str | None = None) -> Variables:
        """Returns what images are drawn with: the average generator and statistics of its own.

        Args:
          state: of the GAN.
          num_batches: of 64 latents, for the statistics.
          cache: `config.data.cache_dir`, to estimate the statistics only once; None: each time.
        """
        generator = state.generator
        if cache is None:
            estimate = partial(self.batch_stats, frozen=generator.frozen)
        else:
            estimate = partial(self.kept_batch_stats, cache=cache, frozen=generator.frozen)
        return generator.applied(
            state.average, estimate(state.average, generator.batch_stats, num_batches)
        )

    def noise_keys(self, seed: int, indices: Int[Array, " n"]) -> NoiseKeys:
        """Returns the keys of the noise in images number `indices`; None if none is drawn."""
        if not self.gan.networks.generator.noisy:
            return None
        return example_keys(jax.random.key(seed), NOISE, indices)

    def latents(self, seed: int, indices: Int[Array, " n"]) -> Float[Array, "n latent"]:
        """Draws the latents number `indices` of a seed; each depends on its own number alone."""
        latents: Array = self._latents(jax.random.key(seed), indices)
        return latents

    def values(
        self,
        variables: Variables,
        latents: Float[Array, "n latent"],
        labels: Labels,
        noise_keys: NoiseKeys = None,
    ) -> Float[Array, "n height width channels"]:
        """Draws images in [-1, 1] with running statistics."""
        images: Array = self._values(variables, latents, labels, noise_keys)
        return images

    def images(
        self,
        variables: Variables,
        latents: Float[Array, "n latent"],
        labels: Labels,
        noise_keys: NoiseKeys = None,
    ) -> UInt8[Array, "n height width channels"]:
        """Draws images of 0 to 255 with running statistics."""
        return from_signed_unit(self.values(variables, latents, labels, noise_keys))

    def many_values(
        self,
        variables: Variables,
        latents: Float[Array, "n latent"],
        labels: Labels,
        noise_keys: NoiseKeys = None,
    ) -> Float[np.ndarray, "n height width channels"]:
        """Draws any number of images in [-1, 1] by one program, batch after batch.

        An image does not depend on which others are drawn: the last batch is padded.
        """

        def draw(latents: np.ndarray, labels: np.ndarray, *data: np.ndarray) -> Array:
            keys = jax.random.wrap_key_data(jnp.asarray(data[0])) if data else None
            return self.values(variables, jnp.asarray(latents), jnp.asarray(labels), keys)

        data = [] if noise_keys is None else [np.asarray(jax.random.key_data(noise_keys))]
        return by_batches(draw, BATCH, np.asarray(latents), np.asarray(labels), *data)

    def _draw_latents(self, key: Array, indices: Array) -> Array:
        return draw_latents(self.gan, example_keys(key, LATENTS, indices))

    def draw_values(
        self,
        variables: Variables,
        latents: Array,
        labels: Array,
        noise_keys: NoiseKeys | Noise = None,
    ) -> Array:
        """Draws as `values` does, to be compiled."""
        values: Array = self._generator.apply(
            variables, latents, labels, train=False, noise_keys=noise_keys
        )
        return values

    def _moments_of_batch(
        self,
        params: Variables,
        batch_stats: Variables,
        number: Array,
        frozen: Variables,
    ) -> Variables:
        key = jax.random.key(_ESTIMATION_SEED)
        indices = number * ESTIMATION_BATCH + jnp.arange(ESTIMATION_BATCH)
        variables = {"params": params, "batch_stats": batch_stats}
        noisy = self.gan.networks.generator.noisy
        _, changed = self._estimator.apply(
            {**variables, "frozen": frozen} if frozen else variables,
            draw_latents(self.gan, example_keys(key, ESTIMATION_LATENTS, indices)),
            draw_labels(self.gan, example_keys(key, ESTIMATION_LABELS, indices)),
            train=True,
            noise_keys=example_keys(key, ESTIMATION_NOISE, indices) if noisy else None,
            mutable=["batch_stats"],
        )
        return _of_each_norm(changed["batch_stats"], lambda mean, var: var + mean**2)


def _with(generator: Any, **fields: Any) -> Any:
    """Returns a copy of a generator with other values of those fields that it has."""
    known = generator.__dataclass_fields__
    return generator.clone(**{name: value for name, value in fields.items() if name in known})


def _of_each_norm(batch_stats: Variables, new_var: Any) -> Variables:
    """Replaces `var` by new_var(mean, var) in every {"mean": ..., "var": ...} of the tree.

    Other arrays, such as those of spectral norms, stay.
    """
    if "mean" in batch_stats:
        mean = batch_stats["mean"]
        return {"mean": mean, "var": new_var(mean, batch_stats["var"])}
    return {
        name: _of_each_norm(inner, new_var) if isinstance(inner, dict) else inner
        for name, inner in batch_stats.items()
    }
