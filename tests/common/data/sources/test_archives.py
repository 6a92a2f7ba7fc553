"""Specification of `archives`: zip archives of whatever a folder may hold."""

import io
import os
import shutil
import signal
import stat
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom.data import get_testdata_file

from common.config.defaults import default_config
from common.data.prepared.prepared import prepare
from common.data.sources import archives
from common.data.sources.open import Source, open_source
from common.program.errors import UserError
from tests.conftest import ROOT

Pack = Callable[..., Path]


def png(value: int = 7) -> bytes:
    stream = io.BytesIO()
    Image.new("L", (3, 2), value).save(stream, "png")
    return stream.getvalue()


@pytest.fixture
def pack(tmp_path) -> Pack:
    """Makes an archive of members: an image each, or the bytes that are given."""

    def make(*names: str, name: str = "scans.zip", **options: object) -> Path:
        return written(tmp_path / name, {member: png() for member in names}, **options)

    return make


def written(path: Path, members: Mapping[str, bytes], **options: object) -> Path:
    path.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


@pytest.fixture
def opened(tmp_path) -> Callable[..., Source]:
    """Opens an archive with a cache of its own."""

    def make(path: Path, **changes: object) -> Source:
        data = default_config().data
        data.update(dir=str(path), cache_dir=str(tmp_path / "cache"), **changes)
        return open_source(data)

    return make


def ids(source: Source) -> dict[str, list[str]]:
    return {split: [record.id for record in records] for split, records in source.splits.items()}


def files_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


# What an archive may hold


@pytest.mark.parametrize(
    ("names", "classes", "expected"),
    [
        (
            ("COVID/a.png", "NonCOVID/b.png"),
            ("COVID", "NonCOVID"),
            {"train": ["COVID/a.png", "NonCOVID/b.png"]},
        ),
        (
            ("covid_ct/train/COVID/a.png", "covid_ct/test/COVID/b.png"),
            ("COVID",),
            {"train": ["train/COVID/a.png"], "test": ["test/COVID/b.png"]},
        ),
        (
            ("train/COVID/a.png", "val/COVID/b.png"),
            ("COVID",),
            {"train": ["train/COVID/a.png"], "val": ["val/COVID/b.png"]},
        ),
        (
            ("sunflower/train/sunflower/a.png",),
            ("sunflower",),
            {"train": ["train/sunflower/a.png"]},
        ),
        (("a/b/c/COVID/a.png", "a/b/c/NonCOVID/b.png"), ("COVID", "NonCOVID"), None),
        (("COVID/a.png", "COVID/b.png"), ("COVID",), {"train": ["a.png", "b.png"]}),
        (("a.png", "b.png"), ("scans",), {"train": ["a.png", "b.png"]}),
        (("README.md", "covid_ct/COVID/a.png", "covid_ct/NonCOVID/b.png"), None, None),
        (("__MACOSX/._A", ".DS_Store", "A/a.png", "A/._a.png", "B/b.png"), ("A", "B"), None),
        (("./A/a.png", "./B//b.png"), ("A", "B"), {"train": ["A/a.png", "B/b.png"]}),
    ],
)
def test_folders_around_everything_do_not_count(pack, opened, names, classes, expected):
    path = pack(*names)
    source = opened(path)
    assert source.name == str(path)
    assert classes is None or source.classes == classes
    assert expected is None or ids(source) == expected
    assert all(record.read().pixels.shape == (2, 3, 1) for record in source.splits["train"])


def test_pairs(pack, opened):
    source = opened(pack("brain/images/a.png", "brain/masks/a.png"), mask_values="7=none,9=tumour")
    record = source.splits["train"][0]
    assert source.mask_classes == ("none", "tumour")
    np.testing.assert_array_equal(record.read_mask(), np.zeros((2, 3)))


def test_pairs_beside_each_other(pack, opened):
    source = opened(pack("brain/a.png", "brain/a_mask.png"), mask_values="7=none,9=tumour")
    assert ids(source) == {"train": ["a.png"]}
    assert source.splits["train"][0].read_mask().shape == (2, 3)


