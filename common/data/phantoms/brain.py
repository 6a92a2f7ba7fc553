"""The anatomy of an axial slice through the head: which tissue is where.

A slice lies between the basal ganglia (height 0) and the top of the head (height 1). The cortex is
folded along the zero lines of a sum of plane waves of random direction and similar length, which
meander at similar distances from each other, as sulci do.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32

from common.data.phantoms.drawing import (
    Affine,
    Axis,
    Beads,
    Columns,
    Draws,
    Planes,
    affine,
    coordinates,
    in_disc,
    interpolate,
    join,
    rasterise_beads,
    step,
)

TISSUES = (
    *("scalp", "bone", "marrow", "fluid", "grey", "white", "vessel", "gliosis", "tumour", "rim"),
)
TEXTURE_GRIDS = (8, 26)  # nodes per side of the coarse and the fine texture

_HALF_WIDTH, _HALF_LENGTH = 0.62, 0.78  # of the head at the basal ganglia, in half images
# Depths below the skin where one layer ends and the next begins
_SCALP, _OUTER_TABLE, _MARROW, _INNER_TABLE, _BRAIN = 0.036, 0.052, 0.066, 0.082, 0.094
_FOLDED = 0.22  # depth below the surface of the brain to which the cortex is folded
_NUM_WAVES, _SULCUS = 24, 0.115  # that fold it, and the distance between two sulci
_EDGE = 0.014  # width of the transition between two tissues

Fractions = Float32[np.ndarray, "block tissues size size"]
Layer = tuple[str, Planes]  # a tissue and how much of each pixel it covers


@dataclass(frozen=True)
class Brains:
    """Slices through heads.

    Attributes:
      fractions: how much of each pixel is which of `TISSUES`; the rest is air.
      tumour: share of each pixel inside a tumour, 0 to 1.
    """

    fractions: Fractions
    tumour: Planes


@dataclass(frozen=True)
class _Heads:
    """The positions of a block's slices in their heads.

    Attributes:
      height: 0 at the basal ganglia, 1 near the top.
      pose: from the coordinates of a head of the mean size to those of the image.
      axis: of the image.
      x, y: of the pixels, in the coordinates of the head.
      depth: of the pixels below the skin.
      coarse, fine: textures.
    """

    height: Columns
    pose: Affine
    axis: Axis
    x: Planes
    y: Planes
    depth: Planes
    coarse: Planes
    fine: Planes

    def present_below(self, low: float, high: float) -> Columns:
        """Returns 1 for slices below `low`, falling to 0 at `high`."""
        return np.clip((high - self.height) / np.float32(high - low), 0, 1)

    def rasterise(self, beads: Beads) -> Planes:
        """Returns the sum of beads that are placed in the coordinates of the head."""
        return rasterise_beads(beads, self.pose, self.axis)


def draw_brains(draws: Draws, axis: Axis, affected: Bool[np.ndarray, " block"]) -> Brains:
    """Draws slices, with a tumour where `affected`; the first two grids must be the textures'."""
    heads = _heads(draws, axis)
    brain = step(heads.depth - _BRAIN, _EDGE)
    extent = heads.rasterise(_ventricles(draws, heads))
    ventricles = np.clip(2.2 * extent - 0.8, 0, 1)
    tumour, rim = _tumour(draws, heads, affected)
    tumour *= brain * (1 - ventricles)
    dense = draws.level(0.5, 0.95) + 0.14 * heads.coarse + 0.10 * heads.fine
    block, size, _ = brain.shape
    fractions = np.zeros((block, len(TISSUES), size, size), np.float32)
    in_brain = [
        ("rim", tumour * rim),
        ("tumour", tumour * np.clip(dense, 0.25, 1)),
        ("vessel", _vessels(draws, heads, ventricles)),
        ("fluid", ventricles),
        ("gliosis", _gliosis(draws, heads, extent)),
        *_cortex(draws, heads),
        ("grey", _deep_grey(draws, heads)),
        ("white", np.ones_like(brain)),
    ]
    _fill(fractions, brain, in_brain)
    _fill(fractions, 1 - brain, _skull(draws, heads))
    return Brains(fractions, tumour)


def _fill(fractions: Fractions, left: Planes, layers: Iterable[Layer]) -> None:
    """Adds layers, the front one first; each takes its cover of what is `left` of the pixels."""
    for tissue, cover in layers:
        part = left * cover
        fractions[:, TISSUES.index(tissue)] += part
        left = left - part


