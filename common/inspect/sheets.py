"""Pictures for the page of an inspection: contact sheets, and copies side by side."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool
from PIL import Image

from common.data.copies.find import Copies
from common.data.records import Mask
from common.inspect.facts import Facts, Survey
from common.report.images import Picture, grid

_ROWS, _COLUMNS, _CELL = 3, 8, 112
_SEED = 0  # for drawing images
_COPIES, _COPY_CELL = 4, 160
_GREY = 128  # beside images that are not square
_TINT = 0.3
_OUTLINE = (255, 220, 0)  # of masks: yellow is rare in medical images


def contact_sheet(survey: Survey, rows: Sequence[int]) -> tuple[Picture, int]:
    """Returns a picture of some images, drawn at random, and their number."""
    random = np.random.default_rng(_SEED)
    chosen = sorted(random.permutation(rows)[: _ROWS * _COLUMNS])
    columns = min(_COLUMNS, len(chosen))
    return _laid_out([survey.images[row] for row in chosen], columns, _CELL), len(chosen)


def beside(survey: Survey, group: Copies) -> tuple[Picture, tuple[int, ...]]:
    """Returns a picture of the first copies side by side, and their rows."""
    rows = group.rows[:_COPIES]
    return _laid_out([survey.images[row] for row in rows], len(rows), _COPY_CELL), rows


def one_of(survey: Survey, row: int) -> Picture:
    """Returns a picture of one image, its mask outlined and tinted, so that its inside shows."""
    shown = _shown(survey.images[row], _COPY_CELL, _TINT)
    return grid(shown[None, None])


def _laid_out(images: Sequence[Facts], columns: int, cell: int) -> Picture:
    cells = [_shown(image, cell) for image in images]
    lines = -(-len(cells) // columns)
    channels = max(each.shape[-1] for each in cells)
    sheet = np.full((lines * columns, cell, cell, channels), 255, np.uint8)
    for place, each in enumerate(cells):
        sheet[place] = each
    return grid(sheet.reshape(lines, columns, cell, cell, channels))


def _shown(image: Facts, cell: int, tint: float = 0.0) -> Picture:
    """Returns an image in its own shape, its mask outlined, on a grey square.

    The inside of the mask is tinted with the share `tint` of the outline's colour.
    """
    pixels = image.record.read().pixels
    picture = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    scale = cell / max(picture.size)
    width, height = (max(1, round(side * scale)) for side in picture.size)
    method = Image.Resampling.BICUBIC if scale < 1 else Image.Resampling.NEAREST
    small = np.array(picture.resize((width, height), method)).reshape(height, width, -1)
    if image.record.read_mask:
        mask = Image.fromarray(image.record.read_mask())
        small_mask = np.array(mask.resize((width, height), Image.Resampling.NEAREST))
        share = np.where(_edges(small_mask), 1.0, np.where(small_mask > 0, tint, 0.0))[..., None]
        small = np.rint(small * (1 - share) + np.array(_OUTLINE) * share).astype(np.uint8)
    square = np.full((cell, cell, small.shape[-1]), _GREY, np.uint8)
    top, left = (cell - height) // 2, (cell - width) // 2
    square[top : top + height, left : left + width] = small
    return square


def _edges(mask: Mask) -> Bool[np.ndarray, "_height _width"]:
    """Returns the pixels of a class other than background that border on another class."""
    padded = np.pad(mask, 1, mode="edge")
    neighbours = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
    edge: np.ndarray = (mask > 0) & np.any([mask != other for other in neighbours], axis=0)
    return edge