@pytest.mark.parametrize("top", ["", "scans/"])
def test_a_table_beside_its_images(tmp_path, opened, top):
    table = b"file,label,group\na.png,COVID,p1\nmore/b.png,NonCOVID,p2\n"
    members = {f"{top}labels.csv": table, f"{top}a.png": png(), f"{top}more/b.png": png()}
    source = opened(written(tmp_path / "x.zip", members))
    assert source.classes == ("COVID", "NonCOVID")
    assert [record.read_group() for record in source.splits["train"]] == ["p1", "p2"]


@pytest.mark.parametrize("top", ["", "medmnist/deep/"])
def test_a_single_npz_file(tmp_path, opened, top):
    stream = io.BytesIO()
    images = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    np.savez(stream, train_images=images, train_labels=np.array([0, 1]))
    members = {f"{top}pneumoniamnist.npz": stream.getvalue(), "README.txt": b"from the net"}
    source = opened(written(tmp_path / "x.zip", members))
    assert source.classes == ("0", "1")
    np.testing.assert_array_equal(source.splits["train"][1].read().pixels[..., 0], images[1])


def test_idx_files(tmp_path, opened):
    images = b"\0\0\x08\3" + np.array([2, 1, 3], ">u4").tobytes() + bytes(range(6))
    labels = b"\0\0\x08\1" + np.array([2], ">u4").tobytes() + bytes((0, 1))
    members = {
        "mnist/train-images-idx3-ubyte": images,
        "mnist/train-labels-idx1-ubyte": labels,
    }
    source = opened(written(tmp_path / "x.zip", members))
    assert [record.label for record in source.splits["train"]] == [0, 1]


def test_dicom_files_also_without_an_extension(tmp_path, opened):
    content = Path(get_testdata_file("CT_small.dcm")).read_bytes()
    members = {"study/A/slice.dcm": content, "study/B/IM0001": content}
    source = opened(written(tmp_path / "x.zip", members))
    assert ids(source) == {"train": ["A/slice.dcm", "B/IM0001"]}
    assert source.splits["train"][0].read().pixels.shape == (128, 128, 1)


def test_nifti_files(tmp_path, opened):
    volume = nibabel.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4), np.eye(4))
    members = {"scan.nii": volume.to_bytes()}
    assert len(opened(written(tmp_path / "x.zip", members)).splits["train"]) == 4


def test_an_archive_in_the_archive_stays_packed(tmp_path, opened):
    inner = written(tmp_path / "inner.zip", {"C/c.png": png()}).read_bytes()
    path = written(tmp_path / "x.zip", {"A/a.png": png(), "B/b.png": png(), "inner.zip": inner})
    assert opened(path).classes == ("A", "B")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_both_usual_methods(pack, opened, method):
    assert opened(pack("A/a.png", "B/a.png", compression=method)).classes == ("A", "B")


# What is unpacked, when and where


def test_nothing_is_unpacked_before_the_contents_are_asked_for(pack, opened, tmp_path):
    source = opened(pack("A/a.png", "B/b.png"))
    assert source.fingerprint
    assert not (tmp_path / "cache").exists()
    assert len(source.splits["train"]) == 2
    assert len(files_below(tmp_path / "cache" / "archives")) == 2


def test_it_is_unpacked_once(pack, opened, tmp_path, monkeypatch):
    path = pack("A/a.png", "B/b.png")
    opened(path).contents()
    before = files_below(tmp_path)
    monkeypatch.setattr(archives, "_unpack", pytest.fail)
    opened(path).contents()
    assert files_below(tmp_path) == before


def test_a_prepared_set_needs_neither_the_unpacked_files_nor_the_archives_content(pack, tmp_path):
    data = default_config().data
    data.update(dir=str(pack("A/a.png", "B/b.png")), cache_dir=str(tmp_path / "cache"))
    data.image_size = 4
    before = prepare(data).card
    shutil.rmtree(tmp_path / "cache" / "archives")
    assert prepare(data).card == before
    assert not (tmp_path / "cache" / "archives").exists()


