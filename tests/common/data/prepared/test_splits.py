"""Specification of `splits`: groups stay whole, shares are kept, order is nothing."""

import logging
import re
import time
from collections import Counter
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.config.defaults import default_config
from common.data.prepared.splits import (
    Table,
    assign_splits,
    check_division,
    groups_of,
    warn_of_mixed_test,
)
from common.data.settings import DataSettings
from common.data.sources.open import open_source
from common.program.errors import UserError

CLASSES = tuple("ABCDEFGHIJ")


def data(**changes) -> DataSettings:
    return DataSettings(**changes)


def table(labels, groups=None, splits=None) -> Table:
    """A set with images named after their place."""
    ids = tuple(f"{CLASSES[label]}/{place}.png" for place, label in enumerate(labels))
    num = len(ids)
    return Table(ids, tuple(labels), tuple(groups or [""] * num), tuple(splits or ["train"] * num))


def divided(examples: Table, **changes) -> dict[str, list[str]]:
    """The names of the images in each split."""
    rows = assign_splits(examples, groups_of(examples, ""), CLASSES, data(**changes))
    return {split: [examples.ids[row] for row in chosen] for split, chosen in rows.items()}


def class_counts(names: list[str]) -> Counter:
    return Counter(name.split("/")[0] for name in names)


@st.composite
def grouped(draw) -> tuple[list[int], list[str]]:
    """Labels and groups: at least six groups of one to nine images, up to four classes."""
    sizes = draw(st.lists(st.integers(1, 9), min_size=6, max_size=40))
    num_classes = draw(st.integers(1, 4))
    groups = [f"patient {number}" for number, size in enumerate(sizes) for _ in range(size)]
    labels = draw(
        st.lists(st.integers(0, num_classes - 1), min_size=len(groups), max_size=len(groups))
    )
    return labels, groups


# Groups


def test_a_group_is_the_first_parenthesis_of_an_expression_on_the_files_name():
    examples = Table(("a/TCGA_7_1.png", "b/TCGA_7_12.png", "b/X_1.png"), (0,) * 3, ("",) * 3, ())
    assert groups_of(examples, "(.+)_") == ("TCGA_7", "TCGA_7", "X")
    assert groups_of(examples, r"^[A-Z]+") == ("TCGA", "TCGA", "X")


def test_an_expression_with_a_slash_is_searched_in_the_whole_path():
    examples = Table(("train/p1/a.png", "train/p2/a.png"), (0, 0), ("", ""), ())
    assert groups_of(examples, "/(.+)/") == ("p1", "p2")


FOLDERS = tuple(f"train/A/Patient {number}/{k}.png" for number in range(3) for k in range(2))


@pytest.mark.parametrize("pattern", [r"Patient \d+", r"(Patient.*)", "/(Patient [0-9]+)/"])
def test_an_expression_that_matches_no_name_is_searched_in_the_folders(pattern):
    examples = Table(FOLDERS, (0,) * 6, ("",) * 6, ())
    assert groups_of(examples, pattern) == tuple(f"Patient {k}" for k in (0, 0, 1, 1, 2, 2))


def test_folders_of_splits_and_classes_are_no_patients():
    ids = ("train/COVID_pos/1.png", "train/COVID_neg/2.png", "test/COVID_neg/3.png")
    with pytest.raises(UserError, match="does not match 3 of 3 file names"):
        groups_of(Table(ids, (0,) * 3, ("",) * 3, ()), "(.+)_")


def test_an_expression_that_fits_other_files_names_them_and_says_how_to_go_on():
    ids = tuple(f"images/{name}.png" for name in ("a_1", "b", "c", "d", "e"))
    with pytest.raises(UserError) as raised:
        groups_of(Table(ids, (0,) * 5, ("",) * 5, ()), "(.+)_")
    said = str(raised.value)
    assert "'(.+)_', which does not match 4 of 5 file names: b.png, c.png, d.png and 1 more" in said
    assert r"PATIENT_12.png write --config.data.group='(.+)_\d+'" in said
    assert "--config.data.group=''" in said


