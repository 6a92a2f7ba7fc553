"""Specification: a file's marker decides, not its name; what is not read is counted and named."""

import logging
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common.config.defaults import default_config
from common.data.files import kinds
from common.data.prepared.prepared import prepare
from common.data.records import Source
from common.data.sources.incoming import find_images
from common.data.sources.open import open_source
from common.program.errors import UserError

pytest.importorskip("pydicom", reason="there is no pydicom: pip install -e '.[dicom]'")

from tests.dicom_files import GREY, read, save

# As scanners and archives of hospitals name them, and one that is named like everybody's.
NAMES = (
    *("1.2.840.113619.2.5.1", "1.2.840.113619.2.5.2", "MR.1.2.3.tmp", "00001.IMA", "IM000001"),
    "a.dcm",
)
MASK_VALUES = ",".join(f"{value}={'back' if value == 0 else 'fore'}" for value in GREY.ravel())
PLAIN = {"A/a.png": "picture", "B/b.png": "picture"}


@pytest.fixture
def fill(tmp_path) -> Callable[..., Path]:
    """Makes files of these kinds below a folder."""

    def make(files: Mapping[str, str], root: str = "scans") -> Path:
        for name, kind in files.items():
            path = tmp_path / root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if kind == "DICOM":
                save(path, GREY)
            elif kind == "picture":
                Image.new("L", (8, 5), 9).save(path)
            else:
                path.write_text(kind)
        return tmp_path / root

    return make


def opened(path: Path, **settings) -> Source:
    data = default_config().data
    data.update(dir=str(path), cache_dir=str(path.parent / "cache"), image_size=16, **settings)
    return open_source(data)


def ids(source: Source) -> set[str]:
    return {record.id for records in source.splits.values() for record in records}


# By their marker


@pytest.mark.parametrize(
    ("layout", "table"),
    [("A/", ""), ("", ""), ("train/A/", ""), ("", "file,label\n{}"), ("images/", "")],
    ids=["classes", "flat", "splits", "table", "pairs"],
)
@pytest.mark.parametrize("packed", [False, True], ids=["folder", "zip"])
def test_dicom_files_are_read_whatever_their_name(fill, layout, table, packed):
    files = {layout + name: "DICOM" for name in NAMES}
    if layout == "images/":
        files |= {f"masks/{name}": "DICOM" for name in NAMES}
    if table:
        files["labels.csv"] = table.format("".join(f"{name},A\n" for name in NAMES))
    root = fill(files)
    if packed:
        with zipfile.ZipFile(root.with_suffix(".zip"), "w") as archive:
            for name in files:
                archive.write(root / name, name)
        root = root.with_suffix(".zip")
    source = opened(root)
    assert {Path(name).name for name in ids(source)} == set(NAMES)
    assert source.contents().unread == ()
    (record,) = [each for each in source.splits["train"] if each.id.endswith("5.2")]
    np.testing.assert_array_equal(record.read().pixels, read(save(root.parent / "x.dcm", GREY)))


def test_new_dicom_files_are_found_whatever_their_name(fill, tmp_path):
    root = fill(dict.fromkeys(NAMES, "DICOM"))
    found = find_images(str(root), tmp_path / "out")
    assert {path.name for path in found.files} == set(NAMES)
    assert (found.unread, found.told) == ((), "")
    one = root / NAMES[0]
    assert find_images(str(one), tmp_path / "out").files == [one]
    assert ids(opened(one)) == {NAMES[0]}


def test_files_with_a_known_ending_are_not_opened_to_be_listed(fill, monkeypatch):
    def refuse(*_):
        raise AssertionError("opened")

    monkeypatch.setattr(kinds, "_holds_marker", refuse)
    root = fill(PLAIN | {"A/c.dcm": "no DICOM", "B/d.nii.gz.png": "none"})
    assert opened(root).name == str(root)
    assert len(find_images(str(root), root / "out").files) == 4


def test_a_dicom_file_with_the_ending_of_a_picture_is_read(fill):
    root = fill({"images/a.png": "DICOM", "masks/a.bmp": "DICOM"})
    (record,) = opened(root, mask_values=MASK_VALUES).splits["train"]
    np.testing.assert_array_equal(record.read().pixels, read(root / "images/a.png"))
    assert record.read_mask() is not None and record.read_group() == "P1"


def test_a_picture_with_the_ending_of_a_dicom_file_is_refused_when_it_is_read(fill):
    root = fill(PLAIN)
    (root / "A/picture.dcm").write_bytes((root / "A/a.png").read_bytes())
    (record,) = [each for each in opened(root).splits["train"] if each.id == "A/picture.dcm"]
    with pytest.raises(UserError, match=r"A/picture\.dcm is not a DICOM file"):
        record.read()


