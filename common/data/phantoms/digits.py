"""Handwritten-looking digits: pen strokes through jittered control points, white on black."""

from functools import partial

import numpy as np
from jaxtyping import Float

from common.data.phantoms.drawing import (
    Draws,
    Pixels,
    affine,
    axis_of,
    in_blocks,
    join,
    rasterise_beads,
)
from common.data.phantoms.kinds import Phantoms

DIGITS = tuple("0123456789")

Stroke = tuple[tuple[int | float, int | float], ...]  # control points of a curve; two: a line

# Two ways to write each digit, each in strokes; x and y from -1 to 1. A stroke that ends where it
# began is closed smoothly; strokes that share a point stay together there.
# fmt: off
_LOOP_OF_9: Stroke = ((.45, -.55), (0, -1), (-.45, -.5), (-.05, -.1), (.45, -.55))
_GLYPHS: tuple[tuple[tuple[Stroke, ...], ...], ...] = (
    ((((0, -1), (.6, 0), (0, 1), (-.6, 0), (0, -1)),),
     (((.1, -1), (.55, -.5), (.45, .6), (-.1, 1), (-.55, .5), (-.45, -.6), (.1, -1)),)),
    ((((0, -1), (0, 1)),),
     (((-.35, -.6), (0, -1)), ((0, -1), (0, 1)))),
    ((((-.55, -.6), (-.05, -1), (.5, -.6), (.15, .1), (-.55, .9)), ((-.55, .9), (.6, .9))),
     (((-.5, -.6), (0, -1), (.5, -.55), (.1, .35), (-.4, .9), (-.5, .55), (0, .7), (.6, .9)),)),
    ((((-.5, -.75), (0, -1), (.5, -.6), (-.05, -.1)),
      ((-.05, -.1), (.55, .4), (0, 1), (-.55, .7))),
     (((-.5, -.95), (.45, -.95)), ((.45, -.95), (-.05, -.2)),
      ((-.05, -.2), (.5, .35), (0, 1), (-.55, .75)))),
    ((((-.45, -.95), (-.5, -.15), (-.1, .05), (.6, -.1)), ((.45, -.9), (.35, 1))),
     (((.2, -1), (-.6, .2)), ((-.6, .2), (.65, .2)), ((.2, -1), (.2, 1)))),
    ((((.5, -.95), (-.35, -.95)), ((-.35, -.95), (-.45, -.1)),
      ((-.45, -.1), (.1, -.3), (.55, .3), (.1, .95), (-.5, .8))),
     (((.6, -1), (-.25, -.9)), ((-.25, -.9), (-.4, -.3)),
      ((-.4, -.3), (.3, -.05), (.35, .65), (-.15, 1), (-.55, .8)))),
    ((((.35, -1), (-.3, -.4), (-.5, .4), (0, 1), (.5, .5), (.05, .05), (-.45, .45)),),
     (((0, -1), (-.4, 0), (-.3, .8), (.2, .95), (.45, .45), (.05, .15), (-.35, .6)),)),
    ((((-.55, -.9), (.55, -.9)), ((.55, -.9), (-.1, 1))),
     (((-.5, -.9), (.5, -.9)), ((.5, -.9), (.05, 0), (-.15, 1)), ((-.3, .05), (.4, .05)))),
    ((((.4, -.75), (0, -1), (-.4, -.65), (0, -.1), (.5, .5), (0, 1), (-.5, .5), (0, -.1),
       (.4, -.75)),),
     (((0, -1), (.4, -.55), (0, -.1), (-.4, -.55), (0, -1)),
      ((0, -.1), (.5, .45), (0, 1), (-.5, .45), (0, -.1)))),
    ((_LOOP_OF_9, ((.45, -.55), (.4, .2), (.2, 1))),
     (_LOOP_OF_9, ((.45, -.55), (.45, .5), (0, 1), (-.35, .8)))),
)
# fmt: on
_NUM_BEADS = 72  # in a digit: closer than the pen is wide
_NUM_CONTROLS = max(len(set(sum(way, ()))) for ways in _GLYPHS for way in ways)
_EDGE = 0.03  # width of a stroke's edge, in half images