def test_nothing_is_written_outside_the_cache(pack, opened, tmp_path):
    path = pack("A/a.png", "B/b.png")
    opened(path).contents()
    assert {name.name for name in tmp_path.iterdir()} == {path.name, "cache"}


def test_two_sources_may_unpack_at_once(pack, opened, tmp_path, monkeypatch):
    path, other = pack("A/a.png", "B/b.png"), []
    checked = archives._check_size

    def unpack_meanwhile(*args: object) -> None:
        checked(*args)
        if not other:
            other.append(None)
            opened(path).contents()

    monkeypatch.setattr(archives, "_check_size", unpack_meanwhile)
    assert len(opened(path).splits["train"]) == 2
    assert len(files_below(tmp_path / "cache" / "archives")) == 2


_KILLED = """
import os, shutil, signal, sys
from common.data.sources.open import open_source
from common.config.defaults import default_config
copy = shutil.copyfileobj
def copy_one(*args):
    copy(*args)
    os.kill(os.getpid(), signal.SIGKILL)
shutil.copyfileobj = copy_one
data = default_config().data
data.update(dir=sys.argv[1], cache_dir=sys.argv[2])
open_source(data).contents()
"""


def test_what_a_killed_process_unpacked_is_not_taken_for_whole(pack, opened, tmp_path):
    path = pack("A/a.png", "B/b.png")
    command = [sys.executable, "-c", _KILLED, str(path), str(tmp_path / "cache")]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == -signal.SIGKILL
    half = files_below(tmp_path / "cache" / "archives")
    assert any(name.startswith(".incomplete-") and name.endswith("a.png") for name in half)
    assert len(opened(path).splits["train"]) == 2
    assert len(list((tmp_path / "cache" / "archives").iterdir())) == 1


# Fingerprint


def test_the_fingerprint_stays_when_the_archive_moves(pack, opened, tmp_path):
    path = pack("A/a.png")
    before = opened(path).fingerprint
    (tmp_path / "elsewhere").mkdir()
    assert opened(path.rename(tmp_path / "elsewhere" / path.name)).fingerprint == before


@pytest.mark.parametrize("change", ["touch", "grow", "rename"])
def test_the_fingerprint_changes_with_the_archive(pack, opened, change):
    path = pack("A/a.png")
    before, times = opened(path).fingerprint, path.stat()
    if change == "touch":
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns + 1000))
    elif change == "grow":
        path.write_bytes(path.read_bytes() + b"\0")
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    else:
        path = path.rename(path.with_name("other.zip"))
    assert opened(path).fingerprint != before


# What is refused


@pytest.mark.parametrize(
    "name",
    [
        "../evil.png",
        "A/../../evil.png",
        "A/..",
        "/evil.png",
        "//evil.png",
        "C:/evil.png",
        "C:evil.png",
        "A\\evil.png",
        "..\\evil.png",
        "__MACOSX/../../evil.png",
    ],
)
def test_a_path_that_leads_out_is_refused(pack, opened, tmp_path, name):
    source = opened(pack("A/a.png", name))
    with pytest.raises(UserError, match="a path that leads out of it; don't use this archive"):
        source.contents()
    assert files_below(tmp_path) == ["scans.zip"]
    assert not (tmp_path.parent / "evil.png").exists()


def test_a_link_is_refused(tmp_path, opened):
    link = zipfile.ZipInfo("A/passwd.png")
    link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("A/a.png", png())
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(UserError, match=r"x\.zip holds 'A/passwd\.png', a link"):
        opened(tmp_path / "x.zip").contents()


@pytest.mark.parametrize("second", ["A/a.png", "A/A.png", "a/A.PNG", "A/./a.png"])
def test_two_files_of_one_name_are_refused(pack, opened, tmp_path, second):
    path = pack("A/a.png")
    with zipfile.ZipFile(path, "a") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # zipfile's, of the duplicate
        archive.writestr(second, png(9))
    with pytest.raises(UserError, match=r"(?i)scans\.zip holds 'A/a\.png' twice"):
        opened(path).contents()


