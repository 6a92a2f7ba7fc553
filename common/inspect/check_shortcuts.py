"""Findings about classes that can be told apart without looking at the picture."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from common.inspect.facts import Survey
from common.inspect.findings import Finding, Level
from common.inspect.shortcuts import LEAST_GROUPS, LEAST_IMAGES, Shortcut, TooFew
from common.program.words import counted, percent

# Thresholds on the lower end of the AUC's interval. What is unrelated to the patient must not
# reveal the class; brightness may be the disease itself, so it is only ever a hint.
_TOLD, _HINTED = 0.75, 0.6
_TONE_HINTED = 0.7
_FRAME_DIFFERENCE = 0.5  # between the shares of two classes that have a frame


@dataclass(frozen=True)
class FrameContrast:
    """A frame that one class has and another does not.

    Attributes:
      width: in pixels, at least.
      label: the class that has it most often.
      shares: how many images of each class have it, 0..1.
    """

    width: int
    label: int
    shares: tuple[float, ...]


def check_shortcuts(
    survey: Survey, by_file: Shortcut | TooFew | None, by_tone: Shortcut | TooFew | None
) -> Iterator[Finding]:
    """Yields findings on frames and from the two probes."""
    contrast = frame_contrast(survey)
    if contrast:
        yield _about_frame(survey, contrast)
    few = next((found for found in (by_file, by_tone) if isinstance(found, TooFew)), None)
    if few:
        yield _untested(survey, few)
    if isinstance(by_file, Shortcut) and by_file.low >= _HINTED:
        yield Finding(
            Level.MEND if by_file.low >= _TOLD else Level.LOOK,
            f"{_told_apart(survey, by_file)} without looking at the picture: a probe that sees only"
            f" size, mode, file type and frame reaches an AUC of {_auc(by_file)}."
            f" {_most_telling(survey, by_file)}",
            "Take the images of all classes from the same sources, or save them all alike; if"
            " shapes differ, --config.data.fit=crop hides it.",
        )
    if isinstance(by_tone, Shortcut) and by_tone.low >= _TONE_HINTED:
        yield Finding(
            Level.LOOK,
            f"{_told_apart(survey, by_tone)} by brightness, contrast and compression alone, with an"
            f" AUC of {_auc(by_tone)}. {_most_telling(survey, by_tone)}",
            "If that is not the disease but the scanner or the source, a classifier will learn it;"
            " compare its score with this AUC.",
        )


def _untested(survey: Survey, few: TooFew) -> Finding:
    name = survey.classes[few.label]
    if few.images < LEAST_IMAGES:
        why = (
            f"class {name} has {counted(few.images, 'image')} of the {LEAST_IMAGES} that are needed"
        )
    else:
        why = (
            f"too few groups to test: class {name} has images of {counted(few.groups, 'group')} of"
            f" the {LEAST_GROUPS} that are needed"
        )
    hint = ""
    if few.ungrouped and few.ungrouped.low >= _HINTED:
        hint = (
            f" With every image as a group of its own the AUC is {_auc(few.ungrouped)}, but that"
            f" may be recognised patients.  {_most_telling(survey, few.ungrouped)}"
        )
    return Finding(
        Level.LOOK,
        f"Whether classes can be told apart without looking at the picture was not tested: {why}."
        + hint,
        "Compare size, mode, file type, depth and brightness of the classes in the page.",
        untested=True,
    )


def frame_contrast(survey: Survey) -> FrameContrast | None:
    """Returns the frame whose share differs most between two classes, if it differs much."""
    num = len(survey.classes)
    widths = [
        np.array([survey.images[row].frame.width for row in survey.rows("", label)])
        for label in range(num)
    ]
    if num < 2 or min(map(len, widths)) < LEAST_IMAGES:
        return None
    best = None
    for width in range(1, max(int(each.max()) for each in widths) + 1):
        shares = tuple(float((each >= width).mean()) for each in widths)
        found = FrameContrast(width, int(np.argmax(shares)), shares)
        if best is None or np.ptp(shares) > np.ptp(best.shares):
            best = found
    return best if best and np.ptp(best.shares) >= _FRAME_DIFFERENCE else None


def _about_frame(survey: Survey, contrast: FrameContrast) -> Finding:
    name, least = survey.classes[contrast.label], int(np.argmin(contrast.shares))
    widths = [survey.images[row].frame.width for row in survey.rows("", contrast.label)]
    usual = int(np.bincount([width for width in widths if width]).argmax())
    return Finding(
        Level.MEND,
        f"A frame of one brightness, most often {usual} pixels wide, is around"
        f" {percent(contrast.shares[contrast.label])} of the images of class {name} and around"
        f" {percent(contrast.shares[least])} of those of {survey.classes[least]}; it"
        " reveals the class.",
        f"Cut {usual} pixels off each side of the images of all classes.",
    )


def _told_apart(survey: Survey, shortcut: Shortcut) -> str:
    label = shortcut.label
    return f"Class {survey.classes[label]} can be told from {_others(survey, label)}"


def _others(survey: Survey, label: int) -> str:
    return survey.classes[1 - label] if len(survey.classes) == 2 else "the other classes"


def _auc(shortcut: Shortcut) -> str:
    return f"{shortcut.auc:.2f} ({shortcut.low:.2f} to {shortcut.high:.2f}; 0.5 is chance)"


def _most_telling(survey: Survey, shortcut: Shortcut) -> str:
    telling = shortcut.telling[0]
    name, others = survey.classes[shortcut.label], _others(survey, shortcut.label)
    if telling.is_share:
        return (
            f"Most revealing is {telling.name}: {percent(telling.inside)} of {name} have it,"
            f" {percent(telling.outside)} of {others}."
        )
    return (
        f"Most revealing is the {telling.name}: median {telling.inside:.3g} in {name},"
        f" {telling.outside:.3g} in {others}."
    )
