"""Findings about pairs to translate: targets that are the image again."""

from collections.abc import Iterator

from common.inspect.facts import Survey
from common.inspect.findings import Finding, Level
from common.program.words import counted, some


def check_targets(survey: Survey) -> Iterator[Finding]:
    """Yields a finding on patients whose targets equal their images, if there are any."""
    equal = survey.equal_pairs
    if not equal:
        return
    owners = sorted({image.group or image.record.id for image in equal})
    pairs = (
        f"In {counted(len(equal), 'pair')} of {counted(len(owners), 'patient')} ({some(owners, 6)})"
    )
    if {image.record.id for image in survey.images} <= {image.record.id for image in equal}:
        yield Finding(
            Level.MEND,
            "In every pair the target equals the image.",
            "Nothing is to be learnt; check config.data.take and the targets.",
        )
    elif survey.settings.equal_pairs == "keep":
        yield Finding(
            Level.MEND,
            f"{pairs} the target equals the image.",
            "They teach nothing and flatter scores; leave them out with"
            " --config.data.equal_pairs=drop",
        )
    else:
        yield Finding(
            Level.LOOK,
            f"{pairs} the target equals the image, and they are left out of every split.",
            "Find out why they are so; --config.data.equal_pairs=keep keeps them.",
        )
