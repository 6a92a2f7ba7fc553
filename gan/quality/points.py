"""Precision against recall: what a generator's images score at the points that it may draw from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.program.errors import UserError
from common.program.json_files import build, conform
from common.report.figure import literal, save_figure
from common.runs.evaluation import stored_value
from common.runs.workdir import Run
from gan.quality.figures import ALL, Figure
from gan.trained import Point

CURVE = (
    Point(),
    *(Point(truncation=truncation) for truncation in (0.9, 0.8, 0.7, 0.5)),
    *(Point(reject=percentile) for percentile in (50.0, 80.0, 95.0)),
)
_MEASURES = ("precision", "recall", "density", "coverage", "frechet")


@dataclass(frozen=True)
class Measured:
    """What images from a point score.

    Attributes:
      truncation: see `Point`.
      reject: see `Point`.
      kept: the share of the images that were not rejected.
      quality: of all classes together: extractor -> measure -> "same_n" and "floor", see `Figure`.
    """

    truncation: float
    reject: float
    kept: float
    quality: Mapping[str, Mapping[str, Mapping[str, float]]]

    @classmethod
    def of(cls, point: Point, kept: float, figures: Sequence[Figure]) -> "Measured":
        """Returns what is to be kept of all figures."""
        quality: dict[str, dict[str, dict[str, float]]] = {}
        for figure in figures:
            if figure.comparison.class_name == ALL and figure.name in _MEASURES:
                of_extractor = quality.setdefault(figure.comparison.extractor, {})
                of_extractor[figure.name] = {"same_n": figure.same_n, "floor": figure.floor}
        return cls(*point, kept, quality)

    @property
    def point(self) -> Point:
        """Returns where the images were drawn."""
        return Point(self.truncation, self.reject)


def table_of(points: Sequence[Measured]) -> list[dict[str, object]]:
    """Returns the rows of points.csv: by each extractor, every point, then real images.

    The numbers are `same_n` of generated images and the floor of real ones.
    """
    rows: list[dict[str, object]] = []
    for extractor, measures in points[0].quality.items():
        for one in points:
            where = {"truncation": one.truncation, "reject": one.reject, "kept": one.kept}
            numbers = {name: one.quality[extractor][name]["same_n"] for name in measures}
            rows.append({"extractor": extractor, "images": "generated", **where, **numbers})
        nowhere = {"truncation": "", "reject": "", "kept": ""}
        numbers = {name: measure["floor"] for name, measure in measures.items()}
        rows.append({"extractor": extractor, "images": "real", **nowhere, **numbers})
    return rows


def draw_points(points: Sequence[Measured], file: Path, caption: str) -> None:
    """Draws a panel for each extractor: precision against recall, a line for each flag.

    Args:
      points: those of `CURVE`.
      file: the PNG to write.
      caption: what the images are.
    """
    from matplotlib.figure import Figure as Picture  # a second to import

    extractors = list(points[0].quality)
    picture = Picture(figsize=(4.6 * len(extractors), 4.0), layout="constrained")
    picture.suptitle(literal(caption), fontsize=9)
    panels = picture.subplots(1, len(extractors), squeeze=False)[0]
    for axis, extractor in zip(panels, extractors, strict=True):
        measures = {one.point: one.quality[extractor] for one in points}
        for flag, others in (("truncation", "reject"), ("reject", "truncation")):
            line = sorted(p for p in measures if getattr(p, others) == getattr(Point(), others))
            places = [_place(measures[point], "same_n") for point in line]
            axis.plot(*zip(*places, strict=True), "o-", markersize=4, label=f"--{flag}")
            for point, place in zip(line, places, strict=True):
                if point != Point():
                    axis.annotate(f" {getattr(point, flag):g}", place, fontsize=8)
        axis.plot(*_place(measures[Point()], "same_n"), "ko", markersize=7, label="neither")
        axis.plot(*_place(measures[Point()], "floor"), "k+", markersize=9, label="real images")
        axis.set_title(f"{extractor} features", fontsize=9)
        axis.set_xlabel("recall", fontsize=8)
        axis.set_ylabel("precision", fontsize=8)
        axis.tick_params(labelsize=8)
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    save_figure(picture, file, dpi=90)


def _place(measures: Mapping[str, Mapping[str, float]], which: str) -> tuple[float, float]:
    return measures["recall"][which], measures["precision"][which]


def told(run: Run, step: int, point: Point) -> str:
    """Returns in a sentence where a run is drawn from, and what its images scored there.

    Raises:
      UserError: evaluation.json is damaged.
    """
    where = f"drawing with truncation {point.truncation:g}, reject {point.reject:g}"
    evaluated = f"--mode=evaluate --workdir={run.workdir}{point.flags}"
    try:
        stored = stored_value(run, "points", step, Any) or ()
        known = [build(Measured, one) for one in conform(stored, tuple[Any, ...], "points")]
    except (TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"The evaluation of {run.workdir} is damaged: {error}; run {evaluated} again."
        ) from error
    found = [one.quality for one in known if one.point == point]
    if not found or not found[0]:
        return f"{where}; {evaluated} measures precision and recall there"
    scores = [
        f"precision {precision['same_n']:.2f} (of real images {precision['floor']:.2f}), recall"
        f" {recall['same_n']:.2f} ({recall['floor']:.2f}) by {extractor} features"
        for extractor, of in found[0].items()
        for precision, recall in [(of["precision"], of["recall"])]
    ]
    return f"{where}: {'; '.join(scores)}"
