"""Matplotlib figures whose texts are data: labels and names may hold anything."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from common.program.files import replaced

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def literal(text: str, longest: int = 200) -> str:
    """Returns a text that matplotlib shows literally: no formulas, no line breaks, not hidden.

    Texts of more than `longest` letters are cut.
    """
    cut = text if len(text) <= longest else f"{text[: longest - 1]}\u2026"
    shown = "".join(letter if letter.isprintable() else "\ufffd" for letter in cut)
    hidden = " " if shown.startswith("_") else ""  # legends leave out such names
    return hidden + shown.replace("$", r"\$")


def save_figure(figure: "Figure", file: Path, dpi: int) -> None:
    """Writes a figure as PNG; letters missing from the font become boxes."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        with replaced(file, durable=False) as scratch:
            figure.savefig(scratch, dpi=dpi)