@pytest.mark.parametrize("pattern", ["", "column:patient", "dicom:PatientID"])
def test_without_an_expression_the_source_states_the_groups(pattern):
    examples = Table(("a", "b"), (0, 0), ("anna", ""), ())
    assert groups_of(examples, pattern) == ("anna", "")


def test_a_missing_group_is_nobodys():
    """Whoever stated it, a table, a TFDS feature or a DICOM file."""
    ids = ("a.png", "b.png", "c.nii#000", "d.png", "e.png")
    stated = ("nan", "N/A", "None", "nana", "0")
    assert groups_of(Table(ids, (0,) * 5, stated, ()), "") == ("", "", "c.nii", "nana", "0")


def test_the_images_of_one_file_are_a_group_unless_somebody_says_otherwise():
    ids = ("a.nii.gz#000", "a.nii.gz#001", "scan #1.png")
    assert groups_of(Table(ids, (0,) * 3, ("",) * 3, ()), "") == ("a.nii.gz", "a.nii.gz", "")
    assert groups_of(Table(ids, (0,) * 3, ("p", "p", "q"), ()), "") == ("p", "p", "q")


@pytest.mark.parametrize(
    ("pattern", "sentence"),
    [
        ("(", r"config\.data\.group is '\(', which is not a regular expression"),
        (r"(\d+)_", r"does not match 1 of 1 file names: a\.png\."),
        ("column:patient", "no image has such a group"),
        ("dicom:StudyID", "no image has such a group"),
    ],
)
def test_an_expression_that_gives_no_group_is_refused(pattern, sentence):
    with pytest.raises(UserError, match=sentence):
        groups_of(Table(("x/a.png",), (0,), ("",), ()), pattern)


@settings(max_examples=60, deadline=None)
@given(drawn=grouped(), seed=st.integers(0, 5))
def test_no_group_is_in_two_splits_and_no_split_is_empty(drawn, seed):
    examples = table(*drawn)
    changes = {"splits": "60,20,20", "split_seed": seed}
    try:
        names = divided(examples, **changes)
    except UserError as error:
        assert "would have no image in train" in str(error)
        return
    assert list(names) == ["train", "val", "test"]
    assert sorted(chain(*names.values())) == sorted(examples.ids)
    group_of = dict(zip(examples.ids, examples.groups, strict=True))
    holders = {split: {group_of[name] for name in held} for split, held in names.items()}
    assert not holders["train"] & holders["val"]
    assert not holders["train"] & holders["test"]
    assert not holders["val"] & holders["test"]


# Shares


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.integers(8, 60), min_size=1, max_size=10),
    shares=st.sampled_from([(70, 15, 15), (80, 20, 0), (34, 33, 33), (50, 0, 50)]),
    seed=st.integers(0, 3),
)
def test_without_groups_each_split_has_its_share_of_each_class_to_one_image(counts, shares, seed):
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    names = divided(table(labels), splits=",".join(map(str, shares)), split_seed=seed)
    for split, share in zip(("train", "val", "test"), shares, strict=True):
        found = class_counts(names.get(split, []))
        for label, count in enumerate(counts):
            assert abs(found[CLASSES[label]] - count * share / 100) <= 1
    assert all(names[split] for split, share in zip(names, filter(None, shares), strict=True))


@pytest.mark.parametrize("splits", ["70,16,14", "70,20,10"])
def test_many_small_classes_do_not_starve_a_small_split(splits):
    names = divided(table([label for label in range(10) for _ in range(4)]), splits=splits)
    wished = np.array(splits.split(","), float) / 100 * 40
    assert (abs(np.array([len(held) for held in names.values()]) - wished) <= 2).all()


