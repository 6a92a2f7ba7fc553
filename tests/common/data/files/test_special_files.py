"""Specification: a pipe, a socket, a device or a folder in a file's place is named and refused."""

import os
import signal
import socket
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from common.config.defaults import default_config
from common.data.files.image import Reading
from common.data.files.slices import images_in
from common.data.prepared.prepared import prepare
from common.data.sources.incoming import find_images
from common.data.sources.open import open_source
from common.inspect.inspection import inspect
from common.program.errors import UserError

ENDINGS = ("x.png", "x.tif", "x.dcm", "x.nii", "x.nii.gz")


@pytest.fixture(autouse=True)
def _promptly() -> Iterator[None]:
    """Ends a test that waits at a pipe."""

    def end(*_: object) -> None:
        raise TimeoutError("it waits for ever")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(120)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def root(tmp_path) -> Path:
    """A folder of two classes."""
    for name in ("A/a.png", "A/b.png", "B/c.png"):
        path = tmp_path / "scans" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 5), 9).save(path)
    return tmp_path / "scans"


def settings(path: Path, **changes):
    data = default_config().data
    data.update(dir=str(path), cache_dir=str(path.parent / "cache"), image_size=16, **changes)
    return data


def make(kind: str, path: Path) -> None:
    if kind == "a named pipe":
        os.mkfifo(path)
    elif kind == "a device":
        path.symlink_to("/dev/zero")
    elif kind == "a folder":
        path.mkdir()
    else:
        place = os.open(path.parent, os.O_RDONLY)  # names of sockets are short
        try:
            with socket.socket(socket.AF_UNIX) as made:
                made.bind(f"/proc/self/fd/{place}/{path.name}")
        finally:
            os.close(place)


KINDS = pytest.mark.parametrize("kind", ["a named pipe", "a device", "a socket"])


@KINDS
@pytest.mark.parametrize("name", ENDINGS)
def test_as_an_image_it_is_refused_when_it_is_read(root, kind, name):
    make(kind, root / "A" / name)
    records = open_source(settings(root)).splits["train"]
    (record,) = [each for each in records if each.id == f"A/{name}"]
    with pytest.raises(UserError, match=rf"A/{name} is {kind}, not a file; put a file in its pl"):
        record.read()
    assert record.read_group() == ""


def test_as_an_image_it_is_skipped_and_counted_where_that_is_asked_for(root):
    make("a named pipe", root / "A" / "x.png")
    with pytest.raises(UserError, match=r"x\.png is a named pipe.*on_bad_image=skip"):
        prepare(settings(root))
    prepared = prepare(settings(root, on_bad_image="skip"))
    assert (prepared.card.skipped, prepared.card.num_examples) == (1, {"train": 3})


def test_the_inspection_names_it(root):
    make("a named pipe", root / "A" / "x.png")
    (broken,) = inspect(settings(root)).survey.broken
    assert broken.why.endswith(
        "x.png is a named pipe, not a file; put a file in its place or remove it."
    )


@KINDS
def test_without_an_images_ending_it_is_only_named(root, kind):
    make(kind, root / "A" / "1.2.840.5")
    assert open_source(settings(root)).contents().unread == ("A/1.2.840.5",)


def test_a_folder_that_is_called_as_an_image_is_named(root):
    (root / "A" / "x.png").mkdir()
    assert open_source(settings(root)).contents().unread == ("A/x.png",)
    (root / "B").rename(root / "B.png")  # may be a class
    assert open_source(settings(root)).classes == ("A", "B.png")


def test_as_a_mask_or_target_it_is_refused(root):
    for folder in ("images", "masks", "targets"):
        (root / "pairs" / folder).mkdir(parents=True)
    Image.new("L", (8, 5)).save(root / "pairs/images/a.png")
    os.mkfifo(root / "pairs/masks/a.png")
    os.mkfifo(root / "pairs/targets/a.png")
    (record,) = open_source(settings(root / "pairs")).splits["train"]
    for read in (record.read_mask, record.read_target):
        with pytest.raises(UserError, match=r"a\.png is a named pipe"):
            read()


@pytest.mark.parametrize("kind", ["a named pipe", "a device", "a socket", "a folder"])
def test_as_a_table_it_is_refused(root, kind):
    make(kind, root / "labels.csv")
    with pytest.raises(UserError, match=rf"labels\.csv is {kind}, not a file"):
        open_source(settings(root))


def test_a_table_that_links_to_nothing_is_not_passed_over(root):
    (root / "labels.csv").symlink_to("gone.csv")
    with pytest.raises(UserError, match=r"labels\.csv can't be read: No such file"):
        open_source(settings(root))


@KINDS
@pytest.mark.parametrize("name", ["x.npz", "x.zip", "train-images-idx3-ubyte", *ENDINGS])
def test_as_the_data_it_is_refused(tmp_path, kind, name):
    make(kind, tmp_path / name)
    with pytest.raises(UserError, match=rf"{name} is {kind}, not a file"):
        open_source(settings(tmp_path / name))


def test_by_url_it_is_refused(tmp_path):
    os.mkfifo(tmp_path / "a b.zip")
    data = settings(tmp_path, url=f"file://{tmp_path}/a%20b.zip", sha256="0" * 64)
    with pytest.raises(UserError, match=r"a b\.zip is a named pipe"):
        open_source(data).contents()


@pytest.mark.parametrize("name", ["x.png", "x"])
def test_as_input_it_is_refused(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(UserError, match=rf"{name} is a named pipe"):
        find_images(str(tmp_path / name), tmp_path / "out")


def test_among_new_images_it_is_refused_when_it_is_read(root, tmp_path):
    os.mkfifo(root / "x.png")
    assert root / "x.png" in find_images(str(root), tmp_path / "out").files
    (image,) = images_in(root / "x.png", Reading())
    with pytest.raises(UserError, match=r"x\.png is a named pipe"):
        image.read()


@pytest.mark.parametrize(
    ("mode", "kind"),
    [(stat.S_IFIFO, "a named pipe"), (stat.S_IFCHR, "a device"), (stat.S_IFSOCK, "a socket")],
)
def test_in_an_archive_it_is_refused(tmp_path, mode, kind):
    member = zipfile.ZipInfo("A/x.png")
    member.create_system, member.external_attr = 3, (mode | 0o644) << 16
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr(member, b"")
    with pytest.raises(UserError, match=rf"x\.zip holds 'A/x\.png', {kind}; recreate it"):
        open_source(settings(tmp_path / "x.zip")).contents()


def test_a_link_to_a_file_is_a_file(root):
    (root / "A" / "x.png").symlink_to(root / "B" / "c.png")
    assert prepare(settings(root)).card.num_examples == {"train": 4}
