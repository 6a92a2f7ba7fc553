"""Several splits as one."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from common.data.prepared.prepared import Example, Split


@dataclass(frozen=True)
class _Several(Sequence[Example]):
    """The examples of splits, one after the other."""

    splits: tuple[Split, ...]

    def __len__(self) -> int:
        return sum(map(len, self.splits))

    def __getitem__(self, row: int) -> Example:  # type: ignore[override]
        for split in self.splits:
            if row < len(split):
                return split.source[int(split.rows[row])]
            row -= len(split)
        raise IndexError(row)


def joined(splits: Sequence[Split]) -> Split:
    """Returns splits as one, also such of different sets."""
    return Split(
        _Several(tuple(splits)),
        np.arange(sum(map(len, splits))),
        tuple(name for split in splits for name in split.ids),
        tuple(group for split in splits for group in split.groups),
    )
