"""The inspection: reads every image once and reports what is in a data set and what is wrong."""

from dataclasses import dataclass

import numpy as np
from ml_collections import ConfigDict

from common.data.prepared.suggested_groups import NameGroups, suggested_groups
from common.data.settings import DataSettings
from common.data.sources.open import open_source
from common.inspect.agreement import Odd
from common.inspect.check_agreement import check_agreement, find_odd_masks
from common.inspect.check_copies import check_copies
from common.inspect.check_files import check_files
from common.inspect.check_masks import check_masks
from common.inspect.check_names import check_names
from common.inspect.check_orientation import check_orientation
from common.inspect.check_shortcuts import check_shortcuts
from common.inspect.check_splits import check_splits
from common.inspect.check_targets import check_targets
from common.inspect.facts import Survey, survey
from common.inspect.findings import Finding, Level
from common.inspect.shortcuts import (
    Shortcut,
    TooFew,
    file_properties,
    find_shortcut,
    tone_properties,
)
from common.program.log import log


@dataclass(frozen=True)
class Inspection:
    """What was found.

    Attributes:
      survey: the images.
      suggestion: groups suggested by the file names; None if groups are stated or none are found.
      by_file: the probe that sees size, mode, file type and frame; None if these are equal.
      by_tone: the probe that sees brightness, contrast and compression.
      odd: masks that do not seem to fit their images, the oddest first.
      findings: the worst first.
    """

    survey: Survey
    suggestion: NameGroups | None
    by_file: Shortcut | TooFew | None
    by_tone: Shortcut | TooFew | None
    odd: tuple[Odd, ...]
    findings: tuple[Finding, ...]

    @property
    def invalid(self) -> bool:
        """Returns whether results would be invalid, or training would stop."""
        return any(finding.level == Level.MEND for finding in self.findings)


def inspect(settings: ConfigDict) -> Inspection:
    """Inspects the images that `config.data` names.

    Raises:
      UserError: the source or a setting is invalid, or no image can be read.
    """
    source = open_source(settings)
    log.info("inspecting %s", source.name)
    found = survey(source, DataSettings.of(settings))
    suggestion = _suggestion(found)
    labels = np.array([image.record.label for image in found.images])
    groups = suggestion.groups if suggestion else tuple(image.group for image in found.images)
    by_file = find_shortcut(file_properties(found.images), labels, groups)
    by_tone = find_shortcut(tone_properties(found.images), labels, groups)
    odd = find_odd_masks(found, groups)
    findings = [
        *check_files(found),
        *check_names(found),
        *check_orientation(found),
        *check_splits(found, suggestion),
        *check_copies(found),
        *check_shortcuts(found, by_file, by_tone),
        *check_masks(found),
        *check_agreement(found, odd, groups),
        *check_targets(found),
    ]
    return Inspection(
        survey=found,
        suggestion=suggestion,
        by_file=by_file,
        by_tone=by_tone,
        odd=tuple(odd),
        findings=tuple(sorted(findings, key=lambda finding: finding.level)),
    )


def _suggestion(found: Survey) -> NameGroups | None:
    """Returns the groups suggested by names, if there are names and no groups are stated."""
    named = all(image.record.path for image in found.images)
    if not named or any(image.group for image in found.images):
        return None
    return suggested_groups([image.record.id for image in found.images], found.classes)
