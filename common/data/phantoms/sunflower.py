"""Sunflowers: two whorls of petals around a disc of seeds, in front of a blurred field."""

from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Float32

from common.data.phantoms.drawing import (
    Affine,
    Axis,
    Drawn,
    Draws,
    Planes,
    affine,
    axis_of,
    coordinates,
    in_blocks,
    interpolate,
    join,
    rasterise_beads,
    step,
)
from common.data.phantoms.kinds import Phantoms

_FIELD_GRID, _PETAL_GRID = 6, 24  # nodes per side of the noise in the field and on the petals
_MOST_PETALS = 22  # in a whorl
_NUM_SEEDS = 150
_EDGE = 0.02  # width of an edge, in half images

# Red, green and blue, 0 to 1
_SKY, _LEAF, _STEM = (0.50, 0.68, 0.90), (0.22, 0.40, 0.13), (0.38, 0.55, 0.18)
_YELLOW, _ORANGE = (1.0, 0.84, 0.10), (0.95, 0.58, 0.04)
_BROWN, _SEED = (0.24, 0.13, 0.05), (0.50, 0.32, 0.14)

Picture = Float32[np.ndarray, "block 3 size size"]
Levels = Float32[np.ndarray, "block 1 1"]


@dataclass(frozen=True)
class _Heads:
    """Where the flower heads of a block are.

    Attributes:
      x, y, scale: centres and sizes, in the coordinates of the image.
      pose: from the coordinates of a head, whose longest petals reach to 1, to those of the image.
      axis: of the image.
      radius, angle: polar coordinates of the pixels in the head.
      disc: radius of the disc in the head.
    """

    x: Levels
    y: Levels
    scale: Levels
    pose: Affine
    axis: Axis
    radius: Planes
    angle: Planes
    disc: Levels

    def inside(self, depth: Planes) -> Planes:
        """Returns how much of each pixel is inside, by its depth in the coordinates of the head."""
        return step(depth * self.scale, max(_EDGE, 2 / len(self.axis)))


def sunflower(seed: int, num: int, image_size: int) -> Phantoms:
    """Draws sunflowers in three channels: red, green, blue.

    Image i depends on `seed`, i and `image_size`, its flower not on the last.
    """
    (images,) = in_blocks(partial(_draw, seed, image_size), num, image_size**2)
    return Phantoms(images, np.zeros(num, np.int32))


def _draw(seed: int, size: int, start: int, block: int) -> tuple[Drawn]:
    """Returns images `start` to `start + block`."""
    draws = Draws(seed, start, block, (_FIELD_GRID, _PETAL_GRID))
    axis = axis_of(size)
    heads = _heads(draws, axis)
    picture = _field(draws, interpolate(draws.grids[0], axis), axis)
    _paint_stem(draws, heads, picture)
    _paint_petals(draws, heads, interpolate(draws.grids[1], axis), picture)
    _paint_disc(draws, heads, picture)
    picture *= draws.level(0.8, 1.05)[:, None]  # the exposure
    colours = 255 * np.clip(np.moveaxis(picture, 1, 3), 0, 1)
    return (np.rint(colours).astype(np.uint8),)


def _heads(draws: Draws, axis: Axis) -> _Heads:
    x, y, scale = draws.level(-0.2, 0.2), draws.level(-0.2, 0.2), draws.level(0.55, 0.85)
    tilt, turn = draws.level(0.75, 1.0), draws.level(-np.pi, np.pi)
    pose = affine(np.concatenate([x, y, scale, scale * tilt, turn], axis=2)[:, 0])
    across, down = coordinates(pose, axis)
    radius, angle = np.hypot(across, down), np.arctan2(down, across)
    return _Heads(x, y, scale, pose, axis, radius, angle, draws.level(0.30, 0.45))


def _field(draws: Draws, noise: Planes, axis: Axis) -> Picture:
    """Returns leaves below and sky above, with patches of either in the other."""
    sky = np.clip(draws.level(-0.8, 1.2) - 1.5 * axis[:, None] + 0.6 * noise, 0, 1)
    field: Picture = _mixed(_LEAF, _SKY, sky) * (1 + (0.25 - 0.2 * sky) * noise)[:, None]
    return field


def _paint_stem(draws: Draws, heads: _Heads, picture: Picture) -> None:
    down = heads.axis[:, None] - heads.y
    off = heads.axis - heads.x - draws.level(-0.3, 0.3) * down
    stem = heads.inside(0.08 - np.abs(off) / heads.scale) * (down > 0)
    _paint(picture, stem, _mixed(_STEM, _LEAF, np.clip(0.5 + 8 * off, 0, 1)))


def _paint_petals(draws: Draws, heads: _Heads, texture: Planes, picture: Picture) -> None:
    count = np.floor(draws.level(12.0, _MOST_PETALS + 1.0))
    swept = heads.angle + draws.level(-0.3, 0.3) * heads.radius
    orange = draws.level(0.4, 1.1)
    for turn, light in ((0.0, 0.72), (0.5, 1.0)):  # the whorl behind lies in shadow
        petal = swept * count / (2 * np.pi) + turn
        off = np.abs(2 * (petal - np.floor(petal)) - 1)  # 0 along the middle, 1 between two
        number = (np.floor(petal) % count).astype(np.int64).reshape(len(petal), -1)
        lengths, lights = (draws.uniform(low, 1.0, _MOST_PETALS) for low in (0.8, 0.85))
        length, shade = (
            np.take_along_axis(of_petal, number, axis=1).reshape(petal.shape)
            for of_petal in (lengths, light * lights)
        )
        along = np.clip((heads.radius - heads.disc) / (length - heads.disc), 0, 2)
        cover = heads.inside((1.1 - along**2.5 - off) * heads.radius * (np.pi / count))
        shade *= (1 - 0.35 * off**2) * (1 + 0.05 * texture)
        colours = _mixed(_YELLOW, _ORANGE, np.clip(orange - along, 0, 1))
        _paint(picture, cover, colours * shade[:, None])


def _paint_disc(draws: Draws, heads: _Heads, picture: Picture) -> None:
    """Sets seeds a golden angle apart, a dark ring among them.

    Source: Vogel, A better way to construct the sunflower head, 1979.
    """
    number = np.arange(_NUM_SEEDS, dtype=np.float32) + 0.5
    turn = number * np.float32(np.pi * (3 - 5**0.5))
    radius = heads.disc[:, 0] * np.sqrt(number / _NUM_SEEDS)
    sigma = 0.6 * (heads.disc * heads.scale)[:, 0] / _NUM_SEEDS**0.5
    beads = join([(radius * np.cos(turn), radius * np.sin(turn), sigma, draws.uniform(0.4, 0.9))])
    seeds = np.clip(rasterise_beads(beads, heads.pose, heads.axis), 0, 1)
    ring = np.exp(-((4 * heads.radius / heads.disc - 2) ** 2))
    disc = _mixed(_BROWN, _SEED, seeds) * (1.15 - 0.6 * ring)[:, None]
    _paint(picture, heads.inside(heads.disc - heads.radius), disc)


def _mixed(first: tuple[float, ...], second: tuple[float, ...], share: Planes) -> Picture:
    """Returns the first colour with a share of the second."""
    start, end = (np.array(colour, np.float32)[:, None, None] for colour in (first, second))
    mixed: Picture = start + share[:, None] * (end - start)
    return mixed


def _paint(picture: Picture, cover: Planes, colours: Picture) -> None:
    """Lays colours over a picture."""
    picture += cover[:, None] * (colours - picture)
