"""Findings about copies, pictures that occur more than once."""

from collections.abc import Iterator, Sequence

from common.data.copies.find import MOST_COMPARED, Copies
from common.inspect.facts import Survey
from common.inspect.findings import Finding, Level
from common.program.words import counted, some

_HOW = {
    "exact": "pixel by pixel",
    "near": "re-compressed, resized, turned or cut a little differently",
    "mirrored": "mirrored",
}
COPIES_FILE = "copies.csv"


def check_copies(survey: Survey) -> Iterator[Finding]:
    """Yields findings on copies: across splits, under two labels, within a split."""
    if survey.dropped:
        yield Finding(
            Level.NOTE,
            f"{counted(survey.dropped, 'copy of another image is', 'copies of other images are')}"
            " left out because of config.data.copies=drop.",
            "To see them, set --config.data.copies=keep",
        )
    if survey.disputed:
        yield Finding(
            Level.MEND,
            f"{counted(len(survey.disputed), 'picture is', 'pictures are')} in several classes:"
            f" {some([_together(names) for names in survey.disputed])}. One of the labels is"
            " wrong, and the copy that is not left out may have it.",
            "Find out which, and remove the wrong copy.",
        )
    if len(survey.images) + survey.dropped > MOST_COMPARED:
        yield Finding(
            Level.NOTE,
            f"Among more than {MOST_COMPARED:,} images only copies with equal pixels were searched,"
            " not re-compressed, resized, turned, cut or mirrored ones.",
            "Inspect parts of the data, for example one class at a time.",
            untested=True,
        )
    for kind, how in _HOW.items():
        alike = [group for group in survey.copies if group.kind == kind]
        parted = [group for group in alike if len(splits_of(survey, group)) > 1]
        disputed = [group for group in alike if len(labels_of(survey, group)) > 1]
        rest = [group for group in alike if group not in parted and group not in disputed]
        if parted:
            yield Finding(
                Level.MEND,
                f"{counted(len(parted), 'picture is', 'pictures are')} in several splits, {how}:"
                f" {_listed(survey, parted)}. Scores on them measure memory.",
                f"Keep one of each, {COPIES_FILE} lists them; --config.data.copies=drop leaves out"
                " the others. Splits made by this program keep copies together.",
            )
        if disputed:
            yield Finding(
                Level.MEND,
                f"{counted(len(disputed), 'picture is', 'pictures are')} in several classes,"
                f" {how}: {_listed(survey, disputed)}. One of the labels is wrong.",
                f"Find out which; {COPIES_FILE} lists them.",
            )
        if rest:
            yield Finding(
                Level.LOOK if kind == "exact" else Level.NOTE,
                f"{counted(len(rest), 'picture is', 'pictures are')} more than once in one split"
                f" and class, {how}: {_listed(survey, rest)}.",
                f"Copies count several times; keep one of each, {COPIES_FILE} lists them.",
            )


def splits_of(survey: Survey, group: Copies) -> set[str]:
    """Returns the splits that have one of the copies."""
    return {survey.images[row].split for row in group.rows}


def labels_of(survey: Survey, group: Copies) -> set[int]:
    """Returns the labels that the copies have."""
    return {survey.images[row].record.label for row in group.rows}


def _listed(survey: Survey, groups: Sequence[Copies]) -> str:
    names = [[survey.images[row].record.id for row in group.rows] for group in groups]
    return some([_together(each) for each in names])


def _together(names: Sequence[str]) -> str:
    shown = [*names[:3], f"{len(names) - 3:,} others"] if len(names) > 4 else names
    return " = ".join(shown)
