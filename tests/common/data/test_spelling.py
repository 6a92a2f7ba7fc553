"""Specification of `spelling`: missing labels, and names that may be one."""

import unicodedata

import pytest

from common.data.spelling import alike, doubts, is_missing, meant


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "nan",
        "NaN",
        "NAN",
        "NA",
        "na",
        "N/A",
        "n/a",
        "None",
        "null",
        "NULL",
        "<NA>",
        "#N/A",
    ],
)
def test_what_pandas_reads_as_missing_is_missing(text):
    assert is_missing(text)


@pytest.mark.parametrize("text", ["0", "-", "+", "no", "normal", "Nonspecific", "nana", "False"])
def test_what_may_be_a_class_is_not_missing(text):
    assert not is_missing(text)


@pytest.mark.parametrize(
    "names",
    [
        ("COVID", "covid", "Covid", " COVID", "COVID\u00a0", "CO\u200bVID"),
        ("0", "0.0", "00", "+0", "0,0", "\uff10"),
        ("non COVID", "non-COVID", "Non_Covid", "non  covid"),
        tuple(unicodedata.normalize(form, "Müller") for form in ("NFC", "NFD")),
        ("STRASSE", "straße"),
    ],
    ids=["capitals", "numbers", "joints", "accents", "letters"],
)
def test_names_that_may_be_meant_to_be_one(names):
    assert alike([*names, "another"]) == [tuple(sorted(names))]


@pytest.mark.parametrize(
    "names",
    [
        ("HER2+", "HER2-", "HER2"),
        ("1", "2", "10", "1.5"),
        ("COVID", "NonCOVID"),
        ("T1", "T2"),
        ("grade 1", "grade 11"),
        ("1-2", "12"),
        ("-1", "1"),
    ],
)
def test_names_that_are_different(names):
    assert alike(names) == []


def test_each_doubt_is_a_sentence_with_counts():
    first, second = doubts({"COVID": 12, "covid": 3, "healthy": 9, "nan": 2})
    assert first == (
        "The classes 'COVID' (12 images) and 'covid' (3 images) may be one: their names differ only"
        " in spelling."
    )
    assert second == "The class 'nan' (2 images) has the name of a missing label."
    assert doubts({"COVID": 12, "healthy": 9}) == []


def test_the_name_that_was_meant():
    assert meant("covid", ["COVID", "healthy"]) == " (did you mean 'COVID'?)"
    assert meant("helthy", ["COVID", "healthy"]) == " (did you mean 'healthy'?)"
    assert meant("xyz", ["COVID", "healthy"]) == ""
