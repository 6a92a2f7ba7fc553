"""Pictures from files inside a page: one alone, or a series over steps with a slider."""

import html
import io
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np

from common.report.page import Markup, Text, encoded_figure, literal
from common.report.series import whole_image

_MOST = 12  # pictures of a series
_LARGEST = 1600  # pixels along a side
_QUALITY = 85  # of WebP


def picture(file: Path, caption: Text, alt: str) -> Markup:
    """Returns a picture with a caption; a sentence if the file is damaged or no picture."""
    state = file.stat()
    found = _encoded(file, state.st_mtime_ns, state.st_size)
    if found is None:
        return Markup(f'<p class="quiet">{literal(f"{file.name} is damaged.")}</p>')
    content, width = found
    return encoded_figure("webp", content, caption, alt, width)


def slides(name: str, files: Mapping[int, Path]) -> Markup:
    """Returns a series of pictures, of which a slider shows one at a time.

    Without JavaScript they stand in a strip. Of many, some are chosen evenly, the first and the
    last among them.

    Args:
      name: of the series.
      files: by step, in their order.
    """
    steps = list(files)
    chosen = np.unique(np.linspace(0, len(steps) - 1, min(_MOST, len(steps))).astype(int))
    shown = [steps[place] for place in chosen]
    figures = "".join(
        picture(files[step], f"step {step:,}", f"{name} at step {step}").html for step in shown
    )
    last = len(shown) - 1
    return Markup(
        f'<div class="series"><h3>{literal(name)}</h3><label hidden>step <input type="range"'
        f' min="0" max="{last}" value="{last}" aria-label="step of {html.escape(name)}"></label>'
        f'<div class="strip" tabindex="0" role="group" aria-label="{html.escape(name)}">'
        f"{figures}</div></div>"
    )


@lru_cache(maxsize=128)
def _encoded(file: Path, modified: int, size: int) -> tuple[bytes, int] | None:
    """Returns a picture as WebP and its width, None if it is damaged; remembers the latest.

    Args:
      file: the picture.
      modified: when it was; a newer one is another picture.
      size: in bytes, likewise.
    """
    image = whole_image(file)
    if image is None:
        return None
    image.thumbnail((_LARGEST, _LARGEST))
    stream = io.BytesIO()
    image.convert("RGB").save(stream, "WEBP", quality=_QUALITY, method=0)
    return stream.getvalue(), image.width