# Not read


UNREAD = {"A/scan.mha": "x", "A/deep/1.2.840.5": "no marker", "notes.txt": "x"}


@pytest.mark.parametrize(
    "files",
    [
        PLAIN,
        {f"{split}/{name}": kind for split in ("train", "test") for name, kind in PLAIN.items()},
        {"images/a.png": "picture", "masks/a.png": "picture"},
        {"a.png": "picture", "b.png": "picture"},
        {**PLAIN, "labels.csv": "file,label\nA/a.png,one\nB/b.png,two\n"},
    ],
    ids=["classes", "splits", "pairs", "flat", "table"],
)
@pytest.mark.parametrize("packed", [False, True], ids=["folder", "zip"])
def test_what_is_not_read_is_counted_and_named(fill, caplog, files, packed):
    num = len(files.keys() - {"labels.csv"})
    root = fill(files | UNREAD)
    if packed:
        root = packed_into(root.with_suffix(".zip"), root, files.keys() | UNREAD.keys())
    with caplog.at_level(logging.WARNING, "triptych"):
        assert set(opened(root).contents().unread) == UNREAD.keys()
    said = f"{root}: 3 of {num + 3} files are not read, with neither the ending of an image nor"
    assert caplog.messages == [f"{said} DICOM's marker: A/deep/1.2.840.5, A/scan.mha, notes.txt"]


def packed_into(archive: Path, root: Path, names) -> Path:
    with zipfile.ZipFile(archive, "w") as packed:
        for name in names:
            packed.write(root / name, name)
    return archive


def test_what_lies_beside_the_folder_in_an_archive_is_named(fill, caplog):
    root = fill({f"deep/scans/{name}": kind for name, kind in (PLAIN | {"A/x.mha": "x"}).items()})
    fill({"extra.dat": "x"})
    names = [path.relative_to(root) for path in root.rglob("*") if path.is_file()]
    source = opened(packed_into(root.with_suffix(".zip"), root, names))
    with caplog.at_level(logging.WARNING, "triptych"):
        assert source.contents().unread == ("extra.dat", "A/x.mha")
    assert "extra.dat" in caplog.text and "A/x.mha" in caplog.text


def test_what_systems_leave_behind_is_not_mentioned(fill, caplog):
    clutter = (".DS_Store", "A/Thumbs.db", "A/desktop.ini", "DICOMDIR", "__MACOSX/x.txt")
    root = fill(PLAIN | dict.fromkeys(clutter, "x"))
    save(root / "A" / "DICOMDIR", GREY)
    assert opened(root).contents().unread == ()
    assert ids(opened(root)) == set(PLAIN)
    assert not caplog.records


def test_images_that_no_pair_or_line_uses_are_named(fill, caplog):
    pairs = {"images/a.png": "picture", "masks/a.png": "picture", "raw/c.png": "picture"}
    with caplog.at_level(logging.INFO, "triptych"):
        assert opened(fill(pairs)).contents().unread == ("raw/c.png",)
        table = {**PLAIN, "labels.csv": "file,label\nA/a.png,one\n"}
        assert opened(fill(table, "table")).contents().unread == ("B/b.png",)
    assert "1 image is in no pair: raw/c.png" in caplog.text
    assert "does not list 1 of the 2 images beside it: B/b.png" in caplog.text


def test_a_name_that_is_no_text_is_named(fill, caplog):
    root = fill(PLAIN | {"A/a\nb.mha": "x", "A/\udcff.mha": "x"})
    assert opened(root).contents().unread == (r"A/\udcff.mha", r"A/a\nb.mha")
    assert r"A/\udcff.mha, A/a\nb.mha" in caplog.text


def test_a_second_start_says_it_again_also_of_what_came_since(fill, caplog):
    root = fill(PLAIN)
    data = default_config().data
    data.update(dir=str(root), cache_dir=str(root.parent / "cache"), image_size=16)
    prepare(data)
    assert not caplog.records
    fill({"B/late.mha": "x"})
    with caplog.at_level(logging.WARNING, "triptych"):
        prepare(data)
    assert "1 of 3 files is not read" in caplog.text and "B/late.mha" in caplog.text


def test_new_files_that_are_not_read_are_counted_and_named(fill, tmp_path, caplog):
    root = fill({**PLAIN, "labels.csv": "x", "c.mha": "x", "out/d.txt": "x"})
    found = find_images(str(root), root / "out")
    assert found.unread == ("c.mha",) and "1 of 3 files is not read" in caplog.text
    assert found.told == "; 1 other file is not read"
    with pytest.raises(UserError, match=r"--input=\S+c\.mha holds no readable image"):
        find_images(str(root / "c.mha"), tmp_path / "elsewhere")
