"""How near translations are to their targets: error, signal to noise, structure.

Values are in [0, 1], the range of the stored images. Equal images have a PSNR of 100 dB, so that
means over images stay finite; without a pixel in a region there is no score, which is NaN.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from common.scores.ssim import MARGIN, ssim_map

WHOLE, BODY = "image", "body"  # regions; others are classes of masks
_LEAST_ERROR = 1e-10  # squared: 100 dB

Images = Float[Array, "batch height width channels"]
Regions = Bool[np.ndarray, "batch height width"]


def psnr(images: Images, targets: Images) -> Float[Array, " batch"]:
    """Returns `-10 log10` of each image's mean squared error, in dB."""
    return _in_decibels(((images - targets) ** 2).mean((1, 2, 3)))


def scores_in(
    regions: Regions,
    images: Float[np.ndarray, "batch height width channels"],
    targets: Float[np.ndarray, "batch height width channels"],
) -> dict[str, Float[np.ndarray, " batch"]]:
    """Returns the scores of each image in its region.

    "mae" and "psnr" are of the region's pixels; "ssim" is the mean over those around which its
    window of 11x11 pixels fits into the image.
    """
    errors = images - targets
    similar = np.asarray(ssim_map(jnp.asarray(images), jnp.asarray(targets)))
    inner = regions[:, MARGIN:-MARGIN, MARGIN:-MARGIN]
    return {
        "mae": _mean_in(regions, np.abs(errors)),
        "psnr": np.asarray(_in_decibels(jnp.asarray(_mean_in(regions, errors**2)))),
        "ssim": _mean_in(inner, similar),
    }


def _in_decibels(squared: Float[Array, " batch"]) -> Float[Array, " batch"]:
    decibels: Array = -10 * jnp.log10(jnp.maximum(squared, _LEAST_ERROR))
    return decibels


def _mean_in(
    regions: Regions, values: Float[np.ndarray, "batch _height _width channels"]
) -> Float[np.ndarray, " batch"]:
    """Returns the mean of values over the pixels of a region and all channels."""
    pixels = regions.sum((1, 2))
    total = (values.mean(-1) * regions).sum((1, 2))
    mean: np.ndarray = np.where(pixels, total / np.maximum(pixels, 1), np.nan)
    return mean
