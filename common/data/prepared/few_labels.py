"""Which training images keep their label: config.data.labels_per_class."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Int

from common.data.prepared.splits import Table
from common.data.settings import DataSettings
from common.program.errors import UserError

UNLABELLED = -1  # the label of an image that has none

Rows = Int[np.ndarray, " _rows"]


def with_few_labels(
    table: Table,
    groups: Sequence[str],
    rows: Mapping[str, Rows],
    classes: Sequence[str],
    data: DataSettings,
) -> tuple[Table, Mapping[str, Rows]]:
    """Returns the examples and the rows of each split, if few training images have a label.

    `data.labels_per_class` of n keeps the labels of n training images of each class, those of one
    patient after another in an order that `data.labels_seed` says; a smaller n keeps some of the
    same. The other training images leave the split, or with `data.unlabelled` of "keep" stay in it
    as `UNLABELLED`. Validation and test are as they were.

    Raises:
      UserError: a class has fewer training images.
    """
    if not data.labels_per_class:
        return table, rows
    labels, train = np.array(table.labels), rows["train"]
    order = sorted(
        train.tolist(),
        key=lambda row: (_rank(data.labels_seed, groups[row] or table.ids[row]), table.ids[row]),
    )
    labelled = np.zeros(len(labels), bool)
    for label in np.unique(labels[train]).tolist():
        of_class = [row for row in order if labels[row] == label]
        if len(of_class) < data.labels_per_class:
            raise UserError(
                f"config.data.labels_per_class is {data.labels_per_class}, but class"
                f" {classes[label]} has {len(of_class)} training images; make it smaller."
            )
        labelled[of_class[: data.labels_per_class]] = True
    if data.unlabelled == "drop":
        return table, {**rows, "train": train[labelled[train]]}
    labels[train[~labelled[train]]] = UNLABELLED
    return replace(table, labels=tuple(labels.tolist())), rows


def _rank(seed: int, owner: str) -> str:
    return hashlib.sha256(f"labels {seed} {owner}".encode()).hexdigest()
