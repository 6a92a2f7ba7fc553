"""Examples that say whose they are: images of one patient have equal numbers."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int

from common.data.prepared.prepared import Example, Prepared, Split


@dataclass(frozen=True)
class _WithPatients(Sequence[Example]):
    """The examples of a split, each with the number of its patient."""

    split: Split
    patients: Int[np.ndarray, " num"]

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, row: int) -> Example:  # type: ignore[override]
        example = self.split.source[int(self.split.rows[row])]
        return {**example, "patient": self.patients[row]}


def with_patients(split: Split) -> Split:
    """Returns a split whose examples have "patient", int32: an image of nobody is its own."""
    _, numbers = np.unique(split.owners, return_inverse=True)
    source = _WithPatients(split, numbers.astype(np.int32))
    return replace(split, source=source, rows=np.arange(len(split)))


def all_with_patients(prepared: Prepared) -> Prepared:
    """Returns the data with "patient" in the examples of every split."""
    splits = {name: with_patients(split) for name, split in prepared.splits.items()}
    return replace(prepared, splits=splits)
