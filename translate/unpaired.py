"""Training examples without pairs: an image of each kind that do not belong together."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int

from common.data.prepared.prepared import Example, Prepared, Split
from common.program.errors import UserError


@dataclass(frozen=True)
class Unpaired(Sequence[Example]):
    """Examples of "image", of one kind, and "target", of the other.

    Attributes:
      split: what they are taken from.
      images: places in it of the images of one kind.
      others: places of those of the other kind.
      other_side: where an example holds those: "target", or "image".
    """

    split: Split
    images: Int[np.ndarray, " _images"]
    others: Int[np.ndarray, " _others"]
    other_side: str

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, row: int) -> Example:  # type: ignore[override]
        source, rows = self.split.source, self.split.rows
        image = source[int(rows[self.images[row % len(self.images)]])]
        other = source[int(rows[self.others[row % len(self.others)]])]
        return {"image": image["image"], "target": other[self.other_side], "label": image["label"]}


def unpaired(prepared: Prepared) -> Prepared:
    """Returns the data with training examples that hold no pair.

    Of pairs, every other patient gives the images and the others the targets, so that nobody gives
    both. Otherwise there are two classes: one gives the images, the other the targets. There are as
    many examples as before; those of held-out splits stay as they are.

    Raises:
      UserError: there would be no images of one kind.
    """
    split = prepared.splits["train"]
    first = _of_every_other_patient(split) if prepared.card.has_targets else _of_first_class(split)
    if first.all() or not first.any():
        raise UserError(
            f"The train split of {prepared.card.name} has images of one patient or of one class, so"
            " one of the two kinds to translate between would be empty; add images."
        )
    side = "target" if prepared.card.has_targets else "image"
    source = Unpaired(split, np.flatnonzero(first), np.flatnonzero(~first), side)
    train = replace(split, source=source, rows=np.arange(len(split)))
    return replace(prepared, splits={**prepared.splits, "train": train})


def _of_every_other_patient(split: Split) -> np.ndarray:
    owners = np.array(split.owners)
    return np.isin(owners, np.unique(owners)[::2])


def _of_first_class(split: Split) -> np.ndarray:
    return np.array([split.source[row]["label"] == 0 for row in split.rows.tolist()])
