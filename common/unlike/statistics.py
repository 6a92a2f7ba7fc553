"""Simple statistics of an image, to tell images of one kind from others.

They are cheap, need no network and no weights, and ignore position: the distribution of grey
values, and the amount of detail at each scale. The features of the trained network would be no
substitute: they keep what separates classes and drop what separates scanners. For each channel,
with grey values in [0, 1]:

    grey values   the quantiles 5, 25, 50, 75 and 95 %, the mean and the deviation
    spectrum      the logarithm of the mean power in each octave of frequencies and 4 directions
    steps         at each scale (halved by means of 2x2 pixels), of the differences of neighbours
                  along the columns and along the rows the logarithm of mean and deviation

Values below the rounding to uint8 are raised to it, so that black images have logarithms, too.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Int, UInt8
from scipy import fft

_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_OCTAVES = 6
_DIRECTIONS = 4
_SCALES = 5
_LEAST_SIDE = 4  # pixels of the coarsest scale
_LEAST_STEP = 1e-3  # a quarter of a level of uint8
_LEAST_POWER = 1e-7
_AT_ONCE = 16  # images: intermediate results stay in the CPU's caches

Images = UInt8[np.ndarray, "num height width channels"]
Statistics = Float[np.ndarray, "num statistics"]
_Values = Float[np.ndarray, "num height width channels"]


def image_statistics(images: Images) -> Statistics:
    """Returns the statistics of images, in float64; their number depends on size and channels."""
    parts = [images[start : start + _AT_ONCE] for start in range(0, len(images), _AT_ONCE)]
    return np.concatenate([np.concatenate(list(_of_some(part)), axis=1) for part in parts])


def _of_some(images: Images) -> Iterator[Statistics]:
    yield _grey_values(images)
    values = images.astype(np.float32) / 255
    yield _spectrum(values)
    for _ in range(_SCALES):
        if min(values.shape[1:3]) < _LEAST_SIDE:
            break
        yield _steps(values)
        values = _halved(values)


def _grey_values(images: Images) -> Statistics:
    levels = np.arange(256.0)
    planes = np.moveaxis(images, -1, 1).reshape(len(images) * images.shape[-1], -1)
    shares = np.stack([np.bincount(plane, minlength=256) for plane in planes]) / planes.shape[1]
    reached = shares.cumsum(1)
    quantiles = [(reached < quantile - 1e-9).sum(1) for quantile in _QUANTILES]
    mean = shares @ levels
    deviation = np.sqrt(np.maximum(shares @ levels**2 - mean**2, 0))
    return np.stack([*quantiles, mean, deviation], axis=1).reshape(len(images), -1) / 255


def _spectrum(values: _Values) -> Statistics:
    _, height, width, _ = values.shape
    planes = np.moveaxis(values - values.mean((1, 2), keepdims=True), -1, 1)
    power = np.abs(fft.rfft2(planes)) ** 2 / (height * width)
    area = _areas(height, width)
    sizes = np.bincount(area)
    members = np.eye(len(sizes), dtype=np.float32)[area][:, sizes > 0]
    means = power.reshape(-1, len(area)) @ members / sizes[sizes > 0]
    logarithms: np.ndarray = np.log(means.astype(np.float64) + _LEAST_POWER).reshape(
        len(values), -1
    )
    return logarithms


def _areas(height: int, width: int) -> Int[np.ndarray, " frequencies"]:
    """Returns the octave and direction of each frequency of `rfft2`."""
    down, across = fft.fftfreq(height)[:, None], fft.rfftfreq(width)
    octave = np.digitize(np.hypot(down, across), 0.5 ** np.arange(_OCTAVES, 0, -1))
    turn = np.arctan2(down, across) / np.pi + 0.5
    direction = np.rint(turn * _DIRECTIONS).astype(int) % _DIRECTIONS
    areas: np.ndarray = (octave * _DIRECTIONS + direction).ravel()
    return areas


def _steps(values: _Values) -> Statistics:
    found = []
    for axis in (1, 2):
        steps = np.abs(np.diff(values, axis=axis))
        found += [steps.mean((1, 2)), steps.std((1, 2))]
    return np.log(np.concatenate(found, axis=1).astype(np.float64) + _LEAST_STEP)


def _halved(values: _Values) -> Float[np.ndarray, "num half_height half_width channels"]:
    num, height, width, channels = values.shape
    even = values[:, : height // 2 * 2, : width // 2 * 2]
    means: np.ndarray = even.reshape(num, height // 2, 2, width // 2, 2, channels).mean((2, 4))
    return means
