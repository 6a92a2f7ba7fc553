"""Specification of `together`: copies are in one split, or but one is in any."""

import logging

import numpy as np
import pytest

from common.data.copies.together import extra_copies, owners_of_copies, warn_of_copies

IDS = tuple("abcdef")


def test_copies_become_a_group_and_others_stay_alone():
    owners = owners_of_copies(IDS, ("",) * 6, (0, 1, 0, 2, 3, 1))
    assert owners[0] == owners[2] != "" and owners[1] == owners[5] != ""
    assert owners[0] != owners[1] and owners[3] == owners[4] == ""


def test_patients_who_share_a_picture_become_one_group_with_all_their_images():
    groups = ("anna", "anna", "ben", "ben", "carl", "")
    owners = owners_of_copies(IDS, groups, (0, 1, 2, 1, 4, 5))
    assert len(set(owners[:4])) == 1
    assert owners[4:] == ("carl", "")


@pytest.mark.parametrize("pictures", [(), tuple(range(6))])
def test_without_copies_the_groups_are_as_they_were(pictures):
    groups = ("anna", "", "ben", "ben", "carl", "")
    assert owners_of_copies(IDS, groups, pictures) == groups


def test_of_copies_the_first_in_order_stays():
    assert extra_copies((0, 1, 0, 1, 0, 2), range(6)).tolist() == [2, 3, 4]
    assert extra_copies((0, 1, 0, 1, 0, 2), (5, 4, 3, 2, 1, 0)).tolist() == [0, 1, 2]
    assert extra_copies((), range(6)).tolist() == []


def test_pictures_in_several_splits_or_classes_are_said(caplog):
    splits = {"train": np.array([0, 1, 2]), "test": np.array([3, 4])}
    with caplog.at_level(logging.WARNING, "triptych"):
        warn_of_copies(IDS, (0, 0, 0, 0, 1, 0), (0, 1, 2, 0, 1, 2), splits)
    first, second = (record.getMessage() for record in caplog.records)
    assert "2 pictures are in several splits (a = d, b = e): scores on them" in first
    assert "1 picture is in several classes (b = e): one of the labels is wrong" in second
    assert "--config.data.copies=drop" in first


def test_copies_in_one_split_and_class_are_no_warning(caplog):
    splits = {"train": np.array([0, 1, 2]), "test": np.array([3])}
    warn_of_copies(IDS, (0,) * 6, (0, 0, 1, 2, 0, 1), splits)  # rows 4 and 5 are in no split
    assert not caplog.text


def test_a_wrong_label_is_said_also_where_its_copy_is_in_no_split(caplog):
    splits = {"train": np.array([0, 1, 2, 3])}
    with caplog.at_level(logging.WARNING, "triptych"):
        warn_of_copies(IDS, (0, 0, 0, 0, 1, 0), (0, 1, 2, 3, 1, 2), splits)
    (record,) = caplog.records
    assert "1 picture is in several classes (b = e)" in record.getMessage()
