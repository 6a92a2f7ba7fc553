"""The group of an image, and the setting `config.data.group`, parsed."""

from collections.abc import Sequence
from typing import NamedTuple

_COLUMN, _DICOM = "column:", "dicom:"


class Grouping(NamedTuple):
    """Where an image's patient or other group is stated; all None leaves it to the source.

    Attributes:
      expression: a regular expression on the names of files and folders.
      column: of the table beside the images, or of a TFDS set.
      tag: a DICOM attribute by its keyword.
    """

    expression: str | None = None
    column: str | None = None
    tag: str | None = None

    @classmethod
    def of(cls, setting: str) -> "Grouping":
        """Parses the setting: an expression, "column:NAME", "dicom:KEYWORD" or ""."""
        if setting.startswith(_COLUMN):
            return cls(column=setting.removeprefix(_COLUMN))
        if setting.startswith(_DICOM):
            return cls(tag=setting.removeprefix(_DICOM))
        return cls(expression=setting or None)


def owners_of(ids: Sequence[str], groups: Sequence[str]) -> tuple[str, ...]:
    """Returns the group of each image, or the image's own name if it has none."""
    return tuple(group or name for group, name in zip(groups, ids, strict=True))
