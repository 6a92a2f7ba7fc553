"""The elements of phantoms: random numbers, ellipses, beads and noise.

An image is built in normalised coordinates (x to the right, y downwards, -1 to 1), so that it shows
the same anatomy at every size. Organs are ellipses, that is, quadratic forms; vessels, ribs and
lesions are chains or clusters of Gaussian beads, each the product of a function of x and one of y;
texture is noise on a coarse grid. A few matrix products rasterise all of it.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, UInt8

_BLOCK_PIXELS = 2**15  # pixels drawn together, measured fastest; more exceeds the CPU's cache
_NUM_UNIFORMS = 256  # random numbers for the anatomy of one image, at most
_FINEST = 128  # fewest pixels per side at which fine detail is drawn
_BLUR = 0.012  # width of a scanner's edges, in half images

Drawn = UInt8[np.ndarray, "_block *_shape"]
Pixels = UInt8[np.ndarray, "block size size"]
Axis = Float32[np.ndarray, " size"]  # coordinates of the pixels' centres
Flags = Bool[np.ndarray, "block 1"]
Columns = Float32[np.ndarray, "block count"]
Planes = Float32[np.ndarray, "block size size"]
Covers = Float32[np.ndarray, "block organs size size"]
Ellipses = Float32[np.ndarray, "block organs 5"]  # centre (x, y), semi-axes, rotation in radians
Affine = Float32[np.ndarray, "*batch 3 3"]  # maps homogeneous (x, y, 1)
Beads = Float32[np.ndarray, "block beads 4"]  # x, y, standard deviation, height


def in_blocks(
    draw: Callable[[int, int], tuple[Drawn, ...]], num: int, pixels: int
) -> tuple[Drawn, ...]:
    """Draws `num` images of `pixels` pixels by `draw(start, block)`.

    A block is always full and starts at a multiple of its size, so that an image passes through the
    same vector instructions, and is the same to the last bit, whatever `num` is.
    """
    block = max(1, _BLOCK_PIXELS // pixels)
    whole: tuple[Drawn, ...] = ()
    for start in range(0, max(num, 1), block):
        parts = draw(start, block)
        whole = whole or tuple(np.empty((num, *part.shape[1:]), np.uint8) for part in parts)
        for array, part in zip(whole, parts, strict=True):
            array[start : start + block] = part[: num - start]
    return whole


def axis_of(size: int) -> Axis:
    """Returns the coordinates of the centres of `size` pixels, between -1 and 1."""
    return ((np.arange(size) + 0.5) * 2 / size - 1).astype(np.float32)


def drawn_size(image_size: int) -> int:
    """Returns the multiple of `image_size` at which fine detail is drawn."""
    return -(-_FINEST // image_size) * image_size


def averaged(
    planes: Float32[np.ndarray, "*batch _fine _fine"], size: int
) -> Float32[np.ndarray, "*batch _size _size"]:
    """Averages squares of pixels down to `size` per side."""
    *batch, drawn, _ = planes.shape
    if drawn == size:
        return planes
    means: Planes = planes.reshape(*batch, size, drawn // size, size, drawn // size).mean(
        axis=(-3, -1)
    )
    return means


class Draws:
    """The random numbers of a block of images; row i is for image `start` + i.

    An image takes all its numbers from `default_rng([seed, its index])`, whatever else is drawn.

    Attributes:
      grids: standard normal noise [block, side, side], one for each side in `grid_sides`.
    """

    def __init__(self, seed: int, start: int, block: int, grid_sides: Sequence[int]) -> None:
        self.grids = [np.empty((block, side, side), np.float32) for side in grid_sides]
        self._uniforms = np.empty((block, _NUM_UNIFORMS), np.float32)
        self._used = 0
        for row in range(block):
            rng = np.random.default_rng([seed, start + row])
            rng.random(out=self._uniforms[row], dtype=np.float32)
            for grid in self.grids:
                rng.standard_normal(out=grid[row], dtype=np.float32)

    def uniform(self, low: float, high: float, count: int = 1) -> Columns:
        """Returns the next `count` numbers of each image, uniform in [low, high)."""
        taken = self._uniforms[:, self._used : self._used + count]
        self._used += count
        if self._used > _NUM_UNIFORMS:
            raise IndexError(f"a phantom needs more than {_NUM_UNIFORMS} random numbers")
        return np.float32(low) + taken * np.float32(high - low)

    def level(self, low: float, high: float) -> Float32[np.ndarray, "block 1 1"]:
        """Returns one number per image, to be combined with planes."""
        return self.uniform(low, high)[:, :, None]


def join(parts: Sequence[tuple[Any, ...]]) -> Beads:
    """Collects x, y, standard deviation, height of beads, each broadcast to the shape of x."""
    rows = [np.stack(np.broadcast_arrays(*p), axis=-1).reshape(len(p[0]), -1, 4) for p in parts]
    return np.concatenate(rows, axis=1, dtype=np.float32)


def affine(ellipses: Float32[np.ndarray, "*batch 5"]) -> Affine:
    """Returns the maps from the unit disc to ellipses."""
    x, y, a, b, angle = np.moveaxis(ellipses, -1, 0)
    cos, sin, zero = np.cos(angle), np.sin(angle), np.zeros_like(x)
    rows = [[a * cos, -b * sin, x], [a * sin, b * cos, y], [zero, zero, zero + 1]]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def place(affine: Affine, x: Columns, y: Columns) -> tuple[Columns, Columns]:
    """Maps points, given as (x, y)."""
    points = affine @ np.stack([x, y, np.ones_like(x)], axis=1)
    return points[:, 0], points[:, 1]


def coordinates(pose: Affine, axis: Axis) -> tuple[Planes, Planes]:
    """Returns x and y of each pixel before the pose."""
    back = np.linalg.inv(pose)[:, :2, :, None, None]
    points = back[:, :, 0] * axis + back[:, :, 1] * axis[:, None] + back[:, :, 2]
    return points[:, 0], points[:, 1]


def step(field: Planes, width: float) -> Planes:
    """Returns 0 where the field is negative, 1 where it is positive, with a ramp of that width."""
    ramp: Planes = np.clip(field * np.float32(1 / width) + np.float32(0.5), 0, 1)
    return ramp


def in_disc(ellipse: Affine, radius: Columns, turn: Columns) -> tuple[Columns, Columns]:
    """Maps polar coordinates in the unit disc to points of an ellipse."""
    return place(ellipse, radius * np.cos(turn), radius * np.sin(turn))


def rasterise_ellipses(organs: Ellipses, pose: Affine, axis: Axis) -> Covers:
    """Returns how much of each pixel each ellipse covers, 0 to 1."""
    to_disc = np.linalg.inv(pose[:, None] @ affine(organs))[:, :, :2, :, None]
    # In the unit disc a pixel is at `slope * x + base`: 1 - |it|^2 is a polynomial in x. It falls
    # by 2 per semi-axis at the border; an edge is as wide as a pixel or the blur, if wider.
    slope, base = to_disc[:, :, :, 0], to_disc[:, :, :, 1] * axis + to_disc[:, :, :, 2]
    gain = (organs[:, :, 2:4].min(axis=2) / (2 * max(2 / len(axis), _BLUR)))[:, :, None]
    cover: Covers = (-gain * (slope**2).sum(axis=2))[..., None] * axis
    cover = cover - (2 * gain * (slope * base).sum(axis=2))[..., None]
    cover *= axis
    cover += (0.5 + gain * (1 - (base**2).sum(axis=2)))[..., None]
    np.clip(cover, 0, 1, out=cover)
    return cover


def rasterise_beads(beads: Beads, pose: Affine, axis: Axis) -> Planes:
    """Returns the sum of Gaussian spots; one smaller than a pixel is spread over it."""
    x, y = place(pose, beads[:, :, 0], beads[:, :, 1])
    blurred = np.sqrt(beads[:, :, 2] ** 2 + np.float32(0.8 / len(axis)) ** 2)
    height = beads[:, :, 3] * (beads[:, :, 2] / blurred) ** 2
    across, down = _bell(x, blurred, axis), _bell(y, blurred, axis) * height[:, :, None]
    # OpenBLAS uses threads for products above 2^18, which on a busy CPU is 4 times slower.
    group = 2**18 // len(axis) ** 2 if len(axis) <= 128 else x.shape[1]
    groups = (slice(k, k + group) for k in range(0, x.shape[1], group))
    products: Planes = sum(np.swapaxes(down[:, k], 1, 2) @ across[:, k] for k in groups)
    return products


def _bell(centre: Columns, sigma: Columns, axis: Axis) -> Float32[np.ndarray, "block count size"]:
    """Returns exp(-t^2 / 2) as (1 - t^2 / 16)^8: faster, and zero where exp would be denormal."""
    distance = (axis - centre[:, :, None]) * (0.25 / sigma)[:, :, None]
    bell = np.maximum(1 - np.square(distance, out=distance), 0)
    power: np.ndarray = np.square(np.square(np.square(bell)))
    return power


def interpolate(noise: Float32[np.ndarray, "block side side"], axis: Axis) -> Planes:
    """Smooths unit-variance noise from a coarse grid to the image's size."""
    nodes = np.linspace(-1, 1, noise.shape[1], dtype=np.float32)[None]
    weights = _bell(nodes, np.full_like(nodes, 1.2 / noise.shape[1]), axis)[0]
    weights /= np.linalg.norm(weights, axis=0)  # keeps the variance
    smooth: Planes = weights.T @ noise @ weights
    return smooth
