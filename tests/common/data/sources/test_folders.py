"""Specification of `folders`: folders of images and the layouts they come in."""

import os
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common.config.defaults import default_config
from common.data.records import Source
from common.data.sources.open import open_source
from common.program.errors import UserError

Fill = Callable[..., Path]


def opened(folder: Path, window: str = "") -> Source:
    data = default_config().data
    data.update(dir=str(folder), window=window)
    return open_source(data)


@pytest.fixture
def fill(tmp_path) -> Fill:
    """Makes files below a new folder: an image where the name is one's, else a line of text."""

    def make(*names: str, root: str = "scans") -> Path:
        folder = tmp_path / root
        folder.mkdir(exist_ok=True)
        for name in names:
            path = folder / name
            if name.endswith("/"):
                path.mkdir(parents=True)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix.lower() in (".txt", ".csv", ".db", ".dcm", "") or path.name[0] == ".":
                path.write_text("not an image\n")
            else:
                Image.new("L", (3, 2), len(name)).save(path)
        return folder

    return make


def ids(source: Source) -> dict[str, list[str]]:
    return {split: [record.id for record in records] for split, records in source.splits.items()}


# Layouts


def test_class_folders_all_go_to_train(fill):
    folder = fill("NonCOVID/b.png", "COVID/b.png", "COVID/a.jpg")
    source = opened(folder)
    assert source.classes == ("COVID", "NonCOVID")
    assert ids(source) == {"train": ["COVID/a.jpg", "COVID/b.png", "NonCOVID/b.png"]}
    assert [record.label for record in source.splits["train"]] == [0, 0, 1]
    assert source.name == str(folder)
    assert not source.synthetic


def test_a_record_reads_its_image_at_native_size(fill):
    record = opened(fill("COVID/a.png")).splits["train"][0]
    np.testing.assert_array_equal(record.read().pixels, np.full((2, 3, 1), len("COVID/a.png")))


def test_the_window_reaches_the_reader(fill):
    folder = fill("CT/")
    Image.fromarray(np.array([[1000, 2000]], np.uint16)).save(folder / "CT" / "a.png")
    pixels = opened(folder, "1000,2000").splits["train"][0].read().pixels
    np.testing.assert_array_equal(pixels[0, :, 0], [0, 255])


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [
        ("train", "val", "test"),
        ("training", "valid", "testing"),
        ("Train", "VALIDATION", "Test"),
    ],
)
def test_split_folders_are_known_by_their_usual_names(fill, train, val, test):
    names = [f"{split}/{kind}/a.png" for split in (train, val, test) for kind in "BA"]
    source = opened(fill(*names))
    assert list(source.splits) == ["train", "val", "test"]
    assert source.classes == ("A", "B")
    assert ids(source)["val"] == [f"{val}/A/a.png", f"{val}/B/a.png"]
    assert [record.label for record in source.splits["test"]] == [0, 1]


def test_a_flat_folder_is_one_class_named_after_it(fill):
    source = opened(fill("b.png", "a.png", root="sunflower"))
    assert source.classes == ("sunflower",)
    assert ids(source) == {"train": ["a.png", "b.png"]}


def test_flat_split_folders_are_one_class_named_after_the_root(fill):
    source = opened(fill("train/b.png", "test/a.png", root="sunflower"))
    assert source.classes == ("sunflower",)
    assert ids(source) == {"train": ["train/b.png"], "test": ["test/a.png"]}


def test_images_deeper_inside_a_class_count_too(fill):
    source = opened(fill("COVID/patient1/day2/b.png", "COVID/a.png"))
    assert source.classes == ("COVID",)
    assert ids(source) == {"train": ["COVID/a.png", "COVID/patient1/day2/b.png"]}


def test_hidden_files_and_other_files_are_ignored(fill):
    clutter = (".DS_Store", "A/Thumbs.db", "A/notes.txt", "Labels.txt", ".cache/a.png")
    source = opened(fill("A/a.PNG", "A/b.JPeG", "A/._a.png", "__MACOSX/A/c.png", *clutter))
    assert source.classes == ("A",)
    assert ids(source) == {"train": ["A/a.PNG", "A/b.JPeG"]}


def test_the_order_does_not_depend_on_the_file_system(fill, monkeypatch):
    folder = fill("A/10.png", "A/9.png", "A/a.png", "A/B.png", "A-1/a.png", "a/a.png")
    expected = ["A-1/a.png", "A/10.png", "A/9.png", "A/B.png", "A/a.png", "a/a.png"]
    assert ids(opened(folder)) == {"train": expected}
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: nullcontext(reversed(list(scandir(path)))))
    assert ids(opened(folder)) == {"train": expected}


def test_linked_class_folders_are_followed(fill, tmp_path):
    fill("a.png", root="elsewhere")
    folder = fill("A/a.png")
    (folder / "B").symlink_to(tmp_path / "elsewhere")
    assert ids(opened(folder)) == {"train": ["A/a.png", "B/a.png"]}


def test_a_home_folder_is_found(fill, tmp_path, monkeypatch):
    fill("A/a.png")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert opened(Path("~/scans")).classes == ("A",)


