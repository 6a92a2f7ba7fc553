"""Images that show several findings: the classes "Mass|Nodule", "Mass" and "no finding".

A class is what an image shows altogether; its name joins the names of findings. So such images lie
in folders, in labels.csv and in splits like any others. If no class joins two, classes are classes.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool

from common.data.spelling import natural_order

SEPARATOR = "|"
NOTHING = "no finding"  # in any case of letters


def may_be_several(classes: Sequence[str]) -> bool:
    """Returns whether images of these classes may show several findings."""
    return any(SEPARATOR in name for name in classes)


def findings_of(name: str) -> tuple[str, ...]:
    """Returns the findings of a class."""
    return () if name.casefold() == NOTHING else tuple(name.split(SEPARATOR))


def outputs_of(classes: Sequence[str]) -> tuple[str, ...]:
    """Returns what a classifier is to tell apart: the findings, or else the classes."""
    if not may_be_several(classes):
        return tuple(classes)
    return tuple(sorted({x for name in classes for x in findings_of(name)}, key=natural_order))


def shown_by(classes: Sequence[str]) -> Bool[np.ndarray, "classes outputs"]:
    """Returns which outputs the images of each class show."""
    if not may_be_several(classes):
        return np.eye(len(classes), dtype=bool)
    outputs = outputs_of(classes)
    return np.array([[name in findings_of(one) for name in outputs] for one in classes])


def joined_name(findings: Sequence[str]) -> str:
    """Returns the name of the class whose images show these findings."""
    return SEPARATOR.join(findings) or NOTHING
