"""Brain MRI slices with and without a tumour, and pairs of two sequences of one slice."""

from functools import partial

import numpy as np

from common.data.phantoms.brain import TEXTURE_GRIDS, draw_brains
from common.data.phantoms.drawing import Drawn, Draws, averaged, axis_of, drawn_size, in_blocks
from common.data.phantoms.kinds import Phantoms
from common.data.phantoms.scanner import scan


def brain_mri(seed: int, num: int, image_size: int, *, healthy: bool = False) -> Phantoms:
    """Draws axial slices of three channels: T1, FLAIR, T1 with contrast agent.

    Two of three slices have a tumour, which the mask marks: bright in FLAIR, dark in T1, some with
    a rim that takes up contrast agent. Not marked are small bright foci, caps around the
    ventricles, vessels. Image i depends on `seed`, i and `image_size`, its anatomy not on the last.

    With `healthy` the same slices are drawn without the tumours.
    """
    sequences = ("T1", "FLAIR", "T1 with contrast agent")
    images, masks = _draw_all(seed, num, image_size, sequences, healthy)
    return Phantoms(images, np.zeros(num, np.int32), masks)


def mri_pair(seed: int, num: int, image_size: int) -> Phantoms:
    """Draws axial slices of one channel, T1, and the same slices in T2 as their targets.

    Both show one anatomy, two of three times with a tumour, with noise and shading of their own.
    Image i depends on `seed`, i and `image_size`, its anatomy not on the last.
    """
    images, _ = _draw_all(seed, num, image_size, ("T1", "T2"), False)
    return Phantoms(images[..., :1], np.zeros(num, np.int32), targets=images[..., 1:])


def _draw_all(
    seed: int, num: int, image_size: int, sequences: tuple[str, ...], healthy: bool
) -> tuple[Drawn, ...]:
    draw = partial(_draw, seed, image_size, sequences, healthy)
    return in_blocks(draw, num, drawn_size(image_size) ** 2)


def _draw(
    seed: int, size: int, sequences: tuple[str, ...], healthy: bool, start: int, block: int
) -> tuple[Drawn, Drawn]:
    """Returns the grey values and the tumour masks of images `start` to `start + block`."""
    draws = Draws(seed, start, block, (*TEXTURE_GRIDS, *[size] * len(sequences)))
    affected = ((start + np.arange(block)) % 3 != 2) & (not healthy)
    brains = draw_brains(draws, axis_of(drawn_size(size)), affected)
    images = scan(brains, sequences, draws, np.stack(draws.grids[2:], axis=1))
    return images, (averaged(brains.tumour, size) > 0.5).astype(np.uint8)