Weights = Float[np.ndarray, "_places _controls"]
Points = Float[np.ndarray, "_controls 2"]


def digits(seed: int, num: int, image_size: int) -> Phantoms:
    """Draws digits in one channel; image i shows i modulo 10.

    Image i depends on `seed`, i and `image_size`, its strokes not on the last.
    """
    (images,) = in_blocks(partial(_draw, seed, image_size), num, image_size**2)
    labels = np.arange(num, dtype=np.int32) % len(DIGITS)
    return Phantoms(images[..., None], labels)


def _draw(seed: int, size: int, start: int, block: int) -> tuple[Pixels]:
    """Returns the grey values of images `start` to `start + block`."""
    draws = Draws(seed, start, block, ())
    way = 2 * ((start + np.arange(block)) % len(DIGITS)) + (draws.uniform(0.0, 2.0)[:, 0] >= 1)
    wobble = draws.uniform(-0.12, 0.12, 2 * _NUM_CONTROLS).reshape(block, _NUM_CONTROLS, 2)
    x, y = np.moveaxis(_WEIGHTS[way] @ (_CONTROLS[way] + wobble), 2, 0)
    x = x - draws.uniform(-0.2, 0.5) * y  # the slant
    x, y = (part - part.mean(axis=1, keepdims=True) for part in (x, y))
    shift, turn = draws.uniform(-0.06, 0.06, 2), draws.uniform(-0.2, 0.2)
    tall, wide = draws.uniform(0.60, 0.72), draws.uniform(0.75, 1.35)
    pose = affine(np.concatenate([shift, tall * wide, tall, turn], axis=1))
    pen = draws.uniform(0.055, 0.1)
    spacing = _LENGTHS[way][:, None] / _NUM_BEADS * tall
    # A row of Gaussians adds up to 1 along its middle with this height, and to 1/2 at 1.18 sigma.
    height = spacing / (np.sqrt(2 * np.pi) * pen)
    line = rasterise_beads(join([(x, y, pen, height)]), pose, axis_of(size))
    steep = 1.7 * pen[:, :, None] / max(_EDGE, 1.4 / size)
    return (np.rint(255 * np.clip(0.5 + steep * (line - 0.5), 0, 1)).astype(np.uint8),)


def _spline(stroke: list[int], num_controls: int) -> Weights:
    """Returns the weights of the control points along a Catmull-Rom spline, 60 places a segment.

    Source: Catmull and Rom, A class of local interpolating splines, 1974.
    """
    closed = stroke[0] == stroke[-1]
    ends = (stroke[-2], stroke[1]) if closed else (stroke[0], stroke[-1])
    nearest = np.eye(num_controls)[[ends[0], *stroke, ends[1]]]
    t = np.linspace(0, 1, 60, endpoint=False)[:, None]
    basis = (-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, t**3 - t**2)
    segment = np.concatenate(basis, axis=1) / 2
    return np.concatenate([segment @ nearest[k : k + 4] for k in range(len(stroke) - 1)])


def _template(strokes: tuple[Stroke, ...]) -> tuple[Points, Weights, float]:
    """Returns control points, their weights at equal distances along the strokes, the length."""
    controls = list(dict.fromkeys(point for stroke in strokes for point in stroke))
    paths = [_spline([controls.index(p) for p in stroke], _NUM_CONTROLS) for stroke in strokes]
    points = np.zeros((_NUM_CONTROLS, 2))
    points[: len(controls)] = controls
    steps = [np.linalg.norm(np.diff(path @ points, axis=0), axis=1) for path in paths]
    way = np.cumsum(np.concatenate(steps))
    beads = np.searchsorted(way, (np.arange(_NUM_BEADS) + 0.5) / _NUM_BEADS * way[-1])
    return points, np.concatenate([path[:-1] for path in paths])[beads], float(way[-1])


_TEMPLATES = [_template(strokes) for ways in _GLYPHS for strokes in ways]
_CONTROLS, _WEIGHTS, _LENGTHS = (
    np.array(part, np.float32) for part in zip(*_TEMPLATES, strict=True)
)
