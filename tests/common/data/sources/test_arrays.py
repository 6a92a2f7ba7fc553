"""Specification of `arrays`: `.npz` files of MedMNIST and IDX files of MNIST."""

import gzip
import os
import pickle
import shutil
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from common.config.defaults import default_config
from common.data.records import Source
from common.data.sources.open import open_source
from common.program.errors import UserError

GREY = np.arange(4 * 3 * 5, dtype=np.uint8).reshape(4, 3, 5)
LABELS = np.array([[1], [0], [2], [1]], np.uint8)
TRAIN = {"train_images": GREY, "train_labels": LABELS}


def opened(path: Path) -> Source:
    data = default_config().data
    data.dir = str(path)
    return open_source(data)


def npz(folder: Path, **arrays: np.ndarray) -> Path:
    np.savez_compressed(folder / "medmnist.npz", **arrays)
    return folder / "medmnist.npz"


def idx(values: np.ndarray, code: int = 8) -> bytes:
    header = bytes((0, 0, code, values.ndim)) + struct.pack(f">{values.ndim}I", *values.shape)
    return header + values.astype(np.uint8).tobytes()


def mnist(folder: Path, gzipped: bool = True, joint: str = "-", test: bool = True) -> Path:
    """Writes the files of MNIST, with 4 images in train and 2 in test."""
    for stem, num in {"train": 4, "t10k": 2}.items() if test else {"train": 4}.items():
        content = {"images": (3, GREY[:num]), "labels": (1, LABELS[:num, 0])}
        for part, (dimensions, values) in content.items():
            path = folder / f"{stem}-{part}{joint}idx{dimensions}-ubyte{'.gz' * gzipped}"
            path.write_bytes(gzip.compress(idx(values)) if gzipped else idx(values))
    return folder


