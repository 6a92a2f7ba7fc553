"""The figure of a study: the scores of each arm, and its differences."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from common.report.figure import literal, save_figure
from studies.config import ALL
from studies.rows import Row
from studies.statistics import Interval


def draw(rows: Sequence[Row], metric: str, name: str, file: Path, caption: str) -> None:
    """Draws a column of two panels for each size: the arms' scores, and the paired differences.

    Args:
      rows: of all sizes and arms.
      metric: the score's name for people.
      name: of the score.
      file: the PNG to write.
      caption: what the images are.
    """
    sizes = list(dict.fromkeys(row.size for row in rows))
    arms = sum(row.size == sizes[0] for row in rows)
    shape = (3.4 * len(sizes) + 1.2, 0.62 * arms + 2.2)
    figure = Figure(figsize=shape, layout="constrained")
    figure.suptitle(literal(caption), fontsize=9)
    panels = figure.subplots(2, len(sizes), sharex="row", sharey="row", squeeze=False)
    for (above, below), size in zip(panels.T, sizes, strict=True):
        of_size = [row for row in rows if row.size == size]
        compared = [row for row in of_size if row.differences]
        names = [literal(row.arm.label) for row in of_size]
        _points(above, names, [row.scores[name] for row in of_size])
        names = [literal(f"{row.arm.label} - {row.arm.base}") for row in compared]
        _points(below, names, [row.differences[name] for row in compared])
        below.axvline(0, color="0.4", linewidth=0.8)
        images = (
            f"all {of_size[0].real} real images" if size == ALL else f"{size} real images a class"
        )
        above.set_title(images, fontsize=9)
        above.set_xlabel(f"{metric}, 95 % interval", fontsize=8)
        below.set_xlabel(f"difference of {metric}, corrected interval", fontsize=8)
    save_figure(figure, file, dpi=110)


def _points(axis: Axes, names: Sequence[str], found: Sequence[Interval]) -> None:
    """Draws one estimate with its interval per line."""
    if found:
        value, low, high = np.array(found).T
        places = np.arange(len(names))
        axis.errorbar(
            value, places, xerr=[value - low, high - value], fmt="o", markersize=4, capsize=2
        )
        axis.set_yticks(places, names, fontsize=8)
        axis.set_ylim(len(names) - 0.5, -0.5)  # the first on top
    axis.tick_params(labelsize=8)
    axis.grid(axis="x", alpha=0.3)
