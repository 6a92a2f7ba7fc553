"""Line charts as SVG inside a page; charts.js adds zoom, smoothing and a logarithmic axis.

They are drawn here, so that a page shows them without JavaScript, too.
"""

import html
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeAlias

from common.report.page import Markup, literal

_WIDTH, _HEIGHT = 380, 190  # in the SVG's own units; charts.js reads the box from the page
_LEFT, _TOP, _RIGHT, _BOTTOM = 52, 8, 372, 164  # of the curves
_BINS = 500  # of steps; of each, the least and the greatest value are kept
_TICKS = 4
_ROOM = 16  # that half a number takes
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


Points: TypeAlias = list[tuple[int, float]]


class _Axes(NamedTuple):
    """The ranges of a chart, neither of them empty: (first, last) step, (low, high) value."""

    steps: tuple[float, float]
    values: tuple[float, float]

    def x(self, step: int | float) -> float:
        first, last = self.steps
        return _LEFT + (step - first) / (last - first) * (_RIGHT - _LEFT)

    def y(self, value: float) -> float:
        low, high = self.values
        return _BOTTOM - (value - low) / (high - low) * (_BOTTOM - _TOP)


def chart(title: str, lines: Sequence[Line]) -> Markup:
    """Returns a chart of lines over the same steps, with its legend; a single value is a point."""
    thinned = [(line.name, _thinned(line)) for line in lines]
    shown = {name: points for name, points in thinned if points}
    if not shown:
        return Markup("")
    everything = [point for points in shown.values() for point in points]
    steps, values = zip(*everything, strict=True)
    axes = _Axes(_range(steps), _range(values))
    drawn = "".join(_curve(place, points, axes) for place, points in enumerate(shown.values()))
    legend = "".join(
        f'<span class="key colour{place % _COLOURS}">{literal(name)}</span> '
        for place, name in enumerate(shown)
    )
    points = html.escape(json.dumps(list(shown.values()), separators=(",", ":")))
    box = f"{_LEFT} {_TOP} {_RIGHT} {_BOTTOM}"
    return Markup(
        f'<figure class="chart"><figcaption><b>{literal(title)}</b> {legend}</figcaption>'
        f'<svg role="img" aria-label="{html.escape(_told(title, shown))}" data-box="{box}"'
        f' data-points="{points}" viewBox="0 0 {_WIDTH} {_HEIGHT}">{_marks(axes)}{drawn}</svg>'
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


def _thinned(line: Line) -> Points:
    """Returns the finite points; of very many, the extremes of each bin, so that no peak is lost.

    Values have seven digits.
    """
    points = [
        (int(step), float(f"{value:.7g}"))
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


def _range(numbers: Sequence[int | float]) -> tuple[float, float]:
    low, high = min(numbers), max(numbers)
    margin = 0.0 if high > low else abs(low) * 0.1 or 1.0
    return low - margin, high + margin


def _curve(place: int, points: Points, axes: _Axes) -> str:
    """Returns a curve, or the dot of a single value."""
    places = [(axes.x(step), axes.y(value)) for step, value in points]
    if len(places) == 1:
        x, y = places[0]
        return f'<circle class="colour{place % _COLOURS}" cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>'
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
    return f'<path class="colour{place % _COLOURS}" d="M{path}"/>'


def _marks(axes: _Axes) -> str:
    """Returns the lines and the numbers of the axes."""
    marks = ""
    for tick, name in _labels(ticks(*axes.values)):
        y = axes.y(tick)
        marks += f'<line x1="{_LEFT}" x2="{_RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        marks += f'<text x="{_LEFT - 5}" y="{y + 4:.1f}" text-anchor="end">{name}</text>'
    for tick, name in _labels(ticks(*axes.steps)):
        x = axes.x(tick)
        anchor = "middle" if x < _RIGHT - _ROOM else "end"
        marks += f'<text x="{x:.1f}" y="{_BOTTOM + 16}" text-anchor="{anchor}">{name}</text>'
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


def _told(title: str, shown: Mapping[str, Points]) -> str:
    """Returns what a chart shows, for those who can't see it."""
    parts = [
        f"{name} from {points[0][1]:.4g} at step {points[0][0]} to {points[-1][1]:.4g} at step"
        f" {points[-1][0]}"
        for name, points in shown.items()
    ]
    return f"{title} over steps: {'; '.join(parts)}"
