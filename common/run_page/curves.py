"""The curves of a run's numbers in groups, those of one metric in one chart."""

import re
from collections.abc import Iterator, Mapping, Sequence

from common.report import page
from common.report.charts import Line, chart, chart_controls
from common.report.page import Markup

Row = Mapping[str, int | float]

# The first pattern that a metric's name matches says where it belongs.
_GROUPS = {
    "Losses": r".*loss",
    "Speed": r"timing/",
    "Judgements of the networks": r".*_(output|accuracy|decision)",
    "Quality": r"quality/|val/|.*(dice|iou|f1|accuracy|auroc|diversity|precision|recall)",
    "Weights and gradients": r".*",
}
_ORDER = ("Quality", "Losses", "Judgements of the networks", "Weights and gradients", "Speed")
_KIND = re.compile(r"(.*)_(real|fake)")  # two halves of one metric of a discriminator


def curves(runs: Mapping[str, Sequence[Row]]) -> Iterator[Markup]:
    """Yields the controls, then each group's heading and its charts.

    Args:
      runs: the rows of metrics.jsonl of each run; with several, curves have their names.
    """
    charts: dict[str, dict[str, list[Line]]] = {}
    for run, rows in runs.items():
        for name, line in _lines(rows).items():
            group = next(group for group, names in _GROUPS.items() if re.match(names, name))
            metric, kind = _parts(name)
            label = ", ".join(part for part in (run if len(runs) > 1 else "", kind) if part)
            named = Line(label, line.steps, line.values)
            charts.setdefault(group, {}).setdefault(metric, []).append(named)
    if charts:
        yield chart_controls()
    for group in _ORDER:
        if of_group := charts.get(group):
            drawn = [chart(_words(metric), lines) for metric, lines in sorted(of_group.items())]
            yield page.heading(group, 3)
            yield Markup(f'<div class="curves">{"".join(each.html for each in drawn)}</div>')


def _lines(rows: Sequence[Row]) -> dict[str, Line]:
    """Returns each metric over its steps, by name."""
    points: dict[str, list[tuple[int, float]]] = {}
    for row in rows:
        for name, value in row.items():
            if name != "step":
                points.setdefault(name, []).append((int(row["step"]), float(value)))
    return {name: Line(name, *map(list, zip(*some, strict=True))) for name, some in points.items()}


def _parts(name: str) -> tuple[str, str]:
    """Returns "discriminator_loss" and "train, real" of "train/discriminator_loss_real"."""
    where, _, metric = name.partition("/")
    if not metric:
        return name, ""
    if match := _KIND.fullmatch(metric):
        return match[1], f"{where}, {match[2]}"
    return metric, where


def _words(metric: str) -> str:
    return metric.replace("_", " ")