class Trap:
    """Unpickling one makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


# .npz


def test_medmnist_grey(tmp_path):
    path = npz(tmp_path, **TRAIN, test_images=GREY[:2], test_labels=LABELS[:2])
    source = opened(path)
    assert source.name == str(path)
    assert source.classes == ("0", "1", "2")
    assert list(source.splits) == ["train", "test"]
    assert [record.id for record in source.splits["test"]] == ["test/000000", "test/000001"]
    assert [record.label for record in source.splits["train"]] == [1, 0, 2, 1]
    for record, image in zip(source.splits["train"], GREY, strict=True):
        np.testing.assert_array_equal(record.read().pixels, image[..., None])
    assert not source.synthetic


@pytest.mark.parametrize("channels", [1, 3])
def test_medmnist_with_channels_and_flat_labels(tmp_path, channels):
    images = np.repeat(GREY[..., None], channels, axis=-1)
    source = opened(npz(tmp_path, train_images=images, train_labels=LABELS[:, 0].astype(np.int64)))
    np.testing.assert_array_equal(source.splits["train"][3].read().pixels, images[3])


def test_a_splits_images_are_read_once_and_not_before_they_are_needed(tmp_path, monkeypatch):
    names: list[str] = []
    getitem = np.lib.npyio.NpzFile.__getitem__
    monkeypatch.setattr(
        np.lib.npyio.NpzFile, "__getitem__", lambda s, name: names.append(name) or getitem(s, name)
    )
    source = opened(npz(tmp_path, **TRAIN, val_images=GREY[:1], val_labels=LABELS[:1]))
    assert names == []
    source.contents()
    assert names == ["train_labels", "val_labels"]
    for record in source.splits["train"]:
        record.read()
    assert names == ["train_labels", "val_labels", "train_images"]


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({}, r"has no array train_images \(it has none\)"),
        ({"x": GREY}, r"has no array train_images \(it has x\).*MedMNIST"),
        ({"train_images": GREY}, "has no array train_labels"),
        ({**TRAIN, "val_images": GREY}, "has no array val_labels"),
        ({**TRAIN, "test_labels": LABELS}, "has no array test_images"),
        ({**TRAIN, "train_images": GREY.astype(float)}, r"train_images .* float64 \[4, 3, 5\]"),
        ({**TRAIN, "train_images": GREY[0]}, r"train_images .* uint8 \[3, 5\]"),
        ({**TRAIN, "train_images": GREY[..., None][..., [0, 0]]}, r"uint8 \[4, 3, 5, 2\]"),
        ({"train_images": GREY[:0], "train_labels": LABELS[:0]}, "n of at least 1"),
        ({**TRAIN, "train_labels": LABELS[:3]}, "train_labels has 3 labels for 4 images"),
        ({**TRAIN, "train_labels": LABELS.astype(float)}, r"train_labels .* float64 \[4, 1\]"),
        ({**TRAIN, "train_labels": LABELS == 1}, "train_labels .* bool"),
        ({**TRAIN, "train_labels": np.full((4, 14), 2)}, "14 numbers for each .* not all 0 or 1"),
        (
            {**TRAIN, "val_images": GREY, "val_labels": np.eye(4, dtype=int)},
            "val_labels has 4 numbers for each image, train_labels 1",
        ),
        ({**TRAIN, "train_labels": LABELS.astype(int) - 1}, "labels from -1 to 1"),
        ({**TRAIN, "train_labels": LABELS + 1}, "labels from 1 to 3.*0, 1"),
        ({**TRAIN, "train_labels": LABELS // 2 * 255}, "labels from 0 to 255, 2 different ones"),
        (
            {**TRAIN, "val_images": GREY, "val_labels": LABELS + 1},
            "labels from 0 to 3, 3 different ones in train",
        ),
    ],
)
def test_other_arrays_are_refused(tmp_path, arrays, sentence):
    with pytest.raises(UserError, match=sentence) as caught:
        opened(npz(tmp_path, **arrays)).contents()
    assert "medmnist.npz" in str(caught.value)


@pytest.mark.parametrize("name", ["train_images", "train_labels"])
def test_pickled_objects_are_refused_and_never_unpickled(tmp_path, name):
    trap = np.array([Trap(tmp_path / "sprung")], object)
    path = npz(tmp_path, **{**TRAIN, name: trap})
    with pytest.raises(UserError, match=f"{name} of .*Python objects"):
        opened(path).contents()
    assert not (tmp_path / "sprung").exists()
    with np.load(path, allow_pickle=True) as arrays:
        arrays[name]
    assert (tmp_path / "sprung").exists(), "the trap itself does not work"


def test_a_bare_pickle_is_refused_and_never_unpickled(tmp_path):
    path = tmp_path / "a.npz"
    path.write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    with pytest.raises(UserError, match=r"a\.npz is damaged"):
        opened(path).contents()
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("keep", [0, 10, 200, -1])
def test_a_truncated_zip_is_named(tmp_path, keep):
    path = npz(tmp_path, **TRAIN)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match=r"medmnist\.npz is damaged"):
        opened(path).contents()


def test_an_array_shorter_than_its_header_says_is_named(tmp_path):
    path = npz(tmp_path, **TRAIN)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["train_images.npy"] = members["train_images.npy"][:-1]
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(UserError, match=r"train_images of .*medmnist\.npz is truncated"):
        opened(path).contents()


def test_damaged_pixels_are_named_when_they_are_read(tmp_path):
    np.savez(tmp_path / "a.npz", **TRAIN)
    path = tmp_path / "a.npz"
    data = bytearray(path.read_bytes())
    data[data.index(GREY.tobytes())] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"a\.npz is damaged .*CRC"):
        opened(path).splits["train"][0].read().contents()


# IDX


@pytest.mark.parametrize("joint", ["-", "."])
@pytest.mark.parametrize("gzipped", [True, False])
def test_mnist(tmp_path, gzipped, joint):
    source = opened(mnist(tmp_path, gzipped, joint))
    assert source.name == str(tmp_path)
    assert source.classes == ("0", "1", "2")
    assert {split: len(records) for split, records in source.splits.items()} == {
        "train": 4,
        "test": 2,
    }
    assert source.splits["train"][3].id == "train/000003"
    assert source.splits["test"][0].label == 1
    np.testing.assert_array_equal(source.splits["train"][3].read().pixels, GREY[3][..., None])


def test_one_of_the_files_names_them_all(tmp_path):
    source = opened(mnist(tmp_path) / "train-images-idx3-ubyte.gz")
    assert list(source.splits) == ["train", "test"]


def test_mnist_without_test_is_train_alone(tmp_path):
    assert list(opened(mnist(tmp_path, test=False)).splits) == ["train"]


@pytest.mark.parametrize("name", ["train-images-idx3", "train-labels-idx1", "t10k-labels-idx1"])
def test_a_missing_file_of_mnist_is_named(tmp_path, name):
    (mnist(tmp_path) / f"{name}-ubyte.gz").unlink()
    with pytest.raises(UserError, match=rf"has no {name}-ubyte\.gz"):
        opened(tmp_path).contents()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "begins with nothing rather than 00000803"),
        (idx(LABELS[:, 0]), "begins with 00000801 rather than 00000803"),
        (idx(GREY, code=13), "begins with 00000d03"),
        (b"<html>Not found</html>", "begins with 3c68746d"),
        (idx(GREY)[:9], "holds 0 values but its header says 4 x 0 x 0"),
        (idx(GREY)[:-1], "holds 59 values but its header says 4 x 3 x 5"),
        (idx(GREY) + b"\0", "holds 61 values but its header says 4 x 3 x 5"),
        (idx(GREY[:0]), "holds 0 values but its header says 0 x 3 x 5"),
        (idx(GREY[:3]), "4 labels for 3 images"),
    ],
)
def test_damaged_idx_files_are_named(tmp_path, content, sentence):
    mnist(tmp_path, gzipped=False)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(content)
    with pytest.raises(UserError, match=rf"train-(images|labels)-idx\d-ubyte.*{sentence}"):
        opened(tmp_path).contents()


@pytest.mark.parametrize("content", [b"", b"no gzip", gzip.compress(idx(GREY), mtime=0)[:-9]])
def test_damaged_gzip_files_are_named(tmp_path, content):
    mnist(tmp_path)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(content)
    with pytest.raises(UserError, match=r"train-images-idx3-ubyte\.gz (is damaged|begins with n)"):
        opened(tmp_path).contents()


# Fingerprint


def test_the_fingerprint_follows_the_files(tmp_path):
    path = npz(tmp_path, **TRAIN)
    first = opened(path).fingerprint
    assert opened(path).fingerprint == first
    os.utime(path, ns=(0, 1))
    assert opened(path).fingerprint != first
    mnist(tmp_path)
    whole = opened(tmp_path).fingerprint
    (tmp_path / "t10k-images-idx3-ubyte.gz").unlink()
    (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()
    assert opened(tmp_path).fingerprint != whole


# Real files


def test_real_mnist(shared_data):
    source = opened(shared_data / "mnist")
    assert source.classes == tuple("0123456789")
    assert {split: len(records) for split, records in source.splits.items()} == {
        "train": 60_000,
        "test": 10_000,
    }
    assert [record.label for record in source.splits["train"][:5]] == [5, 0, 4, 1, 9]
    assert source.splits["train"][0].read().pixels.shape == (28, 28, 1)


def test_real_fashion_mnist_of_debian():
    folder = Path("/usr/share/datasets/fashion-mnist")
    if not folder.is_dir():
        pytest.skip("Debian's package dataset-fashion-mnist is not installed")
    assert len(opened(folder).splits["train"]) == 60_000


def test_real_digits_as_npz(tmp_path):
    load_digits = pytest.importorskip("sklearn.datasets").load_digits
    digits = load_digits()
    images = (digits.images * 255 / 16).astype(np.uint8)
    source = opened(npz(tmp_path, train_images=images, train_labels=digits.target))
    assert len(source.splits["train"]) == 1797
    assert len(source.classes) == 10
    shutil.rmtree(tmp_path)
    with pytest.raises(UserError, match=r"medmnist\.npz is damaged .*No such file"):
        source.splits["train"][0].read()