# Mistakes


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        ((), r"scans holds no image, .*\.png"),
        (("A/notes.txt", "A/scan.csv"), r"scans holds no image, .*\.jpg"),
        (("train/", "val/"), "scans holds no image"),
        (("A/a.png", "B/"), r"Class B has no image in the train split, \S+/scans;"),
        (
            ("train/A/a.png", "train/B/b.png", "val/A/c.png"),
            r"Class B has no image in the val split, \S+/val \(the train split has some\)",
        ),
        (
            ("train/A/a.png", "val/A/c.png", "val/B/b.png"),
            r"Class B has no image in the train split, \S+/train \(the val split has some\)",
        ),
        (
            ("train/A/a.png", "val/A/a.txt"),
            r"Class A has no image in the val split, \S+/val",
        ),
        (("val/A/a.png", "test/A/a.png"), "scans has a folder val, test but none named train"),
        (("train/A/a.png", "COVID/a.png"), r"holds COVID beside its split folders \(train\)"),
        (("train/A/a.png", "a.png"), r"holds a\.png beside its split folders \(train\)"),
        (("train/A/a.png", "val/A/a.png", "valid/A/a.png"), "holds both val and valid"),
        (("a.png", "COVID/b.png"), r"holds both images \(a\.png\) and folders of images \(COVID\)"),
        (("COVID/train/a.png", "COVID/test/b.png"), "COVID holds a folder test"),
        (("data/train/A/a.png", "data/val/A/b.png"), "data holds a folder train"),
        (("COVID/images/a.png", "COVID/masks/a.png"), "COVID holds images and masks in folders"),
    ],
)
def test_a_layout_that_means_two_things_or_nothing_is_refused(fill, names, sentence):
    with pytest.raises(UserError, match=sentence):
        opened(fill(*names))


def test_text_and_empty_folders_beside_the_splits_do_no_harm(fill):
    assert opened(fill("train/A/a.png", "logs/run.txt", "README.txt")).classes == ("A",)


def test_a_link_to_nothing_is_named(fill):
    folder = fill("A/a.png")
    (folder / "A" / "b.png").symlink_to(folder / "gone.png")
    with pytest.raises(UserError, match=r"b\.png can't be read: No such file"):
        opened(folder)


def test_a_link_in_a_circle_is_named(fill):
    folder = fill("A/a.png")
    (folder / "A" / "again").symlink_to(folder)
    with pytest.raises(UserError, match="links to a folder that contains it"):
        opened(folder)


def test_a_name_that_is_no_text_is_refused(fill):
    folder = fill("A/a.png")
    (folder / "A" / "a.png").rename(os.fsdecode(os.fsencode(folder) + b"/A/\xff.png"))
    with pytest.raises(UserError, match=r"A/\\udcff\.png in .* not a UTF-8 file name"):
        opened(folder).contents()


def test_a_damaged_image_is_found_when_it_is_read(fill):
    folder = fill("A/a.png")
    (folder / "A" / "a.png").write_bytes(b"")
    record = opened(folder).splits["train"][0]
    with pytest.raises(UserError, match=r"A/a\.png is empty"):
        record.read()


# Fingerprint


def test_the_fingerprint_is_that_of_the_files(fill):
    folder = fill("A/a.png", "A/b.png", "notes.txt")
    first = opened(folder).fingerprint
    (folder / "notes.txt").write_text("changed")
    assert opened(folder).fingerprint == first
    folder.rename(folder.with_name("moved"))
    assert opened(folder.with_name("moved")).fingerprint == first


@pytest.mark.parametrize("change", ["add", "remove", "rename", "touch", "grow", "class"])
def test_the_fingerprint_changes_with_any_file(fill, change):
    folder = fill("A/a.png", "A/b.png")
    before, path = opened(folder).fingerprint, folder / "A" / "b.png"
    stat = path.stat()
    if change == "add":
        fill("A/c.png")
    elif change == "remove":
        path.unlink()
    elif change == "rename":
        path.rename(path.with_name("c.png"))
    elif change == "touch":
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1000))
    elif change == "grow":
        path.write_bytes(path.read_bytes() + b"\0")
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    else:
        path.parent.rename(folder / "B")
    assert opened(folder).fingerprint != before


# Real files


@pytest.mark.parametrize(
    ("name", "classes", "counts"),
    [
        ("covid_ct", ("COVID", "NonCOVID"), {"train": 425, "val": 118, "test": 203}),
        ("chest_xray", ("NORMAL", "PNEUMONIA"), {"train": 2682, "test": 624}),
        ("sunflower", ("sunflower",), {"train": 561}),
        ("covid_ct_originals", ("COVID", "NonCOVID"), {"train": 30}),
    ],
)
def test_real_folders(shared_data, name, classes, counts):
    source = opened(shared_data / name)
    assert source.classes == classes
    assert {split: len(records) for split, records in source.splits.items()} == counts
    assert all(records[0].read().pixels.dtype == np.uint8 for records in source.splits.values())


def test_covid_ct_has_the_published_class_counts(shared_data):
    splits = opened(shared_data / "covid_ct").splits.values()
    assert [sum(record.label == 0 for record in split) for split in splits] == [191, 60, 98]
