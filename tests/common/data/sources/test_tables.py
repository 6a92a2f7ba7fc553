"""Specification of `tables`: a `labels.csv` beside images says what they are."""

import contextlib
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from common.config.defaults import default_config
from common.data.prepared.prepared import prepare
from common.data.records import Source
from common.data.sources.open import open_source
from common.program.errors import UserError

Write = Callable[..., Path]

IMAGES = ("a.png", "b.png", "c.png", "more/d.jpg")


def opened(folder: Path, **changes) -> Source:
    data = default_config().data
    data.update(dir=str(folder), **changes)
    return open_source(data)


@pytest.fixture
def write(tmp_path) -> Write:
    """Writes a table, text or bytes, beside images."""

    def make(table: str | bytes, images: tuple[str, ...] = IMAGES) -> Path:
        for place, name in enumerate(images):
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((4, 5), place, np.uint8)).save(path)
        content = table if isinstance(table, bytes) else table.encode()
        (tmp_path / "labels.csv").write_bytes(content)
        return tmp_path

    return make


def labels(source: Source) -> dict[str, str]:
    records = [record for held in source.splits.values() for record in held]
    return {record.id: source.classes[record.label] for record in records}


def splits(source: Source) -> Mapping[str, list[str]]:
    return {split: [record.id for record in held] for split, held in source.splits.items()}


def groups(source: Source) -> list[str]:
    return [record.read_group() for record in source.splits["train"]]


# What a table may look like


def test_a_table_gives_each_image_its_class(write):
    source = opened(write("file,label\nb.png,NonCOVID\na.png,COVID\nmore/d.jpg,COVID\n"))
    assert source.classes == ("COVID", "NonCOVID")
    assert labels(source) == {"a.png": "COVID", "b.png": "NonCOVID", "more/d.jpg": "COVID"}
    assert splits(source) == {"train": ["a.png", "b.png", "more/d.jpg"]}
    record = source.splits["train"][1]
    assert (record.read().pixels == 1).all() and record.path is not None
    assert not source.synthetic


@pytest.mark.parametrize(
    "table",
    [
        "file,label\na.png,A\nb.png,B\n",
        "file;label\na.png;A\nb.png;B\n",
        "file\tlabel\na.png\tA\nb.png\tB\n",
        "\ufefffile,label\r\na.png,A\r\nb.png,B",
        "file,label\ra.png,A\rb.png,B\r",
        "\n File , LABEL \n\n a.png , A \n,\n b.png, B \n\n",
        '"file","label"\n"a.png","A"\n"b.png", "B"\n',
        "label,file\nA,./a.png\nB,b.png\n",
        "file,label,,\na.png,A,,\nb.png,B,,\n",
        "file,label\na,A\nb,B\n",
    ],
    ids=[
        "commas",
        "semicolons",
        "tabs",
        "Excel",
        "old Mac",
        "spaces",
        "quotes",
        "order",
        "empty",
        "stems",
    ],
)
def test_tables_of_many_programs_mean_the_same(write, table):
    assert labels(opened(write(table))) == {"a.png": "A", "b.png": "B"}


def test_a_field_in_quotes_may_hold_a_separator(write):
    folder = write('file,label\n"a,b.png","viral, other"\n', images=("a,b.png",))
    assert labels(opened(folder)) == {"a,b.png": "viral, other"}


def test_an_image_without_its_extension_must_be_the_only_one(write):
    folder = write("file,label\nscan,A\n", images=("scan.png", "scan.JPG"))
    with pytest.raises(UserError, match=r"Line 2 of .*'scan', which may be scan\.JPG or scan\.png"):
        opened(folder)


def test_splits_have_the_names_that_folders_have(write):
    rows = "a.png,A,Training\nb.png,A,validation\nc.png,A,TEST\nmore/d.jpg,A,\n"
    source = opened(write("file,label,split\n" + rows))
    assert splits(source) == {"train": ["a.png", "more/d.jpg"], "val": ["b.png"], "test": ["c.png"]}


def test_the_group_is_the_column_group_or_the_one_that_is_asked_for(write):
    rows = "a.png,A,anna,x\nb.png,A,bert,\n"
    folder = write("file,label,group,Patient ID\n" + rows)
    assert groups(opened(folder)) == ["anna", "bert"]
    assert groups(opened(folder, group="column:patient id")) == ["x", ""]


def test_without_such_a_column_the_files_state_the_group(write):
    assert groups(opened(write("file,label\na.png,A\n"))) == [""]
    folder = write("file,label,group\na.png,A,anna\n")
    assert groups(opened(folder, group="dicom:PatientID")) == [""]


