"""Findings about names that may be meant as one, or as none."""

import re
from collections.abc import Iterator

from common.data.spelling import alike, doubts
from common.inspect.facts import Survey
from common.inspect.findings import Finding, Level
from common.program.words import counted, some

_PERSON = re.compile(
    r"(patients?|pat|persons?|subjects?|subj?|sub|cases?|pt|p)[ _.-]*\d+", re.IGNORECASE
)
_REMEDY = "Use one name for each class, and name the class of every image."


def check_names(survey: Survey) -> Iterator[Finding]:
    """Yields findings on how classes and groups are spelt."""
    counts = {name: len(survey.rows("", label)) for label, name in enumerate(survey.classes)}
    for sentence in doubts(counts):
        yield Finding(Level.LOOK, sentence, _REMEDY)
    if len(counts) > 1 and all(map(_PERSON.fullmatch, counts)):
        yield Finding(
            Level.LOOK,
            f"The classes are named like patients: {some(list(counts))}. A classifier would learn"
            " to tell the patients apart.",
            "Put their folders into a folder for each class, or into one for all:"
            f" DIR/CLASS/{min(counts)}/image.png",
        )
    for names in alike(survey.mask_classes):
        yield Finding(
            Level.LOOK,
            f"The classes of the masks are named {some([repr(name) for name in names])}, which may"
            " be one.",
            "Give them one name in --config.data.mask_values to make one class of them.",
        )
    groups = [", ".join(map(repr, names)) for names in alike({i.group for i in survey.images})]
    if groups:
        yield Finding(
            Level.LOOK,
            f"{counted(len(groups), 'set')} of groups differ only in spelling:"
            f" {some(groups)}. If they are one patient, its images may be in several splits.",
            "Give each patient one name.",
        )
