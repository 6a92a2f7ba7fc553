"""Findings about headers that leave open how a volume, or a mask on its image, lies."""

from collections.abc import Iterator

from common.inspect.facts import Survey
from common.inspect.findings import Finding, Level
from common.program.words import counted, some


def check_orientation(survey: Survey) -> Iterator[Finding]:
    """Yields a finding for each kind of doubt, with the files that raise it."""
    doubts: dict[str, list[str]] = {}
    for image in survey.images:
        if image.record.doubt:
            name = image.record.id.rpartition("#")[0]  # of the volume, not of its slice
            doubts.setdefault(image.record.doubt, []).append(name)
    for doubt, names in doubts.items():
        files = sorted(set(names))
        yield Finding(
            Level.LOOK,
            f"How {counted(len(files), 'volume lies', 'volumes lie')} is open: {doubt}"
            f" ({some(files)}).",
            "Look whether the pictures are upright and the masks where they belong; then save the"
            " files with one orientation.",
        )
