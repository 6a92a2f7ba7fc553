"""Groups that file names suggest: TCGA_CS_4941_012.jpg is a slice of TCGA_CS_4941."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from common.data.splits import Table, groups_of

# Expressions for config.data.group, simple ones first: what stands before the last number.
_EXPRESSIONS = (r"(.+)_\d+", r"(.+)-\d+", r"(.+)[_-]\d+", r"^(.+?)([_-]\d+)?\.\w+$")
_LEAST_GROUPS = 3
_LEAST_SHARED = 0.1  # the share of images that are not alone in their group
_LARGEST = 0.2  # the share of images in one group: "image" of image_0001.png is no patient


@dataclass(frozen=True)
class NameGroups:
    """Groups of images by their names.

    Attributes:
      expression: that makes them, for config.data.group.
      groups: of each image.
      shared: how many groups have several images.
    """

    expression: str
    groups: tuple[str, ...]
    shared: int


def suggested_groups(ids: Sequence[str]) -> NameGroups | None:
    """Returns the groups of the simplest expression that all names match, if they are plausible.

    They are if there are several, none has a large part of all images, and many images share one.
    """
    table = Table(tuple(ids), (0,) * len(ids), ("",) * len(ids), ("train",) * len(ids))
    names = [name.rsplit("/", 1)[-1] for name in ids]
    for expression in _EXPRESSIONS:
        if not all(re.search(expression, name) for name in names):
            continue
        groups = groups_of(table, expression)
        # Two folders may both have a 1.png; that makes no group of them.
        different = dict(zip(names, groups, strict=True))
        sizes = np.array(list(Counter(different.values()).values()))
        in_company = sizes[sizes > 1].sum() / len(different)
        largest = max(2, _LARGEST * len(different))
        plausible = len(sizes) >= _LEAST_GROUPS and sizes.max() <= largest
        if plausible and in_company >= _LEAST_SHARED:
            return NameGroups(expression, groups, int((sizes > 1).sum()))
        return None
    return None
