"""Specification of `labels`: any label has a folder, and its folder's name has the label."""

import pytest

from common.program.errors import UserError
from common.program.labels import check_labels, folder_names, key_of, label_of

HOSTILE = (
    *("../x", "/etc/cron.d/x", ".", "..", "benign/atypical", "back\\slash", "a:b", "a*b?", "%2F"),
    *("CON", "nul.txt", "com1", "lpt\u00b9", "dot.", "line\nbreak", "re\rturn", "a\0b", "\x1b[2J"),
    *("\U0001f600", "\u00e9", "e\u0301", "COVID", "covid", "Covid", "-x", "~", "~root", ".hidden"),
    *("__MACOSX", "@eaDir", "train", "Masks", "labels.csv", "grid.png", "=cmd()", "$x$", "a,b;c"),
    *('"quoted"', "'", "x" * 150, "a\u2028b"),
)


@pytest.mark.parametrize("label", [*HOSTILE, "", "end ", " start", "\ud800"])
def test_a_name_is_one_on_every_system_and_has_its_label(label):
    (name,) = folder_names([label])
    assert label_of(name) == label
    assert name.isprintable() and not set('<>:"/\\|?*\0') & set(name)
    assert name.strip(" .") == name != "" and name[0] not in "-~"
    assert name.partition(".")[0].casefold() not in ("con", "nul", "com1", "lpt\u00b9")


@pytest.mark.parametrize(
    "label", ["COVID", "NORMAL", "v1.2", "grade 3", "\u80ba\u764c", "a_b-c", "0"]
)
def test_ordinary_labels_name_themselves(label):
    assert folder_names([label]) == (label,)


def test_names_differ_where_a_file_system_ignores_case_and_accents():
    names = folder_names(HOSTILE)
    assert len({key_of(name) for name in names}) == len(HOSTILE)
    assert tuple(map(label_of, names)) == HOSTILE
    assert folder_names(["COVID", "covid"]) == ("COVID", "%63%6F%76%69%64")


def test_names_of_long_labels_are_refused_where_they_are_read():
    check_labels(HOSTILE)
    for label, said in (
        ("x" * 300, "too long"),
        ("%" * 100, "too long"),
        ("", "empty"),
        ("a ", "ends with a space"),
        ("\ud800", "not UTF-8 text"),
    ):
        with pytest.raises(UserError, match=said):
            check_labels(["fine", label])
