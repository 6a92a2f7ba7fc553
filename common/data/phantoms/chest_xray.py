"""Frontal chest X-rays of normal lungs and of pneumonia.

Whatever a ray meets adds to the grey value, and air in the lungs takes from it.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from common.data.phantoms.drawing import (
    Affine,
    Axis,
    Beads,
    Columns,
    Covers,
    Drawn,
    Draws,
    Ellipses,
    Flags,
    Planes,
    affine,
    averaged,
    axis_of,
    coordinates,
    drawn_size,
    in_blocks,
    in_disc,
    interpolate,
    join,
    rasterise_beads,
    rasterise_ellipses,
    step,
)
from common.data.phantoms.kinds import Phantoms

CHEST_XRAY_CLASSES = ("NORMAL", "PNEUMONIA")

_TEXTURE_GRIDS = (8, 24)  # nodes per side of the coarse and the fine texture
_RIB_DISTANCE, _RIB_WIDTH = 0.155, 0.062

# The organs that are ellipses: centre (x, y), semi-axes (across, along), rotation in radians
_LUNG_RIGHT, _LUNG_LEFT, _VENTRICLES, _ATRIUM, _MEDIASTINUM, _AORTA = range(6)
_TRUNK, _CHEST, _NECK, _SHOULDER_RIGHT, _SHOULDER_LEFT = range(6, 11)
_RIB_CAGE, _SPINE, _TRACHEA, _STOMACH_GAS, _SCAPULA_RIGHT, _SCAPULA_LEFT = range(11, 17)
# fmt: off
_MEAN_ORGANS = np.array((
    (-0.37, 0.03, 0.31, 0.70, 0.10), (0.37, 0.03, 0.31, 0.70, -0.10),
    (0.17, 0.20, 0.25, 0.38, -0.75), (-0.06, 0.20, 0.15, 0.28, 0.1),
    (0.01, -0.15, 0.12, 0.85, 0), (0.07, -0.20, 0.10, 0.11, 0),
    (0, 0.60, 0.86, 1.40, 0), (0, -0.45, 0.70, 0.30, 0), (0, -0.85, 0.24, 0.5, 0),
    (-0.80, -0.35, 0.50, 0.23, -0.3), (0.80, -0.35, 0.50, 0.23, 0.3),
    (0, 0.10, 0.73, 0.88, 0), (0, 0, 0.085, 2.0, 0), (-0.015, -0.75, 0.04, 0.42, 0),
    (0.36, 0.74, 0.16, 0.08, -0.3),
    (-0.72, -0.38, 0.15, 0.36, 0.25), (0.72, -0.38, 0.15, 0.36, -0.25),
), np.float32)
# fmt: on


@dataclass(frozen=True)
class _Chests:
    """The chests of a block.

    Attributes:
      organs, cover: the ellipses, and how much of each pixel they cover.
      pose: from the coordinates of a chest of the mean size to those of the image.
      axis: of the image.
      x, y: of the pixels, in the coordinates of the chest.
      above: 1 above the diaphragm, 0 below.
      heart, middle: cover of the heart and of the rest of the mediastinum, above the diaphragm.
      lungs: the parts of the lungs beside them.
      coarse, fine: textures.
    """

    organs: Ellipses
    cover: Covers
    pose: Affine
    axis: Axis
    x: Planes
    y: Planes
    above: Planes
    heart: Planes
    middle: Planes
    lungs: Planes
    coarse: Planes
    fine: Planes

    def rasterise(self, beads: Beads) -> Planes:
        """Returns the sum of beads that are placed in the coordinates of the chest."""
        return rasterise_beads(beads, self.pose, self.axis)


def chest_xray(seed: int, num: int, image_size: int, *, healthy: bool = False) -> Phantoms:
    """Draws chest X-rays of one channel; image i is NORMAL if i is even, else PNEUMONIA.

    PNEUMONIA: opacities in the lungs, patchy or of a whole lobe; the mask marks them. Exposure and
    contrast vary in both classes, so that brightness alone does not tell them apart. Image i
    depends on `seed`, i and `image_size`, its anatomy not on the last.

    With `healthy` the same chests are drawn without the opacities.
    """
    draw = partial(_draw, seed, image_size, healthy)
    images, masks = in_blocks(draw, num, drawn_size(image_size) ** 2)
    labels = np.arange(num, dtype=np.int32) % len(CHEST_XRAY_CLASSES)
    return Phantoms(images[..., None], labels, masks)


def _draw(seed: int, size: int, healthy: bool, start: int, block: int) -> tuple[Drawn, Drawn]:
    """Returns the grey values and the masks of images `start` to `start + block`."""
    draws = Draws(seed, start, block, (*_TEXTURE_GRIDS, size))
    infected = ((start + np.arange(block)) % 2 == 1)[:, None] & (not healthy)
    chests = _chests(draws, axis_of(drawn_size(size)))
    opacity = _opacity(draws, chests, infected)
    shade = _soft_tissue(draws, chests) + _bones(draws, chests)
    shade += opacity * (draws.level(0.18, 0.3) + 0.03 * chests.fine)
    shade = averaged(shade, size) + draws.level(0.004, 0.012) * draws.grids[2]
    grey = 255 * (draws.level(0.9, 1.3) * (shade - 0.45) + draws.level(0.38, 0.58))
    masks = averaged(opacity, size) > 0.3
    return np.rint(np.clip(grey, 0, 255)).astype(np.uint8), masks.astype(np.uint8)


def _chests(draws: Draws, axis: Axis) -> _Chests:
    shift_x, shift_y = draws.uniform(-0.06, 0.06), draws.uniform(-0.06, 0.08)
    scale, turn = draws.uniform(0.92, 1.10, 2), draws.uniform(-0.06, 0.06)
    pose = affine(np.concatenate([shift_x, shift_y, scale, turn], axis=1))
    x, y = coordinates(pose, axis)
    coarse, fine = (interpolate(grid, axis) for grid in draws.grids[:2])
    level = draws.uniform(0.40, 0.58)
    organs = _organs(draws, level)
    cover = rasterise_ellipses(organs, pose, axis)
    dome = level[:, :, None] + draws.level(0.02, 0.07) * (x > 0)  # the right one is higher
    above = step(dome + 0.9 * (np.abs(x) - 0.33) ** 2 - y, 0.02)
    heart = above * cover[:, _VENTRICLES : _ATRIUM + 1].max(axis=1)
    middle = above * cover[:, _MEDIASTINUM : _AORTA + 1].max(axis=1)
    lungs = above * cover[:, : _LUNG_LEFT + 1].max(axis=1) * (1 - np.maximum(heart, middle))
    return _Chests(organs, cover, pose, axis, x, y, above, heart, middle, lungs, coarse, fine)


def _organs(draws: Draws, diaphragm: Columns) -> Ellipses:
    """Varies the ellipses from patient to patient; the heart rests on the diaphragm."""
    organs = np.repeat(_MEAN_ORGANS[None], len(draws.grids[0]), axis=0)
    organs[:, : _LUNG_LEFT + 1, 2:4] *= draws.uniform(0.93, 1.06, 4).reshape(-1, 2, 2)
    organs[:, _VENTRICLES : _ATRIUM + 1, 2:4] *= draws.level(0.85, 1.2)
    organs[:, _VENTRICLES : _ATRIUM + 1, 1] += diaphragm - 0.46
    organs[:, [_MEDIASTINUM], 2] *= draws.uniform(0.85, 1.35)
    organs[:, [_TRUNK], 2] *= draws.uniform(0.96, 1.12)
    organs[:, [_CHEST], 1] += draws.uniform(-0.12, 0.12)
    raised = draws.uniform(-0.5, 0.5)
    organs[:, _SHOULDER_RIGHT : _SHOULDER_LEFT + 1, 4] += raised * np.array([1, -1], np.float32)
    return organs


def _soft_tissue(draws: Draws, chests: _Chests) -> Planes:
    """Returns the shade of all that is not bone, with the air."""
    cover, lungs, x = chests.cover, chests.lungs, chests.x
    body = cover[:, _TRUNK : _SHOULDER_LEFT + 1].max(axis=1)
    shade: Planes = 0.08 + body * (0.40 + 0.12 * np.clip(1 - x**2, 0, 1) + 0.03 * chests.coarse)
    abdomen = (1 - chests.above) * cover[:, _TRUNK] * np.clip(1 - (x / 0.85) ** 4, 0, 1)
    gas = np.maximum(draws.level(-0.15, 0.2), 0) * cover[:, _STOMACH_GAS]
    shade += abdomen * (0.14 - gas)
    shade -= lungs * (draws.level(0.28, 0.36) - 0.02 * chests.coarse)
    shade += 0.10 * lungs * np.minimum(chests.rasterise(_vessels(draws)), 1.5)
    shade += 0.16 * np.maximum(0.92 * chests.heart, chests.middle)
    shade -= 0.08 * cover[:, _TRACHEA]
    return shade


def _bones(draws: Draws, chests: _Chests) -> Planes:
    """Returns the shade of spine, scapulae, clavicles and ribs."""
    cover, x, y = chests.cover, chests.x, chests.y
    shade = 0.035 * cover[:, _SPINE] * (1 + 0.25 * np.cos(50 * y))  # the vertebrae
    shoulders = 0.05 * cover[:, _SCAPULA_RIGHT:].max(axis=1)
    shoulders += 0.16 * np.minimum(chests.rasterise(_clavicles(draws)), 1)
    shade += cover[:, _TRUNK : _SHOULDER_LEFT + 1].max(axis=1) * shoulders
    out, slope = np.abs(x), draws.level(0.8, 1.2)
    ribs = 0.10 * _ribs(draws, y - slope * (0.75 * out**2 - 0.1 * out))  # down from the spine
    anterior = _ribs(draws, y + slope * (0.5 * out + 0.6 * out**2))  # and on to the sternum
    ribs += 0.04 * anterior * np.clip(2.5 * out - 0.6, 0, 1)
    ribs *= draws.level(0.7, 1.3) * (0.7 + 0.9 * out**2)
    hidden = (1 - 0.6 * np.maximum(chests.heart, chests.middle)) * (0.2 + 0.8 * chests.above)
    ribbed: Planes = shade + ribs * hidden * cover[:, _RIB_CAGE]
    return ribbed


def _ribs(draws: Draws, height: Planes) -> Planes:
    """Returns parallel ribs across a field, each with brighter edges of compact bone."""
    place = height / (_RIB_DISTANCE * draws.level(0.9, 1.1)) + draws.level(0.0, 1.0)
    off = np.abs(place - np.rint(place)) * _RIB_DISTANCE
    edges = np.clip(1 - np.abs(off - 0.4 * _RIB_WIDTH) / 0.016, 0, 1)
    ribs: Planes = 0.65 * step(0.5 * _RIB_WIDTH - off, 0.02) + 0.35 * edges
    return ribs


def _clavicles(draws: Draws) -> Beads:
    along = np.linspace(0, 1, 22)
    rise = draws.uniform(-0.02, 0.14)
    y = -0.56 - rise * along - 0.04 * np.sin(2 * np.pi * along)
    x = np.broadcast_to(0.09 + 0.62 * along, y.shape)
    return join([(side * x, y + draws.uniform(-0.03, 0.03), 0.022, 0.7) for side in (-1, 1)])


def _vessels(draws: Draws) -> Beads:
    """Winds branches out from each hilum."""
    along = np.linspace(0, 1, 18)
    parts: list[tuple[Any, ...]] = []
    for side in (-1, 1):
        angle = (np.linspace(-1.4, 1.5, 9) + draws.uniform(-0.25, 0.25, 9))[:, :, None]
        heading = angle + draws.uniform(-1.4, 1.4, 9)[:, :, None] * along
        stride = (draws.uniform(0.2, 0.5, 9) / len(along))[:, :, None]
        x = draws.uniform(0.12, 0.2, 9)[:, :, None] + np.cumsum(stride * np.cos(heading), axis=2)
        y = 0.04 * angle + np.cumsum(stride * np.sin(heading), axis=2)
        sigma = draws.uniform(0.012, 0.022, 9)[:, :, None] * (1 - 0.6 * along)
        parts.append((side * x, y, sigma, 0.6 * np.minimum(stride / sigma, 1)))
        x, y = side * draws.uniform(0.13, 0.2, 4), draws.uniform(-0.08, 0.12, 4)
        parts.append((x, y, 0.045, 0.6))
    return join(parts)


def _opacity(draws: Draws, chests: _Chests, infected: Flags) -> Planes:
    """Returns the cover of consolidations: patches in both lungs, or much of one lobe."""
    lobar = draws.uniform(-1.0, 1.0)  # far from 0: a lobe of the lung that its sign chooses
    patchy = np.abs(lobar) < 0.5
    extent = chests.rasterise(_patches(draws, chests)) * (patchy & infected)[:, :, None]
    lobe = _lobe(draws, chests, np.sign(lobar))
    extent += lobe * (~patchy & infected)[:, :, None]
    extent *= 1 + 0.3 * chests.coarse + 0.2 * chests.fine
    cloud: Planes = chests.lungs * np.clip(1.8 * extent - 0.6, 0, 1)
    return cloud


def _patches(draws: Draws, chests: _Chests) -> Beads:
    parts = []
    for lung, outwards in ((_LUNG_RIGHT, -1), (_LUNG_LEFT, 1)):
        turn, height = draws.uniform(-np.pi, np.pi, 6), draws.uniform(-0.9, 1.2, 6)
        turn[:, 0], height[:, 0] = 0.35 * turn[:, 0], 1.2  # one is not behind the heart
        radius, sigma = draws.uniform(0.1, 0.75, 6), draws.uniform(0.08, 0.14, 6)
        x, y = in_disc(affine(chests.organs[:, lung]), outwards * radius, outwards * turn)
        parts.append((x, y, sigma, np.maximum(height, 0)))  # some are absent
    return join(parts)


def _lobe(draws: Draws, chests: _Chests, side: Columns) -> Planes:
    """Fills a part of a lung up to a fissure, which is straight where the rays run along it."""
    x, y = 0.46 * side, draws.uniform(-0.45, 0.35)
    tilt, towards = draws.level(-0.3, 0.3), np.sign(draws.level(-1.0, 1.0))
    line = y[:, :, None] + tilt * (chests.x - x[:, :, None])
    x, y = x + draws.uniform(-0.16, 0.16, 5), y + draws.uniform(-0.2, 0.2, 5)
    extent = chests.rasterise(join([(x, y, draws.uniform(0.13, 0.2, 5), 0.8)]))
    lobe: Planes = extent * step(towards * (chests.y - line) + 0.12, 0.04)
    return lobe
