"""Structural similarity of images, and how similar the images of one set are.

SSIM is 1 for equal images, about 0 for images that have nothing in common, at least -1.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from common.program.errors import UserError

_WINDOW, _SIGMA = 11, 1.5
MARGIN = _WINDOW // 2  # pixels between a pixel and the end of the window around it
_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_C1, _C2 = 0.01**2, 0.03**2
_BATCH = 25  # pairs at a time; divides the usual 100

Images = Float[Array, "batch height width channels"]
Scores = Float[Array, " batch"]
# The names begin with _ so that maps may have another size than the images.
Maps = Float[Array, "batch _height _width channels"]


@jax.jit
def ssim(x: Images, y: Images) -> Scores:
    """Returns the structural similarity of each x to its y, images in [0, 1].

    The mean over pixels and channels of `l c`, `l = (2 m_x m_y + C1) / (m_x^2 + m_y^2 + C1)` and
    `c = (2 s_xy + C2) / (s_x^2 + s_y^2 + C2)`, with means, variances and covariance under a
    Gaussian window of 11x11 pixels (sigma 1.5) within the image, C1 = 0.01^2 and
    C2 = 0.03^2. Wang et al., "Image Quality Assessment: From Error Visibility to Structural
    Similarity" (2004).

    Raises:
      UserError: the images are smaller than the window.
    """
    scores: Array = ssim_map(x, y).mean((1, 2, 3))
    return scores


@jax.jit
def ssim_map(x: Images, y: Images) -> Maps:
    """Returns the structural similarity at each pixel at least `MARGIN` from the border: `ssim`.

    Raises:
      UserError: the images are smaller than the window.
    """
    _scales(x)
    luminance, structure = _similarities(x, y)
    return luminance * structure


@jax.jit
def ms_ssim(x: Images, y: Images) -> Scores:
    """Returns the multi-scale structural similarity of each x to its y, images in [0, 1].

    The product over scales, each half the size of the one before, of the mean `c` to the power of
    the scale's weight, in the smallest of the mean `l c` (see `ssim`); a negative mean counts as
    0. Wang, Simoncelli and Bovik, "Multiscale Structural Similarity for Image Quality Assessment"
    (2003).

    Five scales need 176 pixels. Smaller images use as many as the window fits into (four from 88
    pixels, three from 44, two from 22, one from 11), with the first weights divided by their sum:
    values for different sizes do not compare.

    Raises:
      UserError: the images are smaller than the window.
    """
    scales = _scales(x)
    weights = [weight / sum(_WEIGHTS[:scales]) for weight in _WEIGHTS[:scales]]
    score = jnp.ones(())
    for scale, weight in enumerate(weights):
        luminance, structure = _similarities(x, y)
        similarity = structure if scale < scales - 1 else luminance * structure
        score = score * jnp.maximum(similarity.mean((1, 2)), 0) ** weight
        x, y = _halved(x), _halved(y)
    return score.mean(-1)


def mean_pairwise(
    images: Float[np.ndarray, "images height width channels"], pairs: int = 100, seed: int = 0
) -> float:
    """Returns the mean MS-SSIM of random pairs of different images in [0, 1].

    The more similar the images, the larger it is; compare it with that of real images of the same
    class. 100 pairs of each class: Odena, Olah and Shlens, "Conditional Image Synthesis with
    Auxiliary Classifier GANs" (2017).

    Raises:
      UserError: fewer than two images, or images smaller than 11 pixels.
    """
    if len(images) < 2:
        raise UserError(f"Similarity needs two images and there are {len(images)}; generate more.")
    rng = np.random.default_rng(seed)
    first = rng.integers(len(images), size=pairs)
    second = (first + rng.integers(1, len(images), size=pairs)) % len(images)
    batches = [slice(start, start + _BATCH) for start in range(0, pairs, _BATCH)]
    scores = [
        ms_ssim(jnp.asarray(images[first[batch]]), jnp.asarray(images[second[batch]]))
        for batch in batches
    ]
    return float(jnp.concatenate(scores).mean())


def _scales(x: Images) -> int:
    """Returns the number of scales of an image, up to five, that the window fits into."""
    side = min(x.shape[1:3])
    if side < _WINDOW:
        raise UserError(
            f"SSIM needs images of at least {_WINDOW} pixels, but these have {side}; enlarge them."
        )
    return min(len(_WEIGHTS), (side // _WINDOW).bit_length())


def _similarities(x: Images, y: Images) -> tuple[Maps, Maps]:
    """Returns `l` and `c` at each pixel around which the window fits."""
    mean_x, mean_y, square_x, square_y, product = _blurred(jnp.stack([x, y, x * x, y * y, x * y]))
    squares, both = mean_x**2 + mean_y**2, mean_x * mean_y
    luminance = (2 * both + _C1) / (squares + _C1)
    structure = (2 * (product - both) + _C2) / (square_x + square_y - squares + _C2)
    return luminance, structure


def _blurred(
    x: Float[Array, "sets batch height width channels"],
) -> Float[Array, "sets batch places_down places_across channels"]:
    """Returns the mean under the window, at every place within the image."""
    # Matrices were 3 to 10 times as fast on a CPU as sums of shifted images. A variance is a small
    # difference of these means, so accelerators must multiply in full float32.
    rows, columns = (jnp.asarray(_window(side), x.dtype) for side in x.shape[2:4])
    return jnp.einsum("ih,sbhwc,jw->sbijc", rows, x, columns, precision="highest")


def _window(side: int) -> Float[np.ndarray, "places {side}"]:
    """Returns the weights of a line of pixels at each place of the window."""
    offset = np.arange(side) - np.arange(side - _WINDOW + 1)[:, None] - _WINDOW // 2
    bell = np.exp(-0.5 * (offset / _SIGMA) ** 2) * (abs(offset) <= _WINDOW // 2)
    weights: np.ndarray = bell / bell.sum(1, keepdims=True)
    return weights


def _halved(x: Images) -> Maps:
    """Returns the means of 2x2 pixels; an odd last row or column counts twice."""
    _, height, width, _ = x.shape
    x = jnp.pad(x, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    rows = (x[:, ::2] + x[:, 1::2]) / 2
    return (rows[:, :, ::2] + rows[:, :, 1::2]) / 2
