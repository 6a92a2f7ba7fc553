"""Curves of everything that was logged, as one picture."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from common.program.files import replaced

_COLUMNS = 4
_PANEL = (3.4, 2.3)  # inches
_MARGIN = {"left": 0.5, "right": 0.1, "bottom": 0.3, "top": 0.3}  # inches, of the whole picture
_TICKS = 4  # intervals between them, at most


def _margins(columns: int, lines: int) -> dict[str, float]:
    """Returns the place of so many panels in a figure, with room for titles and numbers.

    matplotlib's own layouts, which look for that room, take twice as long as drawing.
    """
    width, height = columns * _PANEL[0], lines * _PANEL[1]
    inches = _MARGIN
    return {
        "left": inches["left"] / width,
        "right": 1 - inches["right"] / width,
        "bottom": inches["bottom"] / height,
        "top": 1 - inches["top"] / height,
        "wspace": 0.25,
        "hspace": 0.4,
    }


def draw_curves(rows: Sequence[Mapping[str, int | float]], file: Path) -> None:
    """Draws one panel per metric over steps, training and validation in the same panel.

    Args:
      rows: the lines of metrics.jsonl: {"step": 100, "train/generator_loss": 0.7, ...}.
      file: the PNG to write.
    """
    from matplotlib.figure import Figure  # a second to import, on the writers' thread
    from matplotlib.ticker import MaxNLocator

    series: dict[str, dict[str, tuple[list[float], list[float]]]] = {}
    for row in rows:
        for name, value in row.items():
            if name != "step":
                group, _, metric = name.partition("/")
                steps, values = series.setdefault(metric, {}).setdefault(group, ([], []))
                steps.append(row["step"])
                values.append(value)
    if not series:
        return
    columns = min(_COLUMNS, len(series))
    lines = math.ceil(len(series) / columns)
    figure = Figure(figsize=(_PANEL[0] * columns, _PANEL[1] * lines))
    figure.subplots_adjust(**_margins(columns, lines))
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    for axis in axes[len(series) :]:
        axis.set_axis_off()
    for axis, metric in zip(axes, sorted(series), strict=False):
        for group, (steps, values) in sorted(series[metric].items()):
            axis.plot(steps, values, label=group, linewidth=1.2)
        axis.set_title(metric.replace("_", " "), fontsize=9)
        axis.tick_params(labelsize=7)
        axis.xaxis.set_major_locator(MaxNLocator(_TICKS, integer=True))
        axis.yaxis.set_major_locator(MaxNLocator(_TICKS))
        axis.yaxis.get_offset_text().set_fontsize(7)
        axis.grid(alpha=0.3)
        if len(series[metric]) > 1:
            axis.legend(fontsize=7)
    with replaced(file, durable=False) as scratch:
        figure.savefig(scratch, dpi=90)