def _heads(draws: Draws, axis: Axis) -> _Heads:
    coarse, fine = (interpolate(grid, axis) for grid in draws.grids[:2])
    height = draws.uniform(0.0, 1.0)
    scale = np.sqrt(1 - (0.72 * height) ** 2) * draws.uniform(0.93, 1.06)
    wide = scale * draws.uniform(0.95, 1.05)
    shift_x, shift_y = draws.uniform(-0.05, 0.05), draws.uniform(-0.06, 0.06)
    turn = draws.uniform(-0.12, 0.12)
    pose = affine(np.concatenate([shift_x, shift_y, wide, scale, turn], axis=1))
    x, y = coordinates(pose, axis)
    wider_behind = 1 + draws.level(0.0, 0.14) * y
    across, along = (x / (_HALF_WIDTH * wider_behind)) ** 2, (y / _HALF_LENGTH) ** 2
    squareness = draws.level(0.1, 0.35) * np.minimum(across * along, 0.5)
    depth = _HALF_WIDTH * (1 - np.sqrt(across + along - squareness)) + 0.006 * coarse
    return _Heads(height, pose, axis, x, y, depth, coarse, fine)


def _skull(draws: Draws, heads: _Heads) -> Iterator[Layer]:
    """Yields the layers around the brain, from the inside outwards."""
    depth = heads.depth
    skin = draws.level(0.8, 1.3) + draws.level(0.1, 0.6) * np.clip(heads.y, 0, 1)
    yield "fluid", step(depth - _INNER_TABLE, _EDGE)
    yield "bone", step(depth - _MARROW, _EDGE)
    yield "marrow", step(depth - _OUTER_TABLE, _EDGE) * np.clip(0.6 + 0.4 * heads.coarse, 0, 1)
    yield "bone", step(depth - _SCALP * skin, _EDGE)
    yield "scalp", step(depth, _EDGE)


def _cortex(draws: Draws, heads: _Heads) -> Iterator[Layer]:
    """Folds the surface, which is also at the midline and along the Sylvian fissures."""
    bridge = 0.34 * heads.present_below(0.25, 0.55)[:, :, None]  # the corpus callosum
    from_midline = np.abs(heads.x + 0.012 * heads.coarse)
    from_midline += np.maximum(bridge - np.abs(heads.y + 0.02), 0)
    surface = np.minimum(heads.depth - _BRAIN, from_midline - 0.008)
    surface -= 0.10 * heads.rasterise(_sylvian_fissures(draws, heads))
    fold = np.abs(_waves(draws, heads.axis))
    atrophy = draws.level(0.5, 1.4)
    reach = np.clip(1 - surface / _FOLDED + 0.15 * heads.coarse, 0, 1)
    yield "fluid", 0.8 * step(0.26 * atrophy * reach - 0.02 - fold, 0.45) * (reach > 0)
    yield "fluid", step(0.006 * atrophy - surface, _EDGE)
    yield "grey", 0.9 * step(1.25 * np.sqrt(reach) - 0.3 - fold, 0.7)
    yield "grey", step(0.035 - surface, _EDGE)


def _waves(draws: Draws, axis: Axis) -> Planes:
    """Returns a sum of plane waves, of variance 1."""
    turn = np.pi / _NUM_WAVES * (np.arange(_NUM_WAVES) + draws.uniform(0.0, 1.0, _NUM_WAVES))
    phase = draws.uniform(0.0, 2 * np.pi, _NUM_WAVES)[:, :, None]
    number = np.pi / _SULCUS * draws.uniform(0.75, 1.25, _NUM_WAVES)  # a wave has two zeros
    across = ((number * np.cos(turn))[:, :, None] * axis + phase).astype(np.float32)
    down = ((number * np.sin(turn))[:, :, None] * axis).astype(np.float32)
    # cos(across + down), summed over the waves
    waves = np.swapaxes(np.cos(down), 1, 2) @ np.cos(across)
    waves -= np.swapaxes(np.sin(down), 1, 2) @ np.sin(across)
    scaled: Planes = waves * np.float32(np.sqrt(2 / _NUM_WAVES))
    return scaled


def _sylvian_fissures(draws: Draws, heads: _Heads) -> Beads:
    """Runs from each side of the brain inwards, then backwards along the insula."""
    along = np.linspace(0, 1, 8)
    present = 0.9 * heads.present_below(0.2, 0.4)
    start = draws.uniform(-0.16, -0.06, 2)
    x = np.broadcast_to(0.54 - 0.17 * np.sin(1.6 * along), (len(start), len(along)))
    return join(
        [
            (side * x, start[:, [hemisphere]] + 0.30 * along**1.5, 0.03, present)
            for hemisphere, side in enumerate((-1, 1))
        ]
    )


def _ventricles(draws: Draws, heads: _Heads) -> Beads:
    """Runs from the frontal to the occipital horn on each side; the third ventricle is a slit."""
    along, spacing = np.linspace(0, 1, 30), 0.6 / 30
    size = draws.uniform(0.7, 1.3)
    low = heads.present_below(0.1, 0.3)  # here the thalami part the horns
    horns = 1 - low * np.clip(1.6 - 7 * np.abs(along - 0.5), 0, 1)
    horns = horns * heads.present_below(0.45, 0.65)
    parts = []
    for side in (-1, 1):
        frontal, occipital = np.maximum(0.4 - along, 0), np.maximum(along - 0.45, 0) ** 1.5
        x = 0.06 + draws.uniform(0.8, 1.2) * (0.09 * frontal + 0.33 * occipital)
        bulge = np.cos(2 * np.pi * (along - draws.uniform(0.0, 0.15)))
        sigma = size * (0.027 + 0.013 * bulge)
        # With this height beads add up to 1.2 along their middle.
        height = 1.2 * spacing / (np.sqrt(2 * np.pi) * sigma) * horns
        parts.append((side * np.sqrt(size) * x, 0.58 * along - 0.28, sigma, height))
    slit = np.linspace(-0.06, 0.10, 12)
    parts.append((np.zeros((len(size), 12)), slit, 0.012 * size, 0.7 * low))
    return join(parts)


