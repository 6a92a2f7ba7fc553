"""Transforms of pixels on the device, inside the step: their range, and augmentation.

All changes of geometry are composed into one map from each pixel to its place in the source, which
is sampled once: an image is blurred once, not once per change.
"""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates
from jaxtyping import Array, Float, Key, Num, Shaped, UInt8

from common.data.augmentation import Augmentation

# Rows and columns in the source, counted in pixels from its first one.
Coordinates = Float[Array, "2 height width"]

_VARIED = ("image", "mask", "target")
_MODES = {"black": "constant", "edge": "nearest", "reflect": "reflect"}
_CHANCE = 1  # what is folded into a key to draw whether its image is varied
_KNOTS = 3  # displacements drawn along each side, as in the U-Net paper


def to_signed_unit(
    images: UInt8[Array, "batch height width channels"],
) -> Float[Array, "batch height width channels"]:
    """Maps stored pixels 0..255 to [-1, 1], the range of tanh."""
    return images.astype(jnp.float32) / 127.5 - 1.0


def to_unit(
    images: UInt8[Array, "batch height width channels"],
) -> Float[Array, "batch height width channels"]:
    """Maps stored pixels 0..255 to [0, 1]."""
    return images.astype(jnp.float32) / 255.0


def from_signed_unit(
    images: Float[Array, "batch height width channels"],
) -> UInt8[Array, "batch height width channels"]:
    """Maps [-1, 1] to 0..255, rounded; the inverse of `to_signed_unit` on stored pixels."""
    return _to_bytes((images + 1.0) * 127.5)


def augment(
    batch: dict[str, Shaped[Array, "batch ..."]],
    keys: Key[Array, " batch"],
    settings: Augmentation,
) -> dict[str, Shaped[Array, "batch ..."]]:
    """Varies a training batch at random, each example by its own key only.

    Image, mask and target move together; brightness, contrast and gamma change the image only.
    Values between pixels are interpolated linearly; a mask takes its nearest pixel.

    Args:
      batch: `image` uint8 NHWC and, if the data has them, `mask` uint8 class ids NHW and `target`
        uint8 NHWC; other entries are returned unchanged.
      keys: one random key per example.
      settings: what varies and how much; with everything off the batch is returned unchanged.
    """
    if not settings.is_on:
        return batch
    examples = {name: batch[name] for name in batch if name in _VARIED}
    pixels = examples["image"].astype(jnp.float32)  # rounded once, at the end
    varied = jax.vmap(partial(_vary, settings))({**examples, "image": pixels}, keys)
    return batch | {**varied, "image": _to_bytes(varied["image"])}


def augment_images(
    images: Float[Array, "batch height width channels"],
    keys: Key[Array, " batch"],
    settings: Augmentation,
    probability: Float[Array, ""] | None = None,
) -> Float[Array, "batch height width channels"]:
    """Varies images in [-1, 1] as `augment` does, neither rounded nor clipped.

    It is differentiable, so that a generator learns through it: Zhao et al., "Differentiable
    Augmentation for Data-Efficient GAN Training" (2020).

    Args:
      images: to be varied.
      keys: one random key per image.
      settings: what varies and how much.
      probability: of an image being varied; None: all are.
    """
    if not settings.is_on:
        return images
    varied = jax.vmap(partial(_vary, settings))({"image": (images + 1.0) * 127.5}, keys)
    shown = (varied["image"] / 127.5 - 1.0).astype(images.dtype)
    if probability is None:
        return shown
    chance = jax.vmap(lambda key: jax.random.uniform(jax.random.fold_in(key, _CHANCE)))(keys)
    return jnp.where((chance < probability)[:, None, None, None], shown, images)


def _vary(
    settings: Augmentation, example: dict[str, Array], key: Key[Array, ""]
) -> dict[str, Array]:
    """Varies an example whose image has values of 0 to 255."""
    geometry_key, deformation_key, values_key = jax.random.split(key, 3)
    image, varied = example["image"], example
    if settings.moves_pixels:
        height, width, _ = image.shape
        geometry = draw_geometry(geometry_key, settings, height, width)
        source = geometry.source_coordinates(height, width)
        if settings.elastic:
            source += draw_deformation(deformation_key, settings, height, width)
        varied = {
            name: resample(
                pixels, source, settings.fill, name == "mask" or settings.moves_whole_pixels
            )
            for name, pixels in varied.items()
        }
    if settings.changes_values:
        image = vary_values(values_key, varied["image"], image.mean((0, 1)), settings)
        varied = {**varied, "image": image}
    if settings.cutout:
        image = cut_out(jax.random.fold_in(values_key, 1), varied["image"], settings.cutout)
        varied = {**varied, "image": image}
    return varied