@settings(max_examples=40, deadline=None)
@given(drawn=grouped())
def test_shares_of_groups_are_missed_by_a_group_at_most(drawn):
    examples = table(*drawn)
    one_class = Table(examples.ids, (0,) * len(examples.ids), examples.groups, examples.splits)
    largest = max(Counter(examples.groups).values())
    names = divided(one_class, splits="60,20,20")
    for split, share in (("train", 0.6), ("val", 0.2), ("test", 0.2)):
        assert abs(len(names[split]) - share * len(examples.ids)) <= largest


def test_a_share_of_nothing_makes_no_split():
    assert list(divided(table([0] * 10), splits="80,0,20")) == ["train", "test"]


def test_the_smallest_sets_still_fill_every_split():
    names = divided(table([0, 0, 1, 1]), splits="70,15,15")
    assert [len(held) for held in names.values()] == [2, 1, 1]
    assert class_counts(names["train"]) == {"A": 1, "B": 1}


def test_a_class_that_is_too_rare_for_every_split_goes_to_train_and_the_rest_is_said(caplog):
    with caplog.at_level(logging.WARNING, "triptych"):
        names = divided(table([0] * 20 + [1]), splits="70,15,15")
    assert class_counts(names["train"])["B"] == 1
    assert "no image of class B in val: it has too few groups" in caplog.text


@pytest.mark.parametrize(("given", "said"), [("test", True), ("val", False)])
def test_given_test_images_do_not_enter_training_unsaid(caplog, given, said):
    examples = table([0, 1] * 20, splits=["train"] * 30 + [given] * 10)
    with caplog.at_level(logging.WARNING, "triptych"):
        warn_of_mixed_test(examples, data(splits="70,15,15"))
    assert ("also from the images that were in test" in caplog.text) == said
    with caplog.at_level(logging.WARNING, "triptych"):
        caplog.clear()
        warn_of_mixed_test(examples, data(folds=5))
    assert not caplog.text


# The same for the same


