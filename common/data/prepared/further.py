"""Which further images without a label join training: none of anybody who is held out."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Int

from common.data.copies.together import owners_of_copies
from common.data.grouping import owners_of
from common.program.log import log
from common.program.words import counted

Rows = Int[np.ndarray, " _rows"]


def with_further(
    splits: Mapping[str, Rows],
    further: Rows,
    ids: Sequence[str],
    groups: Sequence[str],
    pictures: Sequence[int],
) -> Mapping[str, Rows]:
    """Returns splits whose train has further images, but nobody and no picture that is held out.

    Args:
      splits: the rows of each.
      further: the rows of the further images.
      ids: unique names of all images.
      groups: the group of each; "" is a group of its own.
      pictures: equal numbers for copies of one picture; () if none were looked for.
    """
    if not len(further):
        return splits
    owners = owners_of(ids, owners_of_copies(ids, groups, pictures))
    held_out = {owners[row] for split in splits if split != "train" for row in splits[split]}
    joining = [row for row in further.tolist() if owners[row] not in held_out]
    if left := len(further) - len(joining):
        log.warning(
            "%s of config.data.unlabelled_dir left out: of patients, or copies of pictures, that"
            " are held out",
            counted(left, "image"),
        )
    if not joining:
        return splits
    return {**splits, "train": np.sort(np.concatenate([splits["train"], joining]))}
