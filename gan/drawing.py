"""Drawing generated images in training: latents, classes, images, and the gradient's way back."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from common.learning.accumulation import in_turn, mean_gradient, parts_of
from common.learning.network import NetworkState, Variables
from common.learning.precision import narrow, widen
from gan.state import GAN, GANState

Images = Float[Array, "batch height width channels"]
Classes = Int[Array, " batch"]
Pullback = Callable[[Images], tuple[Variables]]
# Latents, labels, and the keys of dropout and noise.
Drawn = tuple[
    Float[Array, "batch latent"], Classes, Key[Array, " batch"] | None, Key[Array, " batch"] | None
]


class Generated(NamedTuple):
    """A batch of generated images and the gradient's way back to the generator.

    Attributes:
      images: in [-1, 1].
      labels: the requested classes.
      latents: what the images were drawn from.
      batch_stats: the generator's running statistics after this batch.
      pullback: gradient with respect to the images, those of each part's mean loss -> gradient with
        respect to its parameters.
    """

    images: Images
    labels: Classes
    latents: Float[Array, "batch latent"]
    batch_stats: Variables
    pullback: Pullback


def draw_latents(gan: GAN, keys: Key[Array, " batch"]) -> Float[Array, "batch latent"]:
    """Draws latents, one per key: standard normal, or uniform in [-1, 1]."""
    shape = (gan.latent_size,)
    if gan.latent == "uniform":
        return jax.vmap(lambda key: jax.random.uniform(key, shape, minval=-1.0))(keys)
    return jax.vmap(lambda key: jax.random.normal(key, shape))(keys)


def draw_labels(gan: GAN, keys: Key[Array, " batch"]) -> Classes:
    """Draws classes, all equally likely, one per key."""
    return jax.vmap(lambda key: jax.random.randint(key, (), 0, gan.num_classes))(keys)


def draw_fakes(
    gan: GAN,
    state: GANState,
    latents: Float[Array, "batch latent"],
    labels: Classes,
    dropout_keys: Key[Array, " batch"] | None = None,
    noise_keys: Key[Array, " batch"] | None = None,
) -> Generated:
    """Draws images in training mode (BatchNorm with the statistics of this batch)."""
    generator = state.generator
    rows = (latents, labels, dropout_keys, noise_keys)
    if gan.accumulate > 1:
        images, pullback, batch_stats = _draw_in_parts(gan, state, rows)
    else:
        draw = partial(_draw, gan, generator, rows, generator.batch_stats)
        images, pullback, batch_stats = jax.vjp(draw, generator.params, has_aux=True)
    return Generated(images, labels, latents, batch_stats, pullback)


def _draw(
    gan: GAN, generator: NetworkState, rows: Drawn, batch_stats: Variables, params: Variables
) -> tuple[Images, Variables]:
    """Returns images and the running statistics after them."""
    latents, labels, dropout_keys, noise_keys = rows
    images, changed = gan.networks.generator.apply(
        generator.applied(params, batch_stats),
        narrow(latents, gan.dtype),
        labels,
        train=True,
        dropout_keys=dropout_keys,
        noise_keys=noise_keys,
        mutable=["batch_stats"],
    )
    return widen(images), changed.get("batch_stats", {})


def _draw_in_parts(gan: GAN, state: GANState, rows: Drawn) -> tuple[Images, Pullback, Variables]:
    """Returns images, the gradient's way back, and the running statistics after them.

    A part is drawn again for its gradient, so that its activations do not wait for it.
    """
    generator, always = state.generator, state.step >= 0

    def draw(batch_stats: Variables, part: Drawn) -> tuple[Variables, Images]:
        images, batch_stats = _draw(gan, generator, part, batch_stats, generator.params)
        return batch_stats, images

    def gradient_of(
        batch_stats: Variables, part: tuple[Drawn, Images]
    ) -> tuple[Variables, tuple[Variables, None]]:
        rows, of_images = part
        again = partial(_draw, gan, generator, rows, batch_stats)
        _, back, batch_stats = jax.vjp(again, generator.params, has_aux=True)
        return back(of_images)[0], (batch_stats, None)

    def pullback(of_images: Images) -> tuple[Variables]:
        parts = parts_of((rows, of_images), gan.accumulate)
        stats = generator.batch_stats
        return mean_gradient(gradient_of, generator.params, stats, parts, always)[:1]

    parts = parts_of(rows, gan.accumulate)
    batch_stats, images = in_turn(draw, generator.batch_stats, parts, always)
    return jnp.concatenate(images), pullback, batch_stats