def test_columns_and_images_that_are_not_used_are_said(write, caplog):
    with caplog.at_level(logging.INFO, "triptych"):
        opened(write("file,label,age,sex\na.png,A,57,f\nb.png,B,61,m\n"))
    assert "unused columns: age, sex" in caplog.text
    assert "does not list 2 of the 4 images beside it" in caplog.text


def test_a_file_of_several_images_gives_them_all_its_label(write, tmp_path):
    nibabel.save(nibabel.Nifti1Image(np.zeros((2, 3, 3), np.int16), np.eye(4)), tmp_path / "v.nii")
    source = opened(write("file,label,group\nv,A,anna\n"))
    assert labels(source) == {f"v.nii#{place:03d}": "A" for place in range(3)}
    assert groups(source) == ["anna"] * 3


def test_what_generate_writes_is_a_labelled_set(write):
    folder = write(
        "file,label\r\nCOVID/000000.png,COVID\r\nNonCOVID/000000.png,NonCOVID\r\n",
        images=("COVID/000000.png", "NonCOVID/000000.png", "grid.png"),
    )
    assert labels(opened(folder)) == {
        "COVID/000000.png": "COVID",
        "NonCOVID/000000.png": "NonCOVID",
    }


def test_the_classes_may_be_ordered_by_the_setting(write):
    source = opened(write("file,label\na.png,sick\nb.png,well\n"), classes="well,sick")
    assert source.classes == ("well", "sick")
    assert labels(source) == {"a.png": "sick", "b.png": "well"}


def test_a_label_that_the_setting_does_not_name_is_refused(write):
    folder = write("file,label\na.png,sick\nb.png,wel\n")
    with pytest.raises(UserError, match=r"config\.data\.classes .* are sick, wel: wel is not in"):
        opened(folder, classes="sick,well").contents()


# Mistakes


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ("", r"has no column 'file' .*\nfile,label\nscans/a\.png,COVID$"),
        ("a.png,A\nb.png,B\n", r"no column 'file' \(its first line is 'a\.png, A'\)"),
        ("file,class\na.png,A\n", r"no column 'label' \(its first line is 'file, class'\)"),
        ("file,label,label\na.png,A,B\n", "has two columns 'label'"),
        ("file,label\n", r"lists no image; .*\nfile,label\n"),
        ("file,label\n\na.png\n", r"Line 3 of \S+/labels\.csv has 1 fields, the first line 2"),
        ("file,label\na.png,viral, other\n", "Line 2 of .* has 3 fields"),
        ("file,label\na.png,A\ngone.png,A\n", r"Line 3 .*'gone\.png', which is not an image in"),
        ("file,label\nlabels.csv,A\n", r"Line 2 .*'labels\.csv', which is not an image in"),
        ("file,label\nmore,A\n", "Line 2 .*'more', which is not an image in"),
        ("file,label\n,A\n", "Line 2 .*'', which is not an image in"),
        (f"file,label\n{'x' * 9000},A\n", "Line 2 .*xxx', which is not an image in"),
        ("file,label\na\0.png,A\n", "Line 2 .* which is not an image in"),
        ("file,label\n../x.png,A\n", r"Line 2 .*'\.\./x\.png', which is outside"),
        ("file,label\nmore/../../x.png,A\n", "Line 2 .* outside"),
        ("file,label\n/etc/x.png,A\n", "Line 2 .* outside"),
        ("file,label\na.png,A\n./a.png,A\n", r"Line 3 .* lists a\.png again"),
        ("file,label\na.png,A\na,B\n", r"Line 3 .* lists a\.png again"),
        ("file,label\na.png,A\nb.png,\n", r"Line 3 .* gives b\.png no label"),
        ("file,label,split\na.png,A,tset\n", "Line 2 .* split 'tset'; write train, val, test"),
        ("file,label,split\na.png,A,test\n", "has no image in the train split"),
        (
            "file,label,split\na.png,A,train\nb.png,B,train\nc.png,A,val\n",
            "Class B has no image in the val split",
        ),
        ("file,label,split\na.png,A,\nb.png,B,test\n", "Class B has no image in the train split"),
        (b"file,label\na.png,A\nb.png,\xe9\n", r"Line 3 of .* is not UTF-8"),
        ("file,label\na.png,A\n".encode("utf-16"), "Line 1 of .* is not UTF-8"),
        ('file,label\n"a.png,A\n', "Line 2 of .* can't be read .*correct its quotes"),
        (f"file,label\na.png,{'A' * 200_000}\n", "Line 2 of .* can't be read .*field larger"),
    ],
)
def test_a_mistake_is_named_with_its_line(write, table, sentence):
    with pytest.raises(UserError, match=sentence):
        opened(write(table))


@pytest.mark.parametrize("label", ["nan", "NaN", "NA", "N/A", "n/a", "None", "NULL", "<NA>"])
def test_a_missing_label_is_no_class(write, label):
    folder = write(f"file,label\na.png,A\nb.png,{label}\n")
    sentence = rf"Line 3 of \S+ gives b\.png no label but '{label}', which means missing \(rename a"
    with pytest.raises(UserError, match=sentence):
        opened(folder)


