"""Specification of `shortcuts`: the probe that does not see the picture."""

import numpy as np
import pytest

from common.inspect.shortcuts import (
    TooFew,
    file_properties,
    find_shortcut,
    tone_properties,
)
from tests.common.inspect.conftest import picture, recompressed

ALONE = [""] * 200


def columns(num=200, seed=0, **more):
    random = np.random.default_rng(seed)
    return {"width": random.normal(300, 50, num), "height": random.normal(200, 30, num), **more}


def labels(num=200, classes=2):
    return np.arange(num) % classes


@pytest.mark.parametrize("seed", range(5))
def test_properties_that_tell_nothing_leave_chance_in_the_interval(seed):
    found = find_shortcut(columns(seed=seed), labels(), ALONE)
    assert found.low < 0.55


def test_a_property_that_tells_is_found_and_named():
    wider = np.random.default_rng(1).normal(300, 10, 200) + 60 * labels()
    found = find_shortcut(columns(width=wider), labels(), ALONE)
    assert found.low > 0.9
    best = found.telling[0]
    assert best.name == "width"
    middle = {best.inside, best.outside}
    assert min(middle) == pytest.approx(300, abs=5) and max(middle) == pytest.approx(360, abs=5)


def test_of_many_classes_the_easiest_is_named():
    framed = (labels(classes=4) == 2).astype(float)
    found = find_shortcut(columns(framed=framed), labels(classes=4), ALONE)
    assert found.label == 2
    assert found.auc > 0.99
    assert (found.telling[0].name, found.telling[0].inside) == ("framed", 1)
    assert found.telling[0].is_share


def test_what_only_tells_patients_apart_is_no_shortcut():
    """Ten patients, a size each: the probe must not know a patient again."""
    patients = np.arange(200) // 20
    sizes = np.random.default_rng(0).permutation(10)[patients].astype(float)
    by_patient = (patients % 2).astype(int)
    with_groups = find_shortcut(
        {"size": sizes}, by_patient, [f"p{patient}" for patient in patients]
    )
    without = find_shortcut({"size": sizes}, by_patient, ALONE)
    assert without.auc > 0.95
    assert with_groups.low < 0.6


@pytest.mark.parametrize(
    ("properties", "of"),
    [({}, labels()), (columns(), np.zeros(200, int))],
)
def test_where_there_is_nothing_to_tell_there_is_no_probe(properties, of):
    assert find_shortcut(properties, of, [""] * len(of)) is None


@pytest.mark.parametrize(
    ("num", "groups", "expected"),
    [(12, [""] * 12, (0, 6, 6)), (200, [f"p{k % 2}" for k in range(200)], (0, 100, 1))],
)
def test_too_few_images_or_patients_are_said_to_be_too_few(num, groups, expected):
    found = find_shortcut(columns(num), labels(num), groups)
    assert isinstance(found, TooFew)
    assert (found.label, found.images, found.groups) == expected


def test_what_is_found_without_the_few_groups_is_kept():
    groups = [f"p{k % 4}" for k in range(200)]
    found = find_shortcut(columns(width=60.0 * labels()), labels(), groups)
    assert isinstance(found, TooFew) and found.ungrouped.low > 0.9


def test_properties_that_are_all_equal_are_left_out(surveyed):
    files = {"a/x.png": picture(0), "a/y.png": picture(1), "b/z.jpg": recompressed(picture(2), 90)}
    found = surveyed(files)
    assert set(file_properties(found.images)) == {"file type .jpg", "file type .png"}
    assert "compressed size in bytes per pixel" in tone_properties(found.images)
