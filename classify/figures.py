"""The pictures of an evaluation: confusion matrix, ROC and PR curves, reliability diagram."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from common.report.figure import literal, save_figure
from common.scores.areas import areas_of_draws
from common.scores.classification import Predicted, reliability

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_CURVES = 8  # classes
_LONGEST_NAME = 24  # letters


def draw_figures(
    predicted: Predicted, plain: Predicted, classes: Sequence[str], file: Path, caption: str
) -> None:
    """Draws the four panels into one PNG.

    Args:
      predicted: with the temperature.
      plain: without it, for the reliability diagram.
      classes: their names.
      file: to write.
      caption: what the images are.
    """
    from matplotlib.figure import Figure  # both take a second or more to import
    from sklearn import metrics

    figure = Figure(figsize=(15, 3.9), layout="constrained")
    figure.suptitle(literal(caption), fontsize=9)
    classes = [literal(name, _LONGEST_NAME) for name in classes]
    matrix, roc, pr, calibration = figure.subplots(1, 4)
    _draw_confusion(matrix, predicted, classes)
    for index, name in list(enumerate(classes))[:_MOST_CURVES]:
        truth = predicted.truth[:, index]
        if truth.any() and not truth.all():
            score = predicted.probabilities[:, index]
            false, true, _ = metrics.roc_curve(truth, score)
            under_roc, under_pr = areas_of_draws(np.ones((1, len(score))), score, truth)
            roc.plot(false, true, label=f"{name}  {under_roc[0]:.3f}")
            precision, recall, _ = metrics.precision_recall_curve(truth, score)
            pr.plot(recall, precision, label=f"{name}  {under_pr[0]:.3f}")
    roc.plot([0, 1], [0, 1], color="0.7", linewidth=0.8)
    _finish(roc, "ROC (area)", "false positive rate", "true positive rate")
    _finish(pr, "precision and recall (average precision)", "recall", "precision")
    for which, name in ((plain, "as trained"), (predicted, "with temperature")):
        confidence, accuracy, share = reliability(which.labels, which.probabilities)
        filled = share > 0
        calibration.plot(confidence[filled], accuracy[filled], marker="o", markersize=3, label=name)
    calibration.plot([0, 1], [0, 1], color="0.7", linewidth=0.8)
    _finish(calibration, "reliability", "confidence", "accuracy")
    save_figure(figure, file, dpi=90)


def _draw_confusion(axis: "Axes", predicted: Predicted, classes: Sequence[str]) -> None:
    """Draws which classes are taken for which; of findings, which are found in whose images."""
    counts = predicted.confusion(len(classes))
    shown = predicted.truth.sum(0)[:, None]
    shares = counts / np.maximum(shown, 1)
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(*counts.shape) if len(classes) <= 20 else ():
        dark = shares[row, column] > 0.5
        axis.text(
            column,
            row,
            str(counts[row, column]),
            ha="center",
            va="center",
            color="w" if dark else "k",
        )
    ticks = range(len(classes))
    axis.set_xticks(ticks, classes, rotation=45, fontsize=7)
    axis.set_yticks(ticks, classes, fontsize=7)
    axis.set_title("confusion (rows: truth)", fontsize=9)


def _finish(axis: "Axes", title: str, across: str, up: str) -> None:
    axis.set_title(title, fontsize=9)
    axis.set_xlabel(across, fontsize=8)
    axis.set_ylabel(up, fontsize=8)
    axis.tick_params(labelsize=7)
    axis.set_xlim(-0.02, 1.02)
    axis.set_ylim(-0.02, 1.02)
    axis.grid(alpha=0.3)
    if axis.get_legend_handles_labels()[0]:
        axis.legend(fontsize=7)