class Geometry(NamedTuple):
    """How an image is mirrored, turned, scaled and shifted, in this order, about its centre.

    Attributes:
      flips: -1 mirrors, 1 does not: rows (top to bottom) and columns (left to right).
      angle: radians, counter-clockwise.
      scale: 2 makes things twice as large.
      shift: pixels, downwards and to the right.
    """

    flips: Float[Array, "2"]
    angle: Float[Array, ""]
    scale: Float[Array, ""]
    shift: Float[Array, "2"]

    def source_coordinates(self, height: int, width: int) -> Coordinates:
        """Returns where in the source each pixel of the result comes from."""
        centre = jnp.array([(height - 1) / 2, (width - 1) / 2])[:, None, None]
        pixels = jnp.stack(jnp.meshgrid(jnp.arange(height), jnp.arange(width), indexing="ij"))
        rows, columns = (pixels - centre - self.shift[:, None, None]) / self.scale
        cos, sin = jnp.cos(self.angle), jnp.sin(self.angle)
        turned_back = jnp.stack([cos * rows + sin * columns, cos * columns - sin * rows])
        return centre + self.flips[:, None, None] * turned_back


def draw_geometry(key: Key[Array, ""], settings: Augmentation, height: int, width: int) -> Geometry:
    """Draws a random geometry; a setting that is on does not change the draws of the others."""
    draws = jax.random.uniform(key, (9,), minval=-1.0, maxval=1.0)
    turn, zoom, cut = draws[:3]
    mirror, travel, window = draws[3:].reshape(3, 2)
    side = jnp.array([height, width])
    flips = jnp.array([settings.flip_vertical, settings.flip_horizontal])
    # A crop is an enlargement. Its window has this much room on either side between the centres of
    # the outermost pixels, so no pixel comes from outside.
    kept = 1 - settings.crop * (1 + cut) / 2
    room = (1 - kept) * (side - 1) / 2
    shift = settings.translation * side * travel
    if settings.moves_whole_pixels:
        shift = jnp.round(shift)
    return Geometry(
        flips=jnp.where(flips & (mirror < 0), -1.0, 1.0),
        angle=math.radians(settings.rotation) * turn,
        scale=(1 + settings.zoom * zoom) / kept,
        shift=(shift - room * window) / kept,
    )


def draw_deformation(
    key: Key[Array, ""], settings: Augmentation, height: int, width: int
) -> Coordinates:
    """Draws smooth displacements, in pixels: normal ones on a coarse grid, bicubic in between.

    Source: Ronneberger et al. 2015, "U-Net: Convolutional Networks for Biomedical Image
    Segmentation", section 3.1: a grid of 3 by 3, standard deviation 10 pixels.
    """
    knots = jax.random.normal(key, (2, _KNOTS, _KNOTS))
    pixels = settings.elastic * jnp.array([height, width])[:, None, None] * knots
    shifts: Array = jax.image.resize(pixels, (2, height, width), "cubic")
    return shifts


def resample(
    pixels: Num[Array, "height width ..."], source: Coordinates, fill: str, nearest: bool = False
) -> Num[Array, "height width ..."]:
    """Samples an image between its pixels, linearly or from the nearest one.

    Args:
      pixels: an image with channels or a mask without; the result has its type, rounded if integer.
      source: where to read, for each pixel of the result.
      fill: what is outside: see `Augmentation`.
      nearest: takes only values that occur in `pixels`, as a mask needs.
    """
    order, mode = 0 if nearest else 1, _MODES[fill]

    def read(plane: Num[Array, "height width"]) -> Num[Array, "height width"]:
        moved: Array = map_coordinates(plane, list(source), order, mode)
        return moved

    return read(pixels) if pixels.ndim == 2 else jax.vmap(read, -1, -1)(pixels)


def vary_values(
    key: Key[Array, ""],
    image: Float[Array, "height width channels"],
    mean: Float[Array, " channels"],
    settings: Augmentation,
) -> Float[Array, "height width channels"]:
    """Applies a random contrast (about a mean), brightness and gammas to an image of 0..255.

    The result may leave that range.
    """
    contrast, brightness = jax.random.uniform(key, (2,), minval=-1.0, maxval=1.0)
    factor = 1 + settings.contrast * contrast
    image = mean + factor * (image - mean) + 255 * settings.brightness * brightness
    if settings.gamma:
        channels = (image.shape[-1],)
        turn = jax.random.uniform(jax.random.fold_in(key, 0), channels, minval=-1.0, maxval=1.0)
        unit = (image / 255).clip(0, 1)
        raised = jnp.where(unit > 0, unit, 1) ** (1 + settings.gamma) ** turn
        image = 255 * jnp.where(unit > 0, raised, 0)  # a root has no derivative at 0
    return image


def cut_out(
    key: Key[Array, ""], image: Float[Array, "height width channels"], share: float
) -> Float[Array, "height width channels"]:
    """Makes a square of an image of 0..255 grey; its centre is any pixel, `share` its side."""
    side = jnp.array(image.shape[:2])
    centre = jnp.floor(side * jax.random.uniform(key, (2,)))
    rows, columns = (
        jnp.abs(jnp.arange(n) - at) < share * n / 2
        for n, at in zip(image.shape[:2], centre, strict=True)
    )
    return jnp.where((rows[:, None] & columns)[..., None], 127.5, image)


def _to_bytes(values: Float[Array, "*shape"]) -> UInt8[Array, "*shape"]:
    return jnp.clip(jnp.round(values), 0, 255).astype(jnp.uint8)
