"""Line charts as SVG inside a page; charts.js adds zoom, smoothing and a logarithmic axis.

They are drawn here, so that a page shows them without JavaScript, too.
"""

import html
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.report.page import Markup, literal

_WIDTH, _HEIGHT = 380, 190  # in the SVG's own units; charts.js reads the box from the page
_LEFT, _TOP, _RIGHT, _BOTTOM = 52, 8, 372, 164  # of the curves
_BINS = 250  # of steps; of each, the least and the greatest value are kept
_TICKS = 4
_COLOURS = 8  # in `STYLE`

SCRIPT = (Path(__file__).parent / "charts.js").read_text()


@dataclass(frozen=True)
class Line:
    """A metric over steps.

    Attributes:
      name: for the legend.
      steps: increasing.
      values: at these steps; what is not finite is left out.
    """

    name: str
    steps: Sequence[int]
    values: Sequence[float]


def chart(title: str, lines: Sequence[Line]) -> Markup:
    """Returns a chart of lines over the same steps, with its legend; a single value is a point."""
    shown = [(line.name, _thinned(line)) for line in lines]
    shown = [(name, points) for name, points in shown if points]
    if not shown:
        return Markup("")
    drawn = "".join(_curve(place, points, shown) for place, (_, points) in enumerate(shown))
    legend = "".join(
        f'<span class="key colour{place % _COLOURS}">{literal(name)}</span> '
        for place, (name, _) in enumerate(shown)
    )
    points = html.escape(json.dumps([points for _, points in shown], separators=(",", ":")))
    box = f"{_LEFT} {_TOP} {_RIGHT} {_BOTTOM}"
    return Markup(
        f'<figure class="chart"><figcaption><b>{literal(title)}</b> {legend}</figcaption>'
        f'<svg role="img" aria-label="{html.escape(_told(title, shown))}" data-box="{box}"'
        f' data-points="{points}" viewBox="0 0 {_WIDTH} {_HEIGHT}">{_axes(shown)}{drawn}</svg>'
        '<p class="readout quiet"></p></figure>'
    )


def chart_controls() -> Markup:
    """Returns the controls of all charts of a page, which charts.js shows."""
    return Markup(
        '<form class="controls" hidden aria-label="all curves">'
        '<label>smoothing <input type="range" name="smoothing" min="0" max="0.98" step="0.02"'
        ' value="0"></label>'
        '<label>from step <input type="range" name="from" min="0" max="1000" value="0"></label>'
        '<label>to step <input type="range" name="to" min="0" max="1000" value="1000"></label>'
        '<label><input type="checkbox" name="log"> logarithmic</label>'
        '<button type="reset">reset</button>'
        '<p class="quiet">Or drag across a chart to zoom in.</p></form>'
    )


Points = list[tuple[int, float]]
_Shown = Sequence[tuple[str, Points]]


def _thinned(line: Line) -> Points:
    """Returns the finite points; of very many, the extremes of each bin, so that no peak is lost.

    Values have five digits.
    """
    points = [
        (int(step), float(f"{value:.5g}"))
        for step, value in zip(line.steps, line.values, strict=True)
        if math.isfinite(value)
    ]
    if len(points) <= 2 * _BINS:
        return points
    kept: set[tuple[int, float]] = {points[0], points[-1]}
    for each in range(_BINS):
        some = points[each * len(points) // _BINS : (each + 1) * len(points) // _BINS]
        kept |= {min(some, key=lambda point: point[1]), max(some, key=lambda point: point[1])}
    return sorted(kept)


def _ranges(shown: _Shown) -> tuple[tuple[float, float], tuple[float, float]]:
    """Returns the ranges of all steps and all values, neither of them empty."""
    steps = [step for _, points in shown for step, _ in points]
    values = [value for _, points in shown for _, value in points]
    return _widened(min(steps), max(steps)), _widened(min(values), max(values))


def _widened(low: float, high: float) -> tuple[float, float]:
    if high > low:
        return low, high
    margin = abs(low) * 0.1 or 1.0
    return low - margin, high + margin


def _place(point: tuple[int, float], shown: _Shown) -> tuple[float, float]:
    (first, last), (low, high) = _ranges(shown)
    return (
        _LEFT + (point[0] - first) / (last - first) * (_RIGHT - _LEFT),
        _BOTTOM - (point[1] - low) / (high - low) * (_BOTTOM - _TOP),
    )


def _curve(place: int, points: Points, shown: _Shown) -> str:
    """Returns a curve, or the dot of a single value."""
    places = [_place(point, shown) for point in points]
    if len(places) == 1:
        x, y = places[0]
        return f'<circle class="colour{place % _COLOURS}" cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>'
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
    return f'<path class="colour{place % _COLOURS}" d="M{path}"/>'


def _axes(shown: _Shown) -> str:
    steps, values = _ranges(shown)
    marks = ""
    for tick, name in _labels(ticks(*values)):
        _, y = _place((int(steps[0]), tick), shown)
        marks += f'<line x1="{_LEFT}" x2="{_RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        marks += f'<text x="{_LEFT - 5}" y="{y + 4:.1f}" text-anchor="end">{name}</text>'
    for tick, name in _labels(ticks(*steps)):
        x = _LEFT + (tick - steps[0]) / (steps[1] - steps[0]) * (_RIGHT - _LEFT)
        marks += f'<text x="{x:.1f}" y="{_BOTTOM + 16}" text-anchor="middle">{name}</text>'
    return f'<g class="axes">{marks}</g>'


def ticks(low: float, high: float) -> list[float]:
    """Returns round numbers within a range that is not empty: steps of 1, 2 or 5 times 10^k."""
    rough = (high - low) / _TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * times for times in (1, 2, 5, 10) if power * times >= rough * 0.999)
    return [number * step for number in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _labels(marks: Sequence[float]) -> Iterator[tuple[float, str]]:
    """Yields each mark with its name, in as few digits as tell them apart."""
    for digits in (4, 6, 8, 17):
        names = [f"{mark:.{digits}g}" for mark in marks]
        if len(set(names)) == len(names):
            break
    yield from zip(marks, names, strict=True)


def _told(title: str, shown: _Shown) -> str:
    """Returns what a chart shows, for those who can't see it."""
    parts = [
        f"{name} from {points[0][1]:.4g} at step {points[0][0]} to {points[-1][1]:.4g} at step"
        f" {points[-1][0]}"
        for name, points in shown
    ]
    return f"{title} over steps: {'; '.join(parts)}"