@settings(max_examples=30, deadline=None)
@given(drawn=grouped(), order=st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_matter(drawn, order):
    examples = table(*drawn)
    places = list(range(len(examples.ids)))
    order.shuffle(places)
    mixed = Table(
        *(
            tuple(column[place] for place in places)
            for column in (examples.ids, examples.labels, examples.groups, examples.splits)
        )
    )
    changes = {"splits": "50,25,25"}
    try:
        names = divided(examples, **changes)
    except UserError:
        return
    assert {split: sorted(held) for split, held in divided(mixed, **changes).items()} == {
        split: sorted(held) for split, held in names.items()
    }


def test_another_seed_makes_other_splits():
    examples = table([0, 1] * 50)
    first, second = (divided(examples, splits="70,15,15", split_seed=seed) for seed in (0, 1))
    assert first == divided(examples, splits="70,15,15")
    assert first["test"] != second["test"]


def test_of_images_without_groups_one_more_moves_few_others():
    labels = [0] * 300 + [1] * 100
    before = divided(table(labels), splits="70,15,15")
    for added in (0, 1):
        after = divided(table([*labels, added]), splits="70,15,15")
        moved = sum(len(set(held) - set(after[split])) for split, held in before.items())
        assert moved <= 4


def test_a_hundred_thousand_images_are_divided_in_a_second():
    rng = np.random.default_rng(0)
    examples = table(rng.integers(0, 10, 100_000).tolist())
    started = time.thread_time()
    divided(examples, splits="70,15,15", folds=5)
    assert time.thread_time() - started < 5  # measured: 0.5 s


# Folds


@settings(max_examples=30, deadline=None)
@given(drawn=grouped(), folds=st.integers(2, 4), test=st.sampled_from(["", "60,20,20"]))
def test_over_the_folds_each_image_that_is_not_for_testing_is_validated_once(drawn, folds, test):
    examples = table(*drawn)
    validated: Counter = Counter()
    tests = set()
    for fold in range(folds):
        try:
            names = divided(examples, splits=test, folds=folds, fold=fold)
        except UserError as error:
            assert re.search(r"no image in train|groups? of images .* for", str(error))
            return
        validated.update(names["val"])
        tests.add(tuple(names.get("test", ())))
        assert sorted(chain(*names.values())) == sorted(examples.ids)
    assert len(tests) == 1
    assert validated == Counter(set(examples.ids) - set(tests.pop()))


def test_folds_leave_the_sources_own_test_split_alone():
    examples = table([0, 1] * 10, splits=["train"] * 12 + ["val"] * 4 + ["test"] * 4)
    names = divided(examples, folds=4, fold=1)
    assert names["test"] == list(examples.ids[16:])
    assert len(names["val"]) == 4
    assert class_counts(names["val"]) == {"A": 2, "B": 2}


# Copies


PICTURES = tuple(place // 4 if place < 40 else place for place in range(100))  # ten, four times


def of_pictures(splits=None, groups=None):
    plain = table([place % 2 for place in range(100)], groups, splits)
    return Table(plain.ids, plain.labels, plain.groups, plain.splits, PICTURES)


@pytest.mark.parametrize("changes", [{"splits": "70,15,15"}, {"folds": 4, "fold": 2}])
def test_copies_are_in_one_split_unless_they_are_to_be_kept_as_they_are(changes):
    def crossing(**more):
        examples = of_pictures()
        held = {split: set() for split in ("train", "val", "test")}
        rows = assign_splits(examples, ("",) * 100, CLASSES, data(**changes, **more))
        for split, chosen in rows.items():
            held[split] = {PICTURES[row] for row in chosen}
        return (held["train"] | held["test"]) & held["val"] | held["train"] & held["test"]

    assert crossing() == crossing(copies="group") == set()
    assert crossing(copies="keep")


def test_groups_that_share_a_copy_stay_together():
    groups = [f"p{place % 25}" for place in range(100)]
    examples = of_pictures(groups=groups)
    rows = assign_splits(examples, groups_of(examples, ""), CLASSES, data(splits="50,25,25"))
    splits_of = {}
    for split, chosen in rows.items():
        for row in chosen:
            splits_of.setdefault(("group", groups[row]), set()).add(split)
            splits_of.setdefault(("picture", PICTURES[row]), set()).add(split)
    assert {len(splits) for splits in splits_of.values()} == {1}


def test_of_dropped_copies_one_stays_in_test_if_it_is_there():
    splits = ["train"] * 2 + ["val"] + ["test"] + ["train"] * 3 + ["val"] + ["train"] * 92
    rows = assign_splits(of_pictures(splits), ("",) * 100, CLASSES, data(copies="drop"))
    assert rows["test"].tolist() == [3] and rows["val"].tolist() == [7]
    assert not {0, 1, 2, 4, 5, 6} & set(rows["train"])
    assert sum(map(len, rows.values())) == 70


def test_given_splits_stay_as_they_are_with_their_copies():
    splits = ["train", "test"] * 50
    rows = assign_splits(of_pictures(splits), ("",) * 100, CLASSES, data())
    assert [len(rows[split]) for split in ("train", "test")] == [50, 50]


def test_what_is_dropped_is_in_no_made_split():
    rows = assign_splits(
        of_pictures(), ("",) * 100, CLASSES, data(copies="drop", splits="70,15,15")
    )
    chosen = [PICTURES[row] for rows_of_split in rows.values() for row in rows_of_split]
    assert len(chosen) == len(set(chosen)) == 70


# Settings


def test_shares_and_folds_that_both_make_validation_are_refused_with_either_way_out():
    with pytest.raises(UserError) as raised:
        check_division(data(splits="70,15,15", folds=10))
    said = str(raised.value)
    assert "config.data.splits=70,15,15 and config.data.folds=10 both" in said
    assert "--config.data.folds=0 for 15 %" in said
    assert "--config.data.splits=85,0,15 for one fold of 10" in said


@pytest.mark.parametrize(
    "changes", [{"splits": "70,15,15"}, {"folds": 10}, {"splits": "85,0,15", "folds": 10}, {}]
)
def test_one_way_to_make_validation_is_accepted(changes, caplog):
    check_division(data(**changes))
    check_division(data(**changes, split_seed=1 if changes else 0))
    assert not caplog.text


def test_a_seed_that_nothing_is_drawn_from_is_said(caplog):
    with caplog.at_level(logging.WARNING, "triptych"):
        check_division(data(split_seed=3))
    assert "config.data.split_seed=3 has no effect" in caplog.text


def test_asked_shares_come_out_as_asked():
    examples = table([0] * 120 + [1] * 80)
    names = divided(examples, splits="70,15,15")
    assert [len(held) for held in names.values()] == [140, 30, 30]
    names = divided(examples, splits="85,0,15", folds=10)
    assert [len(names[split]) for split in ("train", "val", "test")] == [153, 17, 30]


def test_without_settings_the_sources_splits_stay():
    examples = table([0, 0, 0], splits=["test", "train", "val"])
    assert divided(examples) == {"train": ["A/1.png"], "val": ["A/2.png"], "test": ["A/0.png"]}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"splits": "70,30"}, r"config\.data\.splits is '70,30'"),
        ({"splits": "70,20,20"}, r"config\.data\.splits is '70,20,20'"),
        ({"splits": "120,-10,-10"}, r"config\.data\.splits is"),
        ({"splits": "0,50,50"}, r"config\.data\.splits is"),
        ({"splits": "50,nan,50"}, r"config\.data\.splits is"),
        ({"splits": "most,some,few"}, r"config\.data\.splits is .*70,15,15"),
        ({"folds": 1}, "at least 2"),
        ({"folds": -3}, "at least 2"),
        ({"folds": 5, "fold": 5}, r"config\.data\.fold is 5 of 5"),
        ({"folds": 5, "fold": -1}, r"config\.data\.fold is -1 of 5"),
        ({"fold": 1}, r"config\.data\.fold is 1 of 0"),
        ({"folds": 13}, "There are 12 images or groups .* for 13 splits"),
    ],
)
def test_invalid_settings_are_refused_by_their_name(changes, sentence):
    with pytest.raises(UserError, match=sentence):
        divided(table([0] * 12), **changes)


