"""Findings about headers that leave the orientation of a volume or its mask open."""

from collections.abc import Iterator

from common.inspect.facts import Survey
from common.inspect.findings import Finding, Level
from common.program.words import counted, some


def check_orientation(survey: Survey) -> Iterator[Finding]:
    """Yields a finding for each kind of doubt, with its files."""
    doubts: dict[str, list[str]] = {}
    for image in survey.images:
        if image.record.doubt:
            name = image.record.id.rpartition("#")[0]  # of the volume, not of its slice
            doubts.setdefault(image.record.doubt, []).append(name)
    for doubt, names in doubts.items():
        files = sorted(set(names))
        yield Finding(
            Level.LOOK,
            f"The orientation of {counted(len(files), 'volume')} is uncertain: {doubt}"
            f" ({some(files)}).",
            "Check that the pictures are upright and the masks in place; then save the files with"
            " one orientation.",
        )
