"""Groups suggested by names of files and folders: TCGA_CS_4941_012.jpg is of TCGA_CS_4941."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from common.data.prepared.splits import Table, groups_of
from common.data.sources.folders import SPLIT_NAMES

# Expressions for config.data.group, simple ones first: what precedes the last number.
_EXPRESSIONS = (r"(.+)_\d+", r"(.+)-\d+", r"(.+)[_-]\d+", r"^(.+?)([_-]\d+)?\.\w+$")
_LEAST_GROUPS = 3
_LEAST_SHARED = 0.1  # least share of images that are not alone in their group
_LARGEST = 0.2  # largest share of images in one group: "image" of image_0001.png is no patient
_LARGEST_FOLDER = 0.5  # the same for folders, which are made on purpose


@dataclass(frozen=True)
class NameGroups:
    """Groups of images by their names.

    Attributes:
      where: "file names" or "folders".
      expression: the one that makes them, for config.data.group.
      groups: the group of each image.
      shared: number of groups with several images.
    """

    where: str
    expression: str
    groups: tuple[str, ...]
    shared: int


def suggested_groups(ids: Sequence[str], classes: Sequence[str] = ()) -> NameGroups | None:
    """Returns the groups suggested by folders, else by file names, if plausible.

    They are plausible if there are several, none holds a large part of all images, and many images
    share one.

    Args:
      ids: paths below the root.
      classes: names of classes, whose folders are not patients.
    """
    table = Table(tuple(ids), (0,) * len(ids), ("",) * len(ids), ("train",) * len(ids))
    for expression in _of_folders(ids, classes):
        groups = groups_of(table, expression)
        if shared := _plausible(groups, _LARGEST_FOLDER):
            return NameGroups("folders", expression, groups, shared)
    names = [name.rsplit("/", 1)[-1] for name in ids]
    for expression in _EXPRESSIONS:
        if all(re.search(expression, name) for name in names):
            groups = groups_of(table, expression)
            # Two folders may both have a 1.png; that does not make them a group.
            different = dict(zip(names, groups, strict=True))
            if shared := _plausible(tuple(different.values()), _LARGEST):
                return NameGroups("file names", expression, groups, shared)
            return None
    return None


def _of_folders(ids: Sequence[str], classes: Sequence[str]) -> Iterator[str]:
    """Yields an expression for each depth at which every image has a folder, outer ones first."""
    known = {*SPLIT_NAMES, "images", *(name.casefold() for name in classes)}
    paths = [name.split("/")[:-1] for name in ids]
    for depth in range(min(map(len, paths), default=0)):
        if known.isdisjoint(path[depth].casefold() for path in paths):
            yield "^" + "[^/]+/" * depth + "([^/]+)/"


def _plausible(groups: Sequence[str], largest_share: float) -> int:
    """Returns the number of groups with several images; 0 if they are unlikely to be patients."""
    sizes = np.array(list(Counter(groups).values()))
    in_company = sizes[sizes > 1].sum() / len(groups)
    largest = max(2, largest_share * len(groups))
    plausible = len(sizes) >= _LEAST_GROUPS and sizes.max() <= largest
    return int((sizes > 1).sum()) if plausible and in_company >= _LEAST_SHARED else 0
