"""Films as animated WebP, which any browser shows."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from common.program.files import replaced
from common.program.log import log
from common.report.images import Picture
from common.report.series import whole_image

_MOST_FRAMES = 120
_QUALITY = 80


def write_film(file: Path, frames: Sequence[Picture], milliseconds: int = 100) -> None:
    """Writes pictures of one size as an animation that loops for ever.

    Args:
      file: ending in .webp.
      frames: grey or RGB.
      milliseconds: per frame.
    """
    first, *others = (
        Image.fromarray(np.broadcast_to(frame, (*frame.shape[:2], 3))) for frame in frames
    )
    with replaced(file, durable=False) as scratch:
        first.save(
            scratch,
            save_all=True,
            append_images=others,
            duration=milliseconds,
            loop=0,
            quality=_QUALITY,
            method=0,  # the fastest; slower ones save a tenth of the bytes
        )


def write_training_film(file: Path, pictures: Sequence[Path]) -> None:
    """Writes a film of a training's pictures if there are at least two.

    Very many are thinned out evenly; pictures of another size than the last and unreadable ones are
    skipped.
    """
    count = min(len(pictures), _MOST_FRAMES)
    picked = np.unique(np.linspace(0, len(pictures) - 1, count).astype(int))
    images = {pictures[index]: whole_image(pictures[index]) for index in picked}
    for picture, image in images.items():
        if image is None:
            log.warning("%s is damaged and left out of %s.", picture, file.name)
    frames = [np.asarray(image.convert("RGB")) for image in images.values() if image]
    frames = [frame for frame in frames if frame.shape == frames[-1].shape]
    if len(frames) > 1:
        write_film(file, frames, max(80, 6000 // len(frames)))
