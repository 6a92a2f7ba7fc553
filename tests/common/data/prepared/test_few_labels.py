"""`labels_per_class`: which training images keep their label."""

import numpy as np
import pytest
from ml_collections import ConfigDict

from common.config.defaults import check, default_config
from common.config.tasks import rules_of
from common.data.prepared.few_labels import with_few_labels
from common.data.prepared.prepared import prepare
from common.data.prepared.splits import Table
from common.data.records import UNLABELLED
from common.data.settings import DataSettings
from common.program.errors import UserError
from common.training.feed import Order
from common.training.task import Batches

CLASSES = ("A", "B")
NUM = 60
LABELS = [number % 3 == 0 for number in range(NUM)]  # 40 of A, 20 of B
PATIENTS = [f"patient {number // 6}" for number in range(NUM)]  # with 4 and 2 images each
TABLE = Table(
    tuple(f"{number}.png" for number in range(NUM)),
    tuple(map(int, LABELS)),
    tuple(PATIENTS),
    ("train",) * NUM,
)
ROWS = {"train": np.arange(48), "test": np.arange(48, NUM)}


def chosen(number, groups=PATIENTS, **changes):
    data = DataSettings(labels_per_class=number, **changes)
    return with_few_labels(TABLE, groups, ROWS, CLASSES, data)


@pytest.mark.parametrize("number", [1, 7, 16])
def test_so_many_of_each_class_stay_in_training(number):
    table, rows = chosen(number)
    labels = np.array(table.labels)[rows["train"]]
    np.testing.assert_array_equal(np.bincount(labels), [number, number])
    assert set(rows["train"]) < set(ROWS["train"]) and sorted(rows["train"]) == list(rows["train"])
    assert table == TABLE and rows["test"] is ROWS["test"]


def test_or_the_others_stay_without_a_label():
    table, rows = chosen(7, unlabelled="keep")
    labels, whole = np.array(table.labels), np.array(TABLE.labels)
    assert rows is ROWS
    hidden = labels == UNLABELLED
    np.testing.assert_array_equal(np.flatnonzero(~hidden[:48]), chosen(7)[1]["train"])
    np.testing.assert_array_equal(labels[~hidden], whole[~hidden])
    assert not hidden[48:].any()


def test_images_of_one_patient_are_chosen_before_those_of_the_next():
    images = chosen(8)[1]["train"]
    of_a = {PATIENTS[row] for row in images if not LABELS[row]}
    of_b = {PATIENTS[row] for row in images if LABELS[row]}
    assert len(of_a) == 2 and len(of_b) == 4 and of_a < of_b
    assert len({PATIENTS[row] for row in chosen(8, [""] * NUM)[1]["train"]}) > 4


def test_fewer_are_some_of_more_and_a_seed_chooses_others():
    few, more, others = (
        set(chosen(n, labels_seed=s)[1]["train"]) for n, s in ((3, 0), (9, 0), (9, 1))
    )
    assert few < more and more != others


def test_all_keep_theirs_without_a_number():
    assert chosen(0) == (TABLE, ROWS)


def test_so_many_patients_keep_the_labels_of_all_their_images():
    images, more = (set(chosen(0, labelled_patients=n)[1]["train"]) for n in (3, 5))
    kept = {PATIENTS[row] for row in images}
    assert len(kept) == 3 and images < more
    assert images == {row for row in range(48) if PATIENTS[row] in kept}
    of_few = chosen(2, labelled_patients=3)[1]["train"]
    assert len(of_few) == 4 and set(of_few) < images


def test_too_few_patients_are_told():
    with pytest.raises(UserError, match=r"is 9, but 8 patients .* are in training"):
        chosen(0, labelled_patients=9)


def test_too_few_images_are_told():
    with pytest.raises(UserError, match="is 17, but class B has 16 training images"):
        chosen(17)


@pytest.mark.parametrize("task", ["classify", "unet", "translate"])
def test_only_gans_learn_from_the_others(task):
    config = default_config()
    config.data.unlabelled = "keep"
    with pytest.raises(UserError, match=r"config\.data\.unlabelled is 'keep'"):
        check(config, rules_of(task))


class TestPrepared:
    def prepared(self, folder, **changes):
        config = default_config()
        config.data.update(name="digits", num_phantoms=40, image_size=8, cache_dir=str(folder))
        config.data.update(labels_per_class=2, **changes)
        return prepare(ConfigDict(config.data))

    def test_batches_show_no_hidden_label(self, tmp_path):
        prepared = self.prepared(tmp_path, unlabelled="keep")
        split, classes = prepared.splits["train"], len(prepared.card.classes)
        labels = split.read(range(len(split)))["label"]
        assert labels.dtype == np.int32 and (labels == split.labels).all()
        assert (labels == UNLABELLED).sum() == len(split) - 2 * classes
        assert prepared.card.class_counts == (2,) * classes
        order = Order(split, Batches(1, classes + 1), [0], shuffle=True, balance=True)
        of_batch = labels[order.indices(3).ravel()]
        assert sorted(of_batch) == list(range(UNLABELLED, classes))

    def test_its_fingerprint_says_which_labels_there_are(self, tmp_path):
        kinds = [{}, {"labels_seed": 1}]
        kinds += [{**kind, "unlabelled": "keep"} for kind in kinds]
        assert len({self.prepared(tmp_path, **kind).card.fingerprint for kind in kinds}) == 4