def test_a_class_without_an_image_in_train_is_refused_by_its_name():
    examples = table([0] * 10 + [1], [str(place) for place in range(11)])
    for fold in range(5):
        try:
            divided(examples, folds=5, fold=fold)
        except UserError as error:
            assert "Class B would have no image in train" in str(error)
            break
    else:
        pytest.fail("the only image of class B is in val of one of the folds")


# Real files


def brain_mri(shared_data: Path) -> Table:
    setting = default_config().data
    setting.dir = str(shared_data / "brain_mri")
    records = [record for split in open_source(setting).splits.values() for record in split]
    ids = tuple(record.id for record in records)
    return Table(ids, (0,) * len(ids), ("",) * len(ids), ("train",) * len(ids))


@pytest.mark.parametrize("folds", [0, 5, 10])
def test_no_patient_of_brain_mri_crosses_and_the_sizes_are_balanced(shared_data, folds):
    examples = brain_mri(shared_data)
    groups = groups_of(examples, "(.+)_")
    assert len(set(groups)) == 110
    for fold in range(max(folds, 1)):
        setting = data(splits="" if folds else "70,10,20", folds=folds, fold=fold)
        rows = assign_splits(examples, groups, CLASSES, setting)
        holders = Counter(
            patient for chosen in rows.values() for patient in {groups[row] for row in chosen}
        )
        assert set(holders.values()) == {1}
        shares = {"val": 1 / folds} if folds else {"train": 0.7, "val": 0.1, "test": 0.2}
        for split, share in shares.items():
            assert abs(len(rows[split]) / len(groups) - share) < 0.002


