"""Specification of `suggested_groups`: groups that file names suggest."""

import pytest

from common.data.prepared.suggested_groups import suggested_groups


def patients(pattern, num=10, slices=4):
    return [f"train/A/{pattern.format(p=p, k=k)}" for p in range(num) for k in range(slices)]


@pytest.mark.parametrize(
    ("pattern", "expression", "group"),
    [
        ("TCGA_{p}_{k}.png", r"(.+)_\d+", "TCGA_3"),
        ("person{p}-{k}.jpg", r"(.+)-\d+", "person3"),
        ("2020.03.1{p}-p{p}-{k}.png", r"(.+)-\d+", "2020.03.13-p3"),
    ],
)
def test_what_stands_before_the_last_number_is_the_patient(pattern, expression, group):
    found = suggested_groups(patients(pattern))
    assert found.expression == expression
    assert (len(set(found.groups)), found.shared) == (10, 10)
    assert group in found.groups


def test_names_of_two_kinds_get_an_expression_for_both():
    found = suggested_groups(patients("IM-{p}-{k}.jpg") + patients("person{p}_virus_{k}.jpg"))
    assert found.expression == r"(.+)[_-]\d+"
    assert {"IM-3", "person3_virus"} <= set(found.groups)


@pytest.mark.parametrize(
    ("pattern", "expression"),
    [
        ("train/A/Patient {p}/{k}.png", "^[^/]+/[^/]+/([^/]+)/"),
        ("A/Patient {p}/series 1/p{p}_{k}.png", "^[^/]+/([^/]+)/"),
        ("images/Patient {p}/{k}.png", "^[^/]+/([^/]+)/"),
        ("Patient {p}/{k}.tif", "^([^/]+)/"),
    ],
)
def test_folders_of_patients_are_found(pattern, expression):
    names = [pattern.format(p=p, k=k) for p in range(10) for k in range(4)]
    found = suggested_groups(names, ("A", "B"))
    assert (found.where, found.expression, found.shared) == ("folders", expression, 10)
    assert set(found.groups) == {f"Patient {p}" for p in range(10)}


def test_folders_of_few_patients_are_found():
    """Of four the images would be in all splits, and nobody would know."""
    names = [f"{'AB'[p % 2]}/pat{p}/{k}.png" for p in range(4) for k in range(9)]
    found = suggested_groups(names, ("A", "B"))
    assert (found.where, len(set(found.groups))) == ("folders", 4)
    views = [f"A/{view}/{k}.png" for view in ("frontal", "lateral") for k in range(9)]
    assert suggested_groups(views, ("A",)) is None


def test_folders_of_classes_are_no_patients():
    names = [f"{c}/{k}.png" for c in "abcdefgh" for k in range(9)]
    assert suggested_groups(names, tuple("abcdefgh")) is None


def test_some_names_may_have_no_number():
    names = patients("a{p}_{k}.jpg") + [f"train/A/{k}.jpg" for k in range(20)]
    found = suggested_groups(names)
    assert len(set(found.groups)) == 30
    assert found.shared == 10


@pytest.mark.parametrize(
    "names",
    [
        [f"a/{k:04d}.png" for k in range(50)],
        [f"a/image_{k:04d}.png" for k in range(50)],
        [f"{name}/{k}.png" for name in "ab" for k in range(50)],
        [f"a/scan{k}.png" for k in range(50)],
        [f"a/p{k}_0.png" for k in range(50)],
        ["a/only.png"],
    ],
)
def test_running_numbers_are_no_patients(names):
    assert suggested_groups(names) is None
