"""Which training images keep their label: config.data.labels_per_class and labelled_patients."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Int

from common.data.grouping import owners_of
from common.data.prepared.splits import Table
from common.data.records import UNLABELLED
from common.data.settings import DataSettings
from common.program.errors import UserError
from common.program.words import counted

Rows = Int[np.ndarray, " _rows"]


def with_few_labels(
    table: Table,
    groups: Sequence[str],
    rows: Mapping[str, Rows],
    classes: Sequence[str],
    data: DataSettings,
) -> tuple[Table, Mapping[str, Rows]]:
    """Returns the examples and the rows of each split, if few training images have a label.

    `data.labelled_patients` of n keeps the labels of the training images of n patients,
    `data.labels_per_class` of n those of n images of each class, one patient after another. Both
    take patients in an order that `data.labels_seed` says, so a smaller n keeps some of the same.
    The other training images leave the split, or with `data.unlabelled` of "keep" stay in it as
    `UNLABELLED`. Images that never had one stay. Validation and test are as they were.

    Raises:
      UserError: there are fewer such patients or images.
    """
    if not (data.labels_per_class or data.labelled_patients):
        return table, rows
    labels, train = np.array(table.labels), rows["train"]
    never = labels[train] == UNLABELLED
    chosen = _of_patients(table, groups, train[~never].tolist(), data)
    if data.labels_per_class:
        present = np.unique(labels[train[~never]]).tolist()
        chosen = _of_classes(chosen, labels, present, classes, data.labels_per_class)
    labelled = np.isin(train, chosen)
    if data.unlabelled == "drop":
        return table, {**rows, "train": train[labelled | never]}
    labels[train[~labelled]] = UNLABELLED
    return replace(table, labels=tuple(labels.tolist())), rows


def _of_patients(
    table: Table, groups: Sequence[str], train: Sequence[int], data: DataSettings
) -> list[int]:
    """Returns the training images of the labelled patients, one patient after another."""
    owners = owners_of(table.ids, groups)
    patients = sorted({owners[row] for row in train}, key=lambda x: _rank(data.labels_seed, x))
    if len(patients) < data.labelled_patients:
        raise UserError(
            f"config.data.labelled_patients is {data.labelled_patients}, but"
            f" {counted(len(patients), 'patient')} (config.data.group) are in training; make it"
            " smaller."
        )
    turn = {name: i for i, name in enumerate(patients[: data.labelled_patients or None])}
    of_some = [row for row in train if owners[row] in turn]
    return sorted(of_some, key=lambda row: (turn[owners[row]], table.ids[row]))


def _of_classes(
    chosen: Sequence[int], labels: Rows, present: Sequence[int], classes: Sequence[str], number: int
) -> list[int]:
    """Returns the first so many images of each class that is present in training."""
    kept: list[int] = []
    for label in present:
        of_class = [row for row in chosen if labels[row] == label]
        if len(of_class) < number:
            raise UserError(
                f"config.data.labels_per_class is {number}, but class {classes[label]} has"
                f" {len(of_class)} training images; make it smaller."
            )
        kept += of_class[:number]
    return kept


def _rank(seed: int, owner: str) -> str:
    return hashlib.sha256(f"labels {seed} {owner}".encode()).hexdigest()