# What is held out of train, where the source tells no such split apart


def test_what_is_lacking_is_held_out_of_train():
    examples = table([0] * 60 + [1] * 40)
    splits = divided(examples, held_out="15,15")
    assert {name: class_counts(held) for name, held in splits.items()} == {
        "train": {"A": 42, "B": 28},
        "val": {"A": 9, "B": 6},
        "test": {"A": 9, "B": 6},
    }


def test_splits_that_are_there_stay_as_they_are():
    examples = table([0, 1] * 50, splits=["train"] * 80 + ["test"] * 20)
    splits = divided(examples, held_out="15,15")
    assert splits["test"] == divided(examples)["test"] and len(splits["val"]) == 12
    whole = table([0, 1] * 50, splits=["train"] * 60 + ["val"] * 20 + ["test"] * 20)
    assert divided(whole, held_out="15,15") == divided(whole)


def test_splits_that_are_asked_for_leave_nothing_to_hold_out():
    examples = table([0, 1] * 50)
    asked = divided(examples, splits="80,20,0")
    assert divided(examples, splits="80,20,0", held_out="15,15") == asked
    assert "test" not in asked


def test_folds_divide_what_is_not_held_out_for_the_test():
    examples = table([0, 1] * 50)
    splits = divided(examples, held_out="15,20", folds=5)
    assert {name: len(held) for name, held in splits.items()} == {
        "train": 64,
        "val": 16,
        "test": 20,
    }


@given(grouped())
@settings(max_examples=50)
def test_a_patient_is_held_out_whole(drawn):
    labels, groups = drawn
    examples = table(labels, groups)
    try:
        rows = assign_splits(examples, groups_of(examples, ""), CLASSES, data(held_out="20,20"))
    except UserError as error:  # of a class there may be one patient
        assert "in train" in str(error)
        return
    owners = [{groups[row] for row in held} for held in rows.values()]
    assert len(owners) == 3 and sum(map(len, owners)) == len(set(groups))


@pytest.mark.parametrize("text", ["15", "15,15,70", "60,40", "-1,10", "a,b", "nan,10"])
def test_percentages_that_cannot_be_held_out_are_refused(text):
    with pytest.raises(UserError, match=r"config\.data\.held_out is"):
        divided(table([0, 1] * 10), held_out=text)


def test_too_few_images_for_the_splits_are_told_with_every_setting_that_asks_for_some():
    table = Table(("a.png",), (0,), ("",), ("train",))
    with pytest.raises(UserError, match=r"There is 1 image or group of images .* 3 splits") as told:
        assign_splits(table, ("",), ("A",), data(held_out="15,15"))
    assert "config.data.splits, held_out or folds" in str(told.value)


class TestTrainImages:
    examples = table(
        [0] * 120 + [1] * 80 + [0] * 40,
        groups=[f"patient {place // 4}" for place in range(240)],
        splits=["train"] * 200 + ["test"] * 40,
    )

    def test_so_many_remain_of_whole_patients_and_in_the_shares_of_classes(self):
        every = divided(self.examples)
        few = divided(self.examples, train_images=60)
        assert set(few["train"]) < set(every["train"]) and few["test"] == every["test"]
        assert class_counts(few["train"]) == {"A": 36, "B": 24}
        patients = Counter(int(name[2:-4]) // 4 for name in few["train"])
        assert set(patients.values()) == {4}

    def test_another_seed_leaves_others(self):
        one, two = (divided(self.examples, train_images=60, split_seed=x)["train"] for x in (0, 1))
        assert one != two and len(one) == len(two)

    @pytest.mark.parametrize("number", [0, 200, 1000])
    def test_all_remain_where_there_are_no_more(self, number):
        assert divided(self.examples, train_images=number) == divided(self.examples)
