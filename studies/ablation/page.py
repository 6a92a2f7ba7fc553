"""ablation.html and ablation.png: the table, the differences and the curves of an ablation."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from common.program.files import write_atomically
from common.report.figure import literal, save_figure
from common.report.page import Markup, callout, code, figure, heading, page, paragraph, quiet, table
from studies.ablation.summary import Measure, Row, mean_and_interval
from studies.ablation.sweep import Place
from studies.ablation.tables import conclusions, explanation, number, told

Curves = Mapping[Place, Sequence[Mapping[str, int | float]]]  # the rows of each metrics.jsonl

_MOST_CURVES = 6
_MOST_ARMS = 10  # that curves tell apart


def write_page(
    workdir: Path,
    title: str,
    rows: Sequence[Row],
    ensembles: Sequence[Row],
    curves: Curves,
    shown: Sequence[str],
    failed: Mapping[Place, str],
    command: str,
) -> None:
    """Writes both files.

    Args:
      workdir: of the ablation.
      title: of the page.
      rows: see `summarise`.
      ensembles: the same of the ensembles of folds; () for none.
      curves: of the finished cells.
      shown: how the names of the curves begin that are drawn, the first ones first.
      failed: why others are not finished.
      command: that made them.
    """
    body: list[Markup] = [heading(title, 1)]
    for sentence in conclusions(rows, {}):
        body.append(paragraph(sentence))
    if failed:
        told_failures = [paragraph(f"{told(place)}: {why}") for place, why in failed.items()]
        body.append(callout("bad", "failed", *told_failures))
    for of_what, some in (("", rows), (", ensembles of the folds", ensembles)):
        for measure in dict.fromkeys(row.measure for row in some):
            body.append(heading(f"{measure.name} ({measure.best} is best){of_what}"))
            body.append(_table(measure, some))
    if rows:
        body.append(quiet(explanation(rows)))
        _draw(rows, curves, shown, workdir / "ablation.png")
        picture = np.asarray(Image.open(workdir / "ablation.png").convert("RGB"))
        body += [
            heading("Means and curves"),
            figure(
                picture,
                "Above: each arm's mean and its 95 % interval. Below: the mean of"
                " the arm's runs at each step and its 95 % interval.",
                "means and curves of each arm",
                width=picture.shape[1] // 2,
            ),
        ]
    body += [heading("Run it again"), paragraph(code(command))]
    write_atomically(workdir / "ablation.html", page(title, *body))


def _table(measure: Measure, rows: Sequence[Row]) -> Markup:
    lines: list[list[str | Markup | int]] = []
    for row in (row for row in rows if row.measure == measure):
        own = row.difference
        lines.append(
            [
                Markup(f"<strong>{code(row.arm).html}</strong>") if row.best else code(row.arm),
                row.n,
                *(number(x) if math.isfinite(x) else "" for x in (row.mean, row.deviation)),
                _interval(row.low, row.high),
                number(own.value) if own else "",
                _interval(own.low, own.high) if own else "",
                f"{own.p_corrected:.2g}" if own and math.isfinite(own.p_corrected) else "",
                number(own.detectable) if own and math.isfinite(own.detectable) else "",
            ]
        )
    beside = "" if math.isnan(measure.reference) else f"real images: {number(measure.reference)}"
    head = ["arm", "n", "mean", "deviation", "95 % interval", "difference", "95 % interval"]
    return table([*head, "p, corrected", "detectable"], lines, beside)


def _interval(low: float, high: float) -> str:
    return f"{number(low)} to {number(high)}" if math.isfinite(low) else ""


def _draw(rows: Sequence[Row], curves: Curves, shown: Sequence[str], file: Path) -> None:
    """Draws a panel for each measure, and one for each curve."""
    measures = list(dict.fromkeys(row.measure for row in rows))
    arms = list(dict.fromkeys(row.arm for row in rows))
    names = _names_of(curves, shown)
    columns = max(1, min(3, max(len(measures), len(names))))
    above, below = math.ceil(len(measures) / columns), math.ceil(len(names) / columns)
    heights = [0.3 * len(arms) + 0.9] * above + [2.6] * below
    shape = Figure(figsize=(4.2 * columns, sum(heights) + 0.4), layout="constrained")
    grid = shape.add_gridspec(above + below, columns, height_ratios=heights)
    for place, measure in enumerate(measures):
        axis = shape.add_subplot(grid[place // columns, place % columns])
        _draw_means(axis, measure, [row for row in rows if row.measure == measure], place)
    for place, name in enumerate(names):
        axis = shape.add_subplot(grid[above + place // columns, place % columns])
        _draw_curve(axis, name, curves, arms[:_MOST_ARMS], legend=place == 0)
    save_figure(shape, file, dpi=180)


def _draw_means(axis: Axes, measure: Measure, rows: Sequence[Row], place: int) -> None:
    heights = np.arange(len(rows))[::-1]
    for height, row in zip(heights, rows, strict=True):
        if math.isfinite(row.low):
            axis.plot([row.low, row.high], [height, height], color="0.6", linewidth=3, zorder=1)
        axis.plot(row.mean, height, "o", color="C0", zorder=2)
    axis.set_yticks(heights, [literal(row.arm, 40) for row in rows], fontsize=7)
    axis.tick_params(axis="x", labelsize=7)
    axis.set_ylim(-0.6, len(rows) - 0.4)
    axis.set_title(literal(f"{measure.name}, {measure.best} is best"), fontsize=8)
    if math.isfinite(measure.reference):
        axis.axvline(measure.reference, color="0.4", linewidth=0.8, linestyle=":")


def _draw_curve(
    axis: Axes, name: str, curves: Curves, arms: Sequence[str], *, legend: bool
) -> None:
    for number_, arm in enumerate(arms):
        of_arm = [rows for place, rows in curves.items() if place.arm == arm]
        steps, means, lows, highs = _band(name, of_arm)
        axis.plot(
            steps,
            means,
            ".-" if len(steps) == 1 else "-",
            color=f"C{number_}",
            linewidth=1,
            label=literal(arm, 40),
        )
        axis.fill_between(steps, lows, highs, color=f"C{number_}", alpha=0.15, linewidth=0)
    axis.set_title(literal(name), fontsize=8)
    axis.tick_params(labelsize=7)
    axis.grid(alpha=0.3)
    if legend:
        axis.legend(fontsize=6)


def _band(
    name: str, runs: Sequence[Sequence[Mapping[str, int | float]]]
) -> Float[np.ndarray, "4 steps"]:
    """Returns the steps that runs logged a number at, its mean there, and the ends of its interval.

    The interval of a single run is its value.
    """
    values: dict[int | float, list[int | float]] = {}
    for rows in runs:
        for row in rows:
            if math.isfinite(row.get(name, math.nan)):
                values.setdefault(row["step"], []).append(row[name])
    steps = sorted(values)
    found = [(step, *mean_and_interval(np.array(values[step], float))) for step in steps]
    table: Float[np.ndarray, "4 steps"] = np.array(found, float).reshape(-1, 4).T
    table[2:] = np.where(np.isfinite(table[2:]), table[2:], table[1])
    return table


def _names_of(curves: Curves, shown: Sequence[str]) -> list[str]:
    """Returns the names of the numbers that are drawn."""
    names = sorted({name for rows in curves.values() for row in rows for name in row})
    return [name for group in shown for name in names if name.startswith(group)][:_MOST_CURVES]