def test_a_file_that_is_also_a_folder_is_refused(pack, opened):
    with pytest.raises(UserError, match=r"scans\.zip can't be unpacked"):
        opened(pack("A", "A/a.png")).contents()


def test_an_encrypted_archive_is_refused(pack, opened):
    path = pack("A/a.png")
    content = bytearray(path.read_bytes())
    for marker, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):  # the flags in both headers
        content[content.find(marker) + offset] |= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"is encrypted \('A/a\.png'\); unpack it yourself"):
        opened(path).contents()


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_whose_memory_has_no_bound_are_refused(pack, opened, method):
    with pytest.raises(UserError, match="packed by an uncommon method; recreate it with deflate"):
        opened(pack("A/a.png", compression=method)).contents()


def bomb(path: Path, size: int) -> Path:
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive,
        archive.open("A/a.bmp", "w") as member,
    ):
        for _ in range(size // 2**20):
            member.write(bytes(2**20))
    return path


def test_a_size_bomb_is_refused_before_it_is_unpacked(tmp_path, opened):
    path = bomb(tmp_path / "x.zip", archives.SMALL + 2**20)
    assert path.stat().st_size < 2**18
    sentence = r"x\.zip would unpack [\d,]+ bytes to 135,266,304, more than 100 times as many"
    with pytest.raises(UserError, match=sentence):
        opened(path).contents()
    assert files_below(tmp_path) == ["x.zip"]


def test_a_header_that_states_too_little_does_not_unpack_more(tmp_path, opened):
    path = bomb(tmp_path / "x.zip", archives.SMALL + 2**20)
    content = path.read_bytes()
    stated = (archives.SMALL + 2**20).to_bytes(4, "little")
    assert content.count(stated) >= 1
    path.write_bytes(content.replace(stated, (1000).to_bytes(4, "little")))
    with pytest.raises(UserError, match="Bad CRC-32"):
        opened(path).contents()
    assert files_below(tmp_path) == ["x.zip"]


def test_members_that_share_their_bytes_are_refused(pack, opened):
    """A bomb whose small body is listed many times (Fifield 2019, "A better zip bomb")."""
    path = pack("A/a.png", "A/b.png")
    content = bytearray(path.read_bytes())
    first = content.find(b"PK\1\2")
    second = content.find(b"PK\1\2", first + 1)
    content[second + 42 : second + 46] = content[first + 42 : first + 46]  # where its body is
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"scans\.zip is damaged or not a zip archive"):
        opened(path).contents()


def test_too_many_files_are_refused(pack, opened, monkeypatch):
    monkeypatch.setattr(archives, "MAX_MEMBERS", 3)
    with pytest.raises(UserError, match="holds 4 files, more than the 3 allowed"):
        opened(pack("a.png", "b.png", "c.png", "d.png")).contents()


def test_more_than_the_limit_is_refused(pack, opened, monkeypatch):
    monkeypatch.setattr(archives, "MAX_BYTES", 100)
    with pytest.raises(UserError, match="or more than 100, unlike any archive of images"):
        opened(pack("a.png", "b.png", "c.png")).contents()


def test_a_disk_that_is_too_small_is_named_before_unpacking(pack, opened, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=10)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(UserError, match=r"cache/archives has 10 left; free space or choose"):
        opened(pack("A/a.png")).contents()
    assert files_below(tmp_path) == ["scans.zip"]


def test_a_disk_that_fills_meanwhile_leaves_nothing_half_made(pack, opened, tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", full)
    with pytest.raises(UserError, match=r"scans\.zip can't be unpacked: No space left on device"):
        opened(pack("A/a.png")).contents()
    assert files_below(tmp_path) == ["scans.zip"]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", r"x\.zip is damaged or not a zip archive"),
        (b"Rar!\x1a\x07 not a zip", r"x\.zip is damaged or not a zip archive"),
        (b"PK\5\6" + bytes(18), r"x\.zip holds no image"),
    ],
)
def test_a_file_that_is_no_archive_is_refused(tmp_path, opened, content, sentence):
    (tmp_path / "x.zip").write_bytes(content)
    with pytest.raises(UserError, match=sentence):
        opened(tmp_path / "x.zip").contents()


