"""Training without pairs: nobody gives both an image and its target."""

import numpy as np
import pytest

from common.data.prepared.prepared import DataCard, Prepared, Split
from common.program.errors import UserError
from translate.unpaired import unpaired


def prepared(owners, labels, *, targets):
    """Images whose one pixel is their place, and targets of 100 more."""

    def example(place):
        image = np.full((1, 1, 1), place, np.uint8)
        side = {"target": image + 100} if targets else {}
        return {"image": image, **side, "label": np.int32(labels[place])}

    count = len(owners)
    ids = tuple(f"{place}.png" for place in range(count))
    split = Split([example(place) for place in range(count)], np.arange(count), ids, owners)
    classes = tuple("ab"[: len(set(labels))])
    card = DataCard("test", classes, {"train": count}, 1, 1, "", False, 0, has_targets=targets)
    return Prepared(card, {"train": split, "val": split})


def sides_of(data):
    train = data.splits["train"]
    examples = train.read(range(len(train)))
    return examples["image"].ravel().tolist(), examples["target"].ravel().tolist()


def test_of_pairs_every_other_patient_gives_images_and_the_rest_targets():
    owners = ("p1", "p1", "p2", "p3", "p3", "p4")
    whole = prepared(owners, [0] * 6, targets=True)
    data = unpaired(whole)
    images, targets = sides_of(data)
    assert {owners[place] for place in images} == {"p1", "p3"}
    assert {owners[place - 100] for place in targets} == {"p2", "p4"}
    assert len(images) == 6 and data.splits["val"] is whole.splits["val"]


def test_two_classes_are_the_two_kinds():
    images, targets = sides_of(unpaired(prepared(("",) * 5, [0, 1, 0, 1, 1], targets=False)))
    assert set(images) == {0, 2} and set(targets) == {1, 3, 4}


@pytest.mark.parametrize("targets", [True, False])
def test_a_kind_without_images_is_refused(targets):
    with pytest.raises(UserError, match="one of the two kinds to translate between would be"):
        unpaired(prepared(("p1",) * 3, [0] * 3, targets=targets))