def _deep_grey(draws: Draws, heads: _Heads) -> Planes:
    """Returns the cover of caudate nucleus, putamen and thalamus."""
    x = np.array([0.135, 0.27, 0.29, 0.30, 0.10, 0.13])
    y = np.array([-0.17, -0.11, -0.04, 0.04, 0.05, 0.12])
    sigma = np.array([0.045, 0.035, 0.04, 0.033, 0.06, 0.06])
    present, apart = heads.present_below(0.15, 0.4), draws.uniform(0.95, 1.05, 2)
    parts = [(-apart[:, :1] * x, y, sigma, present), (apart[:, 1:] * x, y, sigma, present)]
    return 0.75 * np.clip(2.5 * heads.rasterise(join(parts)) - 0.7, 0, 1)


def _vessels(draws: Draws, heads: _Heads, ventricles: Planes) -> Planes:
    """Returns the cover of what takes up contrast agent: veins, sinuses, choroid plexus."""
    x, y = _scattered(draws, 14, (0.53, 0.68), (0.8, 1.0))
    veins = (x, y, draws.uniform(0.006, 0.012, 14), 0.9)
    middle, behind = np.zeros((len(x), 3)), np.linspace(0.64, 0.69, 3)
    sinus = (middle, behind, 0.018 * draws.uniform(0.8, 1.3), 0.9)
    anterior = (middle[:, :1], -0.675, 0.014, 0.8)
    vessels = heads.rasterise(join([veins, sinus, anterior]))
    visible = np.maximum(draws.uniform(-0.6, 1.0), 0)
    plexus = join([(middle[:, :2] + np.array([-0.17, 0.17]), 0.24, 0.028, visible)])
    vessels += heads.rasterise(plexus) * ventricles
    return np.clip(1.5 * vessels - 0.2, 0, 1)


def _gliosis(draws: Draws, heads: _Heads, ventricles: Planes) -> Planes:
    """Returns the cover of small foci and of caps around the ventricles: bright, but no tumour."""
    x, y = _scattered(draws, 8, (0.40, 0.50), (0.4, 0.9))
    height = np.maximum(draws.uniform(-1.2, 1.0, 8), 0)  # some are absent
    foci = heads.rasterise(join([(x, y, draws.uniform(0.012, 0.032, 8), height)]))
    caps = np.maximum(draws.level(-0.5, 0.8), 0) * np.clip(2.5 * ventricles - 0.1, 0, 1)
    return np.clip(1.6 * foci - 0.3, caps, 0.9)


def _tumour(
    draws: Draws, heads: _Heads, affected: Bool[np.ndarray, " block"]
) -> tuple[Planes, Planes]:
    """Returns the cover of a tumour and how much of that is a rim that takes up contrast agent."""
    x, y = _scattered(draws, 1, (0.46, 0.60), (0.35, 0.85))
    radius = 0.10 + 0.14 * draws.uniform(0.0, 1.0) ** 1.3
    turn, away = draws.uniform(0.0, 2 * np.pi, 8), radius * draws.uniform(0.3, 1.5, 8)
    sigma = radius * draws.uniform(0.3, 0.7, 8)
    away[:, :1], sigma[:, :1] = 0, 0.6 * radius  # a core, however far apart the others are
    lobes = (x + away * np.cos(turn), y + away * np.sin(turn), sigma, 1.0 * affected[:, None])
    # Noise on the contour of its field makes it infiltrate rather than end at a circle.
    extent = heads.rasterise(join([lobes]))
    extent *= np.maximum(1 + 0.35 * heads.coarse + 0.25 * heads.fine, 0.7)
    enhancing = np.maximum(draws.level(-1.0, 0.7), 0)  # in some
    rim = enhancing * np.clip(1 - np.abs(extent - 1.3) / 0.45, 0, 1)
    return np.clip(1.6 * extent - 0.55, 0, 1), rim


def _scattered(
    draws: Draws, count: int, axes: tuple[float, float], radii: tuple[float, float]
) -> tuple[Columns, Columns]:
    """Returns points between two radii, relative to those of an ellipse around the centre."""
    radius, turn = draws.uniform(*radii, count), draws.uniform(0.0, 2 * np.pi, count)
    ellipse = np.broadcast_to(np.array([0, 0, *axes, 0], np.float32), (len(radius), 5))
    return in_disc(affine(ellipse), radius, turn)
