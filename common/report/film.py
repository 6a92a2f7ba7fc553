"""Moving pictures, as animated WebP: any browser shows them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from common.report.images import Picture

_MOST_FRAMES = 120
_QUALITY = 80


def write_film(file: Path, frames: Sequence[Picture], milliseconds: int = 100) -> None:
    """Writes pictures of one size as an animation that repeats for ever.

    Args:
      file: ending in .webp.
      frames: grey or RGB.
      milliseconds: that each is shown.
    """
    first, *others = (
        Image.fromarray(np.broadcast_to(frame, (*frame.shape[:2], 3))) for frame in frames
    )
    first.save(
        file,
        save_all=True,
        append_images=others,
        duration=milliseconds,
        loop=0,
        quality=_QUALITY,
        method=0,  # the fastest; slower ones save a tenth of the bytes
    )


def write_training_film(folder: Path, name: str) -> None:
    """Writes folder/NAME.webp of the pictures folder/<step>_NAME.png, where there are two or more.

    Of very many some are left out, evenly; those of another size than the last are, too.
    """
    files = sorted(folder.glob(f"[0-9]*_{name}.png"))
    picked = np.unique(np.linspace(0, len(files) - 1, min(len(files), _MOST_FRAMES)).astype(int))
    frames = []
    for index in picked:
        with Image.open(files[index]) as image:
            frames.append(np.asarray(image.convert("RGB")))
    frames = [frame for frame in frames if frame.shape == frames[-1].shape]
    if len(frames) > 1:
        write_film(folder / f"{name}.webp", frames, max(80, 6000 // len(frames)))
