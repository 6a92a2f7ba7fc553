"""Small pictures drawn at random: what is in the file, and second readers that say so, too."""

from collections.abc import Callable

from tests.picture_cases.case import Case, Rng, Window
from tests.picture_cases.medical import draw_dicom, draw_nifti
from tests.picture_cases.pictures import (
    draw_bmp,
    draw_gif,
    draw_jpeg2000,
    draw_png,
    draw_pnm,
    draw_webp,
)
from tests.picture_cases.tiffs import draw_tiff

__all__ = ["FORMATS", "Case", "Window", "draw"]

_DRAWN: dict[str, Callable[[Rng], Case]] = {
    "PNG": draw_png,
    "TIFF": draw_tiff,
    "PNM": draw_pnm,
    "BMP": draw_bmp,
    "GIF": draw_gif,
    "WebP": draw_webp,
    "JPEG 2000": draw_jpeg2000,
    "DICOM": draw_dicom,
    "NIfTI": draw_nifti,
}
FORMATS = tuple(_DRAWN)


def draw(rng: Rng, form: str) -> Case:
    """One picture of a format."""
    return _DRAWN[form](rng)
