"""Findings about counts of classes, splits and groups."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from common.data.prepared.suggested_groups import NameGroups
from common.inspect.facts import Survey
from common.inspect.findings import Finding, Level
from common.program.words import counted, percent, some

_IMBALANCED, _VERY_IMBALANCED = 1.5, 4.0  # largest over smallest class, in train
_SHIFT = 0.1  # in a class's share between train and another split, beyond 3 standard errors
_FEW = 30  # images of a class in a scored split
_FEW_IN_ALL = 100
_TEST_SHARE = 0.15  # in the advised splits


def check_splits(survey: Survey, suggestion: NameGroups | None) -> Iterator[Finding]:
    """Yields findings on classes, splits and groups.

    Args:
      survey: what was found.
      suggestion: groups suggested by the file names, if none are stated.
    """
    yield from _few_in_all(survey)
    yield from _missing(survey, suggestion)
    yield from _imbalance(survey)
    yield from _shift(survey)
    yield from _few(survey)
    yield from _groups(survey)
    if suggestion:
        yield from _suggestion(survey, suggestion)
    elif not any(image.group for image in survey.images) and len(survey.splits) > 1:
        yield Finding(
            Level.NOTE,
            "Whether a patient has images in several splits was not tested: the groups are"
            " unknown.",
            "State them: --config.data.group takes a regular expression on the files' names.",
            untested=True,
        )


def make_splits(survey: Survey) -> str:
    """Returns the flags that make splits, whatever other settings are."""
    return "--config.data.splits=70,15,15" + (
        " --config.data.folds=0" if survey.settings.folds else ""
    )


def owners_by_split(survey: Survey, groups: Sequence[str]) -> dict[str, set[str]]:
    """Returns the splits in which each group has images."""
    splits: dict[str, set[str]] = {}
    for image, group in zip(survey.images, groups, strict=True):
        if group:
            splits.setdefault(group, set()).add(image.split)
    return splits


def _few_in_all(survey: Survey) -> Iterator[Finding]:
    num = len(survey.images)
    if num < _FEW_IN_ALL:
        tested = max(1, round(_TEST_SHARE * num))
        yield Finding(
            Level.LOOK,
            f"There {'is' if num == 1 else 'are'} {counted(num, 'image')} in all. On"
            f" {percent(_TEST_SHARE)} of them, {tested:,}, an accuracy of 80 % is known to within"
            f" {percent(_spread(tested))}: too few to conclude anything, or to learn much.",
            "Add images, or use these to try the program out.",
        )


def _spread(num: int) -> float:
    """Returns the uncertainty of a share of 0.8 of so many images: half its 95 % interval."""
    return float(min(0.5, 1.96 * np.sqrt(0.8 * 0.2 / num)))


def _missing(survey: Survey, suggestion: NameGroups | None) -> Iterator[Finding]:
    for split in dict.fromkeys(("train", *survey.splits)):
        for label, name in enumerate(survey.classes):
            if not survey.rows(split, label):
                yield Finding(
                    Level.MEND if split == "train" else Level.LOOK,
                    f"Class {name} has no readable image in the {split} split.",
                    f"Add images, or make other splits: {make_splits(survey)}",
                )
    group = f" --config.data.group='{suggestion.expression}'" if suggestion else ""
    if "test" not in survey.splits:
        yield Finding(
            Level.LOOK,
            "There is no test split: nothing is held out to measure the final result.",
            f"Make splits: {make_splits(survey)}{group}",
        )
    elif "val" not in survey.splits:
        yield Finding(
            Level.LOOK,
            "There is no validation split: choices would have to be made on the test images.",
            f"Take a fifth of train for it with --config.data.folds=5{group}",
        )


def _counts(survey: Survey, split: str) -> np.ndarray:
    return np.array([len(survey.rows(split, label)) for label in range(len(survey.classes))])


def _imbalance(survey: Survey) -> Iterator[Finding]:
    counts = _counts(survey, "train")
    ratio = counts.max() / max(1, counts.min())
    if ratio >= _IMBALANCED:
        most, least = survey.classes[counts.argmax()], survey.classes[counts.argmin()]
        yield Finding(
            Level.LOOK if ratio >= _VERY_IMBALANCED else Level.NOTE,
            f"The classes are imbalanced: train has {counts.max():,} images of class {most} and"
            f" {counts.min():,} of class {least}, {ratio:.1f} times fewer.",
            f"Use F1 and AUC: always answering {most} has an accuracy of"
            f" {percent(counts.max() / counts.sum())}.",
        )


def _shift(survey: Survey) -> Iterator[Finding]:
    train = _counts(survey, "train")
    if not train.sum():
        return
    shares = train / train.sum()
    for split in survey.splits:
        counts = _counts(survey, split)
        label = int(np.abs(counts / counts.sum() - shares).argmax())
        there, here = shares[label], counts[label] / counts.sum()
        error = np.sqrt(there * (1 - there) / counts.sum())
        if abs(here - there) >= max(_SHIFT, 3 * error):
            yield Finding(
                Level.LOOK,
                f"Class {survey.classes[label]} makes up {percent(there)} of train but"
                f" {percent(here)} of {split}, so probabilities learnt on one are off on the"
                " other.",
                f"Make splits with equal shares:  {make_splits(survey)}",
            )


def _few(survey: Survey) -> Iterator[Finding]:
    for split in survey.splits:
        counts = _counts(survey, split)
        if split != "train" and 0 < counts.min() < _FEW:
            spread = _spread(int(counts.min()))
            yield Finding(
                Level.NOTE,
                f"The {split} split has {counted(int(counts.min()), 'image')} of class"
                f" {survey.classes[counts.argmin()]}; a recall of 80 % over so few is known to"
                f" within {percent(spread)}.",
                "Cross-validate with --config.data.folds=5 and --config.data.fold=0 to 4",
            )


def _groups(survey: Survey) -> Iterator[Finding]:
    splits = owners_by_split(survey, [image.group for image in survey.images])
    crossing = _crossing(splits)
    if crossing:
        yield Finding(
            Level.MEND,
            f"{len(crossing):,} of {counted(len(splits), 'group')} have images in several splits:"
            f" {some(crossing)}. A network recognises a patient, and the score measures that.",
            f"Make splits that keep groups whole: {make_splits(survey)}",
        )


def _suggestion(survey: Survey, suggestion: NameGroups) -> Iterator[Finding]:
    splits = owners_by_split(survey, suggestion.groups)
    crossing = _crossing(splits)
    names = f"The {suggestion.where} suggest {counted(len(splits), 'group')}, perhaps patients,"
    setting = f"--config.data.group='{suggestion.expression}'"
    if crossing:
        yield Finding(
            Level.LOOK,
            f"{names} and {len(crossing):,} of them have images in several splits:"
            f" {some(crossing)}.",
            f"If they are patients, keep them whole: {setting} {make_splits(survey)}",
        )
    else:
        together = " and none has images in two splits" if len(survey.splits) > 1 else ""
        yield Finding(
            Level.NOTE,
            f"{names} {suggestion.shared:,} of which have several images{together}.",
            f"If they are patients, set this before you make splits: {setting}",
        )


def _crossing(splits: Mapping[str, set[str]]) -> list[str]:
    """Returns "p23 (train, val)" for each group that is in several splits."""
    order = ("train", "val", "test")
    return [
        f"{group} ({', '.join(sorted(where, key=order.index))})"
        for group, where in sorted(splits.items())
        if len(where) > 1
    ]