@pytest.mark.parametrize("label", ["none", "NA", "nan"])
def test_a_label_that_stands_for_a_missing_one_is_a_class_in_a_folder_of_its_name(write, label):
    """People who name a folder so mean it, and what this program writes of it can be read."""
    table = f"file,label\n{label}/x.png,{label}\na.png,A\n"
    assert set(opened(write(table, (f"{label}/x.png", "a.png"))).classes) == {"A", label}


def test_a_missing_group_is_no_group_that_others_share(write):
    data = default_config().data
    rows = "a.png,A,anna\nb.png,A,nan\nc.png,A,NA\nmore/d.jpg,A,\n"
    folder = write("file,label,group\n" + rows)
    data.update(dir=str(folder), cache_dir=str(folder / ".cache"), image_size=16)
    assert prepare(data).splits["train"].groups == ("anna", "", "", "")
    (folder / "labels.csv").write_text("file,label,group\na.png,A,nan\n")
    data.group = "column:group"
    with pytest.raises(UserError, match="'column:group', but no image has such a group"):
        prepare(data)


def test_a_missing_split_is_for_training(write):
    source = opened(write("file,label,split\na.png,A,nan\nb.png,A,test\n"))
    assert splits(source) == {"train": ["a.png"], "test": ["b.png"]}


def test_labels_that_differ_in_their_spelling_are_said_at_each_start(write, caplog):
    folder = write("file,label\na.png,COVID\nb.png,covid\nc.png,0\nmore/d.jpg,0.0\n")
    data = default_config().data
    data.update(dir=str(folder), cache_dir=str(folder / ".cache"), image_size=16)
    for _ in range(2):
        caplog.clear()
        assert prepare(data).card.classes == ("0", "0.0", "COVID", "covid")
        assert caplog.messages == [
            f"{folder}: The classes '0' (1 image) and '0.0' (1 image) may be one: their"
            " names differ only in spelling.",
            f"{folder}: The classes 'COVID' (1 image) and 'covid' (1 image) may be one: their"
            " names differ only in spelling.",
        ]


def test_a_group_that_is_no_column_is_refused_with_those_that_are(write):
    folder = write("file,label,Age\na.png,A,57\n")
    with pytest.raises(UserError, match=r"'column:patient', but .* columns file, label, Age"):
        opened(folder, group="column:patient")


@settings(deadline=None)  # other processes may be busy
@given(rest=st.binary(max_size=60) | st.text('ab.png,;\t\r\n"\0/ ', max_size=40).map(str.encode))
@pytest.mark.parametrize("header", [b"", b"file,label\n", b"file;label;group;split\n"])
def test_no_bytes_make_anything_but_a_source_or_a_sentence(tmp_path_factory, header, rest):
    folder = tmp_path_factory.getbasetemp() / "any bytes"
    folder.mkdir(exist_ok=True)
    Image.new("L", (2, 2)).save(folder / "a.png")
    (folder / "labels.csv").write_bytes(header + rest)
    with contextlib.suppress(UserError):
        assert labels(opened(folder)).keys() == {"a.png"}


def test_a_damaged_image_is_found_when_it_is_read(write):
    folder = write("file,label\na.png,A\n")
    (folder / "a.png").write_bytes(b"")
    record = opened(folder).splits["train"][0]
    with pytest.raises(UserError, match=r"a\.png is empty"):
        record.read()


# Fingerprint


def test_the_fingerprint_is_that_of_what_the_table_says(write):
    first = opened(write("file,label\na.png,A\nb.png,B\n")).fingerprint
    assert opened(write("file;label;age\n\nb.png;B;3\na.png;A;7\n")).fingerprint != first
    folder = write("file,label\na.png,A\nb.png,B\n")
    for name in ("a.png", "b.png", "c.png"):
        os.utime(folder / name, ns=(0, 1))
    first = opened(folder).fingerprint
    (folder / "labels.csv").write_text("file;label;age\n\nb.png;B;3\na.png;A;7\n")
    assert opened(folder).fingerprint == first
    os.utime(folder / "c.png", ns=(0, 2))
    assert opened(folder).fingerprint == first
    for table in ("a.png,B\nb.png,A\n", "a.png,A\nc.png,B\n", "a.png,A\nb.png,B\nc.png,B\n"):
        (folder / "labels.csv").write_text("file,label\n" + table)
        assert opened(folder).fingerprint != first
    (folder / "labels.csv").write_text("file,label\na.png,A\nb.png,B\n")
    os.utime(folder / "a.png", ns=(0, 2))
    assert opened(folder).fingerprint != first
