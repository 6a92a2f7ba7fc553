"""Terms that a player's loss may have beside the adversarial and the class loss.

A term is a function of what it is shown and a line in `TERMS`; `config.loss.NAME` is its weight,
and a weight of 0 computes nothing.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from common.devices.axis import AXIS
from gan.losses import Images, Losses, gradient_penalty, r1

Value: TypeAlias = Losses | Float[Array, ""]  # per image, or of the whole batch


@dataclass(frozen=True)
class Shown:
    """What a term is shown of a player's update.

    Attributes:
      logit_of: images -> the discriminator's logit of each, with the labels of the images that the
        player learns by: real ones for the discriminator, its own for the generator.
      images: real ones; None in a generator's update.
      labels: of the real images.
      fakes: generated images.
      fake_labels: of the generated images.
      latents: of the generated images; None in a discriminator's update.
      keys: returns a random key of each image of this device.
    """

    logit_of: Callable[[Images], Losses]
    images: Images | None
    labels: Int[Array, " batch"] | None
    fakes: Images
    fake_labels: Int[Array, " batch"]
    latents: Float[Array, "batch latent"] | None
    keys: Callable[[], Key[Array, " batch"]]


@dataclass(frozen=True)
class Term:
    """A part of a player's loss.

    Attributes:
      player: whose loss it is in.
      value: what is averaged, weighted and added.
      lazy: whether it is computed only every `config.loss.penalty_every` steps, and counts as many
        times more (Karras et al., "Analyzing and Improving the Image Quality of StyleGAN", 2020).
      whole_batch: whether it is shown the images of all devices, in the order of the batch.
    """

    player: Literal["generator", "discriminator"]
    value: Callable[[Shown], Value]
    lazy: bool = False
    whole_batch: bool = False


def added(
    player: str,
    weights: Mapping[str, float],
    shown: Shown,
    position: Int[Array, " batch"],
    due: Callable[[], Array],
    every: int,
) -> dict[str, tuple[float, Value]]:
    """Returns weight and value of each of a player's terms by name.

    Args:
      player: "generator" or "discriminator".
      weights: of the terms that are used; those of the other player are passed over.
      shown: what the terms are shown.
      position: of the images in the global batch.
      due: returns whether lazy terms are computed in this step, equal on all devices.
      every: how many steps apart they are; their value is as many times larger, and 0 between.
    """
    found = {}
    for name, weight in weights.items():
        if (term := TERMS[name]).player != player:
            continue
        seen = _of_all_devices(shown, position) if term.whole_batch else shown
        if term.lazy and every > 1:
            found[name] = weight, _every(term.value, seen, due(), every)
        else:
            found[name] = weight, term.value(seen)
    return found


def _every(value: Callable[[Shown], Value], shown: Shown, due: Array, every: int) -> Value:
    like = jax.eval_shape(lambda: value(shown))
    found: Value = jax.lax.cond(
        due, lambda: every * value(shown), lambda: jnp.zeros(like.shape, like.dtype)
    )
    return found


def _of_all_devices(shown: Shown, position: Int[Array, " batch"]) -> Shown:
    """Returns the same of the images of all devices.

    Every device computes a term of all images, and the gradients of all of them arrive at each
    image, so that their mean over devices is the gradient of the term itself.
    """
    order = jnp.argsort(jax.lax.all_gather(position, AXIS, tiled=True))
    names = ("images", "labels", "fakes", "fake_labels", "latents")
    gathered = {
        name: jax.lax.all_gather(rows, AXIS, tiled=True)[order]
        for name in names
        if (rows := getattr(shown, name)) is not None
    }
    return replace(shown, **gathered)


def mode_seeking(
    images: Float[Array, "batch height width channels"],
    latents: Float[Array, "batch latent"],
    labels: Int[Array, " batch"],
) -> Float[Array, ""]:
    """`1 / (r + 1e-5)`, `r` the mean of `|G(z) - G(z')| / |z - z'|`; absolute means of entries.

    Small where other latents give other images: it keeps a generator from drawing few modes. Each
    image is paired with the next one of its class in the batch, in a circle; an image that is alone
    in its class counts for nothing, and the term is 0 if all are. Mao et al., "Mode Seeking
    Generative Adversarial Networks for Diverse Image Synthesis" (2019), equation 3, in the form of
    their program.
    """
    index = jnp.arange(len(labels))
    ahead = (index[None] - index[:, None] - 1) % len(labels)
    next_one = jnp.where(labels[:, None] == labels[None], ahead, len(labels)).argmin(1)
    paired = next_one != index
    moved = jnp.abs(images - images[next_one]).mean((1, 2, 3))
    apart = jnp.where(paired, jnp.abs(latents - latents[next_one]).mean(1), 1.0)
    ratio = jnp.where(paired, moved / apart, 0.0).sum() / jnp.maximum(paired.sum(), 1)
    return jnp.where(paired.any(), 1 / (ratio + 1e-5), 0.0)


def _gradient_penalty(shown: Shown) -> Value:
    assert shown.images is not None
    share = jax.vmap(jax.random.uniform)(shown.keys())
    return gradient_penalty(shown.logit_of, shown.images, shown.fakes, share)


def _r1(shown: Shown) -> Value:
    assert shown.images is not None
    return r1(shown.logit_of, shown.images)


def _mode_seeking(shown: Shown) -> Value:
    assert shown.latents is not None
    return mode_seeking(shown.fakes, shown.latents, shown.fake_labels)


TERMS = {
    "gradient_penalty": Term("discriminator", _gradient_penalty, lazy=True),
    "r1": Term("discriminator", _r1, lazy=True),
    "mode_seeking": Term("generator", _mode_seeking, whole_batch=True),
}
