"""Lung CT slices with and without the opacities of COVID-19.

Composed in approximate Hounsfield units, made noisy and shown through a lung window.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from common.data.phantoms.drawing import (
    Affine,
    Beads,
    Covers,
    Draws,
    Ellipses,
    Flags,
    Pixels,
    Planes,
    affine,
    axis_of,
    in_blocks,
    in_disc,
    interpolate,
    join,
    rasterise_beads,
    rasterise_ellipses,
)
from common.data.phantoms.kinds import Phantoms

LUNG_CT_CLASSES = ("COVID", "NonCOVID")

_COARSE_GRID, _FINE_GRID = 10, 32  # nodes per side of the two textures
_AIR, _FAT, _SOFT_TISSUE, _BONE = -1000.0, -100.0, 40.0, 400.0  # Hounsfield units, rounded

# The organs that are ellipses: centre (x, y), semi-axes (across, along), rotation in radians
_BODY, _WALL, _LUNG_RIGHT, _LUNG_LEFT, _HEART, _GREAT_VESSELS, _PARASPINAL, _AORTA = range(8)
_STERNUM, _VERTEBRA, _ARCH, _SPINOUS_PROCESS, _CANAL, _BRONCHUS_RIGHT, _BRONCHUS_LEFT = range(8, 15)
_TABLE, _TABLE_INSIDE = range(15, 17)
# fmt: off
_MEAN_ORGANS = np.array((
    (0, 0, 0.89, 0.76, 0), (0, 0, 0.83, 0.70, 0),
    (-0.39, 0, 0.35, 0.60, 0.17), (0.39, 0, 0.35, 0.60, -0.17),
    (0.07, -0.13, 0.22, 0.31, -0.15), (0.01, -0.10, 0.115, 0.54, 0),
    (0, 0.48, 0.16, 0.30, 0), (0.13, 0.24, 0.07, 0.075, 0),
    (0, -0.635, 0.13, 0.033, 0), (0, 0.37, 0.115, 0.10, 0), (0, 0.51, 0.22, 0.03, 0),
    (0, 0.60, 0.025, 0.065, 0), (0, 0.515, 0.05, 0.043, 0),
    (-0.055, 0.11, 0.044, 0.047, 0), (0.055, 0.11, 0.044, 0.047, 0),
    (0, 0.13, 1.30, 0.75, 0), (0, 0.13, 1.27, 0.72, 0),
), np.float32)
# fmt: on


def lung_ct(seed: int, num: int, image_size: int) -> Phantoms:
    """Draws axial lung CT slices of one channel; image i is COVID if i is even, else NonCOVID.

    COVID: opacities in both lungs, peripheral and mostly posterior, ground glass or consolidated;
    the mask marks them. NonCOVID: clear lungs and an empty mask; a solid nodule that some have is
    not marked. Image i depends on `seed`, i and `image_size`, its anatomy not on the last.
    """
    images, masks = in_blocks(partial(_draw, seed, image_size), num, image_size**2)
    labels = np.arange(num, dtype=np.int32) % len(LUNG_CT_CLASSES)
    return Phantoms(images[..., None], labels, masks)


def _draw(seed: int, size: int, start: int, block: int) -> tuple[Pixels, Pixels]:
    """Returns the grey values and the lesion masks of images `start` to `start + block`."""
    draws = Draws(seed, start, block, (_COARSE_GRID, _FINE_GRID, size))
    infected = ((start + np.arange(block)) % 2 == 0)[:, None]
    shift_x, shift_y = draws.uniform(-0.04, 0.04), draws.uniform(-0.08, 0.0)
    scale, turn = draws.uniform(0.95, 1.07), draws.uniform(-0.07, 0.07)
    pose = affine(np.concatenate([shift_x, shift_y, scale, scale, turn], axis=1))
    axis = axis_of(size)
    organs = _organs(draws)
    lungs = [affine(organs[:, lung]) for lung in (_LUNG_RIGHT, _LUNG_LEFT)]
    cover = rasterise_ellipses(organs, pose, axis)
    aerated = cover[:, _LUNG_RIGHT : _LUNG_LEFT + 1].max(axis=1)
    aerated *= 1 - cover[:, _HEART : _AORTA + 1].max(axis=1)
    coarse, fine = (interpolate(grid, axis) for grid in draws.grids[:2])
    # Noise on the contour of its field makes a lesion patchy rather than a disc.
    extent = rasterise_beads(_lesions(draws, lungs, infected), pose, axis)
    extent *= 1 + 0.25 * coarse + 0.15 * fine
    opacity = np.clip(2.5 * extent - 0.75, 0, 1)
    masks = (opacity > 0.3) & (aerated > 0.5)
    density = draws.level(-890.0, -820.0) + 12 * coarse + 14 * fine
    density += draws.level(10.0, 90.0) * (0.5 + 0.5 * axis[:, None])  # gravity: denser behind
    density += opacity * (draws.level(290.0, 430.0) + 70 * fine)
    density += 400 * np.clip(extent - draws.level(0.6, 1.6), 0, 1)  # consolidation
    vessels = rasterise_beads(_vessels(draws, lungs, infected), pose, axis)
    density += 820 * np.minimum(vessels, 1)
    np.minimum(density, _SOFT_TISSUE, out=density)

    slices = _surroundings(cover, rasterise_beads(_ribs(draws), pose, axis), draws)
    slices += aerated * (density - slices)
    slices += cover[:, _BRONCHUS_RIGHT : _BRONCHUS_LEFT + 1].max(axis=1) * (_AIR - slices)
    slices += draws.level(15.0, 35.0) * draws.grids[2]
    level, width = draws.level(-500.0, -400.0), draws.level(1200.0, 1450.0)  # a lung window
    grey = (slices - (level - width / 2)) * (255 / width)
    return np.rint(np.clip(grey, 0, 255)).astype(np.uint8), masks.astype(np.uint8)


def _organs(draws: Draws) -> Ellipses:
    """Varies the ellipses from patient to patient and from slice to slice."""
    organs = np.repeat(_MEAN_ORGANS[None], len(draws.grids[0]), axis=0)
    organs[:, _BODY, 2:4] += draws.uniform(-0.03, 0.03)  # subcutaneous fat
    organs[:, :_TABLE, 1::2] *= draws.level(0.96, 1.04)  # barrel chests and flat ones
    lungs, bronchi = organs[:, _LUNG_RIGHT : _LUNG_LEFT + 1], organs[:, _BRONCHUS_RIGHT:_TABLE]
    lungs[:, :, 2] *= draws.uniform(0.95, 1.05, 2)
    lungs[:, :, 4] *= draws.uniform(0.7, 1.3, 2)
    lower = draws.uniform(-1.0, 1.0)  # from the great vessels (-1) down to the ventricles (1)
    organs[:, _HEART] += lower * np.array([0.04, 0.015, 0.06, 0.03, -0.15], np.float32)
    bronchi[:, :, 0] *= draws.uniform(0.6, 1.4)  # the trachea has just forked, or well above
    bronchi[:, :, 2:4] *= 1 - 0.15 * lower[:, :, None]
    return organs


def _lesions(draws: Draws, lungs: Sequence[Affine], infected: Flags) -> Beads:
    """Places clusters of opacity along the outer, mostly posterior border of each lung."""
    parts = []
    for lung, side in zip(lungs, (-1, 1), strict=True):
        turn = draws.uniform(-0.4, 1.4, 6)  # from lateral (0) to posterior (pi / 2)
        x, y = in_disc(lung, side * draws.uniform(0.7, 0.95, 6), side * turn)
        height = draws.uniform(-0.4, 1.1, 6)  # negative: this one is absent
        height[:, 0] = 1  # both lungs are affected
        parts.append((x, y, draws.uniform(0.07, 0.15, 6), np.maximum(height, 0) * infected))
    return join(parts)


def _vessels(draws: Draws, lungs: Sequence[Affine], infected: Flags) -> Beads:
    """Grows branches from each hilum, scatters vessels cut across, adds a nodule to some."""
    fan, along = np.linspace(-1.25, 1.25, 5), np.linspace(0, 1, 14)
    parts: list[tuple[Any, ...]] = []
    for lung, side in zip(lungs, (-1, 1), strict=True):
        x, y = draws.uniform(0.08, 0.15, 5), 0.07 + 0.1 * fan + draws.uniform(-0.03, 0.03)
        angle = fan + draws.uniform(-0.25, 0.25, 5)
        length, sigma = draws.uniform(0.3, 0.5, 5), draws.uniform(0.011, 0.018, 5)
        for _ in range(2):  # the trunks, then a thinner branch from the middle of each
            bend = draws.uniform(-0.6, 0.6, 5)
            heading = angle[:, :, None] + bend[:, :, None] * along
            step = (length / len(along))[:, :, None]
            path_x = x[:, :, None] + np.cumsum(step * np.cos(heading), axis=2)
            path_y = y[:, :, None] + np.cumsum(step * np.sin(heading), axis=2)
            thin = sigma[:, :, None] * (1 - 0.5 * along)
            wide = np.maximum(thin, step / 2.2)  # beads further apart would be visible as such
            parts.append((side * path_x, path_y, wide, thin / wide))
            x, y = path_x[:, :, 6], path_y[:, :, 6]
            angle, length, sigma = angle + 0.8 * np.sign(bend), 0.6 * length, 0.7 * sigma
        x, y = in_disc(lung, draws.uniform(0.2, 0.85, 12), draws.uniform(0.0, 6.28, 12))
        parts.append((x, y, draws.uniform(0.008, 0.014, 12), 0.9))
    x, y = in_disc(lungs[1], draws.uniform(0.3, 0.7), draws.uniform(0.0, 6.28))
    chance = draws.uniform(-1.0, 1.0)  # its sign chooses the lung
    nodule = 1.3 * (np.abs(chance) < 0.35) * ~infected
    return join([*parts, (np.sign(chance) * x, y, draws.uniform(0.025, 0.04), nodule)])


def _ribs(draws: Draws) -> Beads:
    """Sets short oblique arcs of bone into the chest wall."""
    ribs = np.tile([-0.95, -0.45, 0.05, 0.5, 0.95], 2)  # from anterior to posterior, on each side
    side, arc = np.repeat([-1, 1], 5)[:, None], np.linspace(-0.1, 0.1, 5)
    angle, depth = (ribs + draws.uniform(-0.12, 0.12, 10))[:, :, None] + arc, 0.935 + 0.25 * arc
    return join([(side * 0.83 * depth * np.cos(angle), 0.7 * depth * np.sin(angle), 0.022, 0.8)])


def _surroundings(cover: Covers, ribs: Planes, draws: Draws) -> Planes:
    """Returns the Hounsfield units of all but the lungs and the airways."""
    slices = _AIR + (_FAT - _AIR) * cover[:, _BODY]
    slices += (_SOFT_TISSUE - _FAT) * cover[:, _WALL]
    contrast_agent = draws.level(0.0, 90.0)
    slices += contrast_agent * np.maximum(cover[:, _HEART], cover[:, _AORTA])
    bones = ribs + cover[:, _STERNUM:_CANAL].max(axis=1) - cover[:, _CANAL]
    slices += (_BONE - _SOFT_TISSUE) * np.clip(bones, 0, 1)
    below = slice(cover.shape[2] * 5 // 8, None)  # of the table's ellipse only the lower arc exists
    table = cover[:, _TABLE, below] - cover[:, _TABLE_INSIDE, below]
    slices[:, below] += 700 * table * (1 - cover[:, _BODY, below])
    return slices
