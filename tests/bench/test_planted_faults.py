"""Specification of the inspection as a whole: what is planted is found, and nothing else."""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))

from planted_faults import CHANGES, false_copies, measure

from common.config.defaults import default_config
from tests.common.inspect.conftest import picture


def settings(folder, **changes):
    data = default_config().data
    data.update(dir=str(folder), channels=3, **changes)
    return data


@pytest.fixture
def scans(tmp_path):
    """Two classes in three splits, eight images of each."""
    for seed in range(48):
        split, label = ("train", "val", "test")[seed % 3], "AB"[seed // 3 % 2]
        folder = tmp_path / "scans" / split / label
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(seed)).save(folder / f"{seed}.png")
    return tmp_path / "scans"


@pytest.mark.slow  # tests/common/data/copies finds each kind by itself
def test_every_kind_of_copy_is_found_and_none_is_parted_by_made_splits(scans):
    measured = measure(settings(scans), num=1)
    assert {fault.kind for fault, _ in measured.faults} == set(CHANGES)
    assert {fault.where for fault, _ in measured.faults} == {"across splits", "across labels"}
    assert [fault for fault, found in measured.faults if not found] == []
    assert (measured.false_copies, measured.parted) == ((), 0)


def test_a_picture_that_is_taken_for_one_of_a_planted_pair_is_a_false_copy():
    known, planted = [frozenset("ab")], [frozenset("cC"), frozenset("aA")]
    right = [frozenset("abA"), frozenset("cC"), frozenset("ab")]
    wrong = [frozenset("cCx"), frozenset("xy"), frozenset("cCa")]
    assert false_copies([*right, *wrong], known, planted) == tuple(wrong)


def shares(measured, *kinds):
    found = [found for fault, found in measured.faults if not kinds or fault.kind in kinds]
    return np.mean(found)


@pytest.mark.slow
def test_faults_in_lung_ct_are_found(shared_data):
    measured = measure(settings(shared_data / "covid_ct"), num=10)
    assert shares(measured) >= 0.95
    assert measured.false_copies == () and measured.parted == 0


@pytest.mark.slow
def test_faults_in_chest_x_rays_are_found(shared_data):
    measured = measure(settings(shared_data / "chest_xray"), num=10)
    assert shares(measured) >= 0.95
    assert measured.false_copies == () and measured.parted == 0
    assert measured.mend == ()


@pytest.mark.slow
def test_faults_in_brain_mri_are_found(shared_data):
    measured = measure(settings(shared_data / "brain_mri", group="(.+)_"), num=10)
    assert shares(measured) >= 0.95
    assert shares(measured, "emptied") >= 0.6  # many a right mask is empty
    missed = sum(not found for fault, found in measured.faults if len(fault.names) == 2)
    assert measured.false_copies == () and measured.parted <= missed
    assert measured.false_masks <= 0.03 * measured.right_masks
    assert measured.mend == ()