def test_a_truncated_archive_is_refused(pack, opened, tmp_path):
    path = pack("A/a.png", "A/b.png")
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(UserError, match=r"scans\.zip is damaged or not a zip archive"):
        opened(path).contents()


def test_a_damaged_member_is_refused_and_nothing_stays(pack, opened, tmp_path):
    path = pack("A/a.png", "A/b.png")
    content = bytearray(path.read_bytes())
    content[60] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"scans\.zip is damaged .*Bad CRC-32.*A/a\.png"):
        opened(path).contents()
    assert files_below(tmp_path) == ["scans.zip"]


def test_an_archive_without_an_image_is_refused_by_its_own_name(tmp_path, opened):
    path = written(tmp_path / "x.zip", {"docs/README.md": b"nothing here", "inner.zip": b"PK"})
    with pytest.raises(UserError, match=rf"^{path}\S* holds no image"):
        opened(path).contents()


def test_a_member_that_is_no_image_is_told_of_the_archive(tmp_path, opened):
    path = written(tmp_path / "x.zip", {"scans/A/a.png": b"no image", "scans/B/b.png": png()})
    with pytest.raises(UserError, match=rf"^{path}/scans/A/a\.png is not a readable image"):
        opened(path).splits["train"][0].read()


def test_folders_too_deep_are_refused(pack, opened):
    with pytest.raises(UserError, match=r"holds 'a/a/.*, more than 64 folders deep"):
        opened(pack("a/" * 64 + "a.png")).contents()


def test_a_layout_that_is_refused_is_told_of_the_archive(pack, opened):
    path = pack("x/train/A/a.png", "x/train/B/b.png", "x/val/A/a.png")
    with pytest.raises(UserError, match=rf"Class B has no image in the val split, {path}/x/val"):
        opened(path).contents()


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(where=st.integers(0, 10_000), what=st.binary(max_size=8), cut=st.integers(0, 300))
def test_random_damage_is_a_sentence_or_does_no_harm(pack, opened, tmp_path, where, what, cut):
    path = pack("A/a.png", "B/b.png", name="damaged.zip", compression=zipfile.ZIP_DEFLATED)
    content = bytearray(path.read_bytes())
    where %= len(content)
    content[where : where + len(what)] = what
    path.write_bytes(content[: len(content) - cut] if cut < 30 else content)
    try:
        opened(path).contents()
    except UserError as error:
        assert "damaged.zip" in str(error)
    assert {name.name for name in tmp_path.iterdir()} <= {"damaged.zip", "cache"}
    shutil.rmtree(tmp_path / "cache", ignore_errors=True)


# Real files


def packed_sample(folder: Path, path: Path, pattern: str, step: int) -> Path:
    """Packs every `step`-th file, with the folder around them, as people do."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.glob(pattern))[::step]:
            archive.write(file, Path(folder.name) / file.relative_to(folder))
    return path


@pytest.mark.parametrize(
    ("name", "pattern", "step", "classes", "splits"),
    [
        ("covid_ct", "*/*/*", 20, ("COVID", "NonCOVID"), ["train", "val", "test"]),
        ("covid_ct_originals", "*/*", 5, ("COVID", "NonCOVID"), ["train"]),
        ("chest_xray", "*/*/*", 200, ("NORMAL", "PNEUMONIA"), ["train", "test"]),
        ("sunflower", "*/*/*", 50, ("sunflower",), ["train"]),
        ("brain_mri", "*/*/*_01[0-3].*", 1, ("brain_mri",), ["train", "val", "test"]),
        ("mnist", "t*.gz", 1, tuple("0123456789"), ["train", "test"]),
    ],
)
def test_real_archives(shared_data, tmp_path, opened, name, pattern, step, classes, splits):
    path = packed_sample(shared_data / name, tmp_path / f"{name}.zip", pattern, step)
    source = opened(path)
    assert source.classes == classes
    assert list(source.splits) == splits
    for records in source.splits.values():
        image = records[0].read()
        if name == "brain_mri":
            assert records[0].read_mask().shape == image.pixels.shape[:2]
