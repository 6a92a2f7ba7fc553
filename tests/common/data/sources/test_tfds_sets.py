"""Specification of `tfds_sets`: TFDS sets by name, without network."""

import gzip
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow_datasets as tfds
from tensorflow_datasets.core.download import checksums, downloader

from common.config.defaults import default_config
from common.data.prepared.prepared import prepare
from common.data.sources import tfds_sets
from common.data.sources.open import Source, open_source
from common.program.errors import UserError
from tests.conftest import ROOT

NUM = {"train": 12, "validation": 4, "test": 4, "extra": 2}


class _Tiny(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Sets of 8x6 images; image i holds i, or 1000 i if it has 16 bits."""

    VERSION = tfds.core.Version("1.0.0")
    FEATURES: dict[str, tfds.features.FeatureConnector]

    def _info(self) -> tfds.core.DatasetInfo:
        features = tfds.features.FeaturesDict(self.FEATURES)
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, _: Any) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
        return {split: self._generate_examples(split) for split in NUM}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
        for number in range(NUM[split]):
            yield number, {name: self.value(name, number, split) for name in self.FEATURES}

    def value(self, name: str, number: int, split: str) -> Any:
        feature = self.FEATURES[name]
        if isinstance(feature, tfds.features.ClassLabel):
            return number % 2
        if isinstance(feature, tfds.features.Text):
            return f"patient{number // 2}" if name == "patient" else f"{split}-{number}"
        value = number % 2 if "mask" in name else number
        step = 1000 if feature.np_dtype == np.uint16 else 1
        return np.full(feature.shape, value * step, feature.np_dtype)


def tensor(*shape: int, dtype: type = np.uint8) -> tfds.features.Tensor:
    return tfds.features.Tensor(shape=shape, dtype=dtype)


LABEL = tfds.features.ClassLabel(names=["benign", "malignant"])


class TinyTensors(_Tiny):
    FEATURES = {  # noqa: RUF012
        "image": tensor(8, 6, 1),
        "label": LABEL,
        "id": tfds.features.Text(),
        "patient": tfds.features.Text(),
        "mask": tensor(8, 6),
    }


class TinyImages(_Tiny):
    FEATURES = {  # noqa: RUF012
        "image": tfds.features.Image(shape=(8, 6, 3), encoding_format="png"),
        "segmentation_mask": tfds.features.Image(shape=(8, 6, 1), encoding_format="png"),
        "label": LABEL,
    }


class Bools(_Tiny):
    FEATURES = {**TinyTensors.FEATURES, "mask": tensor(8, 6, dtype=np.bool_)}  # noqa: RUF012


class Floats(_Tiny):
    FEATURES = {**TinyTensors.FEATURES, "mask": tensor(8, 6, 1, dtype=np.float32)}  # noqa: RUF012

    def value(self, name: str, number: int, split: str) -> Any:
        value = super().value(name, number, split)
        return value * np.float32(0.9999999) if name == "mask" else value


class DeepImages(_Tiny):
    FEATURES = {  # noqa: RUF012
        "scan": tfds.features.Image(shape=(8, 6, 1), dtype=np.uint16, encoding_format="png")
    }


class DeepTensors(_Tiny):
    FEATURES = {"scan": tensor(8, 6, 1, dtype=np.uint16)}  # noqa: RUF012


class TwoImages(_Tiny):
    FEATURES = {"left": tensor(8, 6, 1), "right": tensor(8, 6, 1)}  # noqa: RUF012


class TwoLabels(_Tiny):
    FEATURES = {"image": tensor(8, 6, 1), "shape": LABEL, "colour": LABEL}  # noqa: RUF012


class NoImage(_Tiny):
    FEATURES = {"label": LABEL, "text": tfds.features.Text()}  # noqa: RUF012


class SecretLabels(_Tiny):
    FEATURES = {"image": tensor(8, 6, 1), "label": LABEL}  # noqa: RUF012

    def value(self, name: str, number: int, split: str) -> Any:
        secret = name == "label" and split == "test"
        return -1 if secret else super().value(name, number, split)


class EqualNames(_Tiny):
    FEATURES = {"image": tensor(8, 6, 1), "file_name": tfds.features.Text()}  # noqa: RUF012

    def value(self, name: str, number: int, split: str) -> Any:
        return "same" if name == "file_name" else super().value(name, number, split)


class OnlyTest(_Tiny):
    FEATURES = {"image": tensor(8, 6, 1)}  # noqa: RUF012

    def _split_generators(self, _: Any) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
        return {"test": self._generate_examples("test")}


Make = Callable[..., Path]


@pytest.fixture
def sets(tmp_path) -> Path:
    """TFDS's data_dir."""
    return tmp_path / "sets"


@pytest.fixture
def make(sets) -> Make:
    """Prepares a set in TFDS's data_dir and returns its folder."""

    def prepared(builder: type[_Tiny], file_format: str = "array_record") -> Path:
        tfds.disable_progress_bar()
        made = builder(data_dir=str(sets), file_format=file_format)
        made.download_and_prepare()
        return Path(made.data_dir)

    return prepared


@pytest.fixture
def opened(tmp_path, sets) -> Callable[..., Source]:
    """Opens a set by its name with a cache of its own."""

    def open_it(name: str, **changes: object) -> Source:
        data = default_config().data
        data.update(name=f"tfds:{name}", dir=str(sets), cache_dir=str(tmp_path / "cache"))
        data.update(changes)
        return open_source(data)

    return open_it


def test_tensors(make, opened):
    make(TinyTensors)
    source = opened("tiny_tensors")
    assert source.name == "tfds:tiny_tensors"
    assert source.classes == ("benign", "malignant")
    counts = {split: len(records) for split, records in source.splits.items()}
    assert counts == {"train": 12, "val": 4, "test": 4}
    for record in source.splits["train"]:
        number = int(record.id.removeprefix("train/train-"))
        image = record.read()
        assert (image.mode, image.bits, record.label) == ("L", 8, number % 2)
        np.testing.assert_array_equal(image.pixels, np.full((8, 6, 1), number))
        np.testing.assert_array_equal(record.read_mask(), np.full((8, 6), number % 2))


@pytest.mark.parametrize("file_format", ["array_record", "tfrecord"])
def test_images_that_are_stored_as_files(make, opened, file_format):
    make(TinyImages, file_format)
    source = opened("tiny_images", mask_values="0=background,1=lesion")
    assert source.mask_classes == ("background", "lesion")
    records = source.splits["train"]
    assert [record.id for record in records[:2]] == ["train/000000", "train/000001"]
    seen = set()
    for record in records:
        pixels = record.read().pixels
        assert pixels.shape == (8, 6, 3)
        seen.add(int(pixels[0, 0, 0]))
        assert (pixels == pixels[0, 0, 0]).all()
        assert record.label == pixels[0, 0, 0] % 2
        np.testing.assert_array_equal(record.read_mask(), pixels[..., 0] % 2)
    assert seen == set(range(12))


@pytest.mark.parametrize("builder", [DeepImages, DeepTensors])
def test_sixteen_bits_keep_their_window_and_a_set_without_labels_is_one_class(
    make, opened, builder
):
    make(builder)
    name = builder.name
    source = opened(name, window="0,10200")
    assert source.classes == (name,)
    for record in source.splits["train"]:
        image = record.read()
        value = image.value_range[0]
        assert (image.bits, image.window, value % 1000) == (16, (0, 10200), 0)
        np.testing.assert_array_equal(image.pixels, round(min(value / 40, 255)))
    assert opened(name).splits["train"][0].read().window == (0, 65535)


def test_a_feature_may_be_the_group(make, opened):
    make(TinyTensors)
    records = opened("tiny_tensors", group="column:patient").splits["train"]
    assert {record.read_group() for record in records} == {f"patient{i}" for i in range(6)}


@pytest.mark.parametrize("file_format", ["array_record", "tfrecord"])
def test_records_are_read_by_many_threads(make, opened, file_format):
    make(TinyTensors, file_format)
    records = list(opened("tiny_tensors").splits["train"]) * 50

    def right(record: Any) -> bool:
        return bool((record.read().pixels == int(record.id.rsplit("-", 1)[1])).all())

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(right, records))


@pytest.mark.parametrize("name", ["tiny_tensors:1.0.0", "tiny_tensors:1.*.*"])
def test_a_version_may_be_named(make, opened, name):
    make(TinyTensors)
    assert len(opened(name).splits["train"]) == 12


def test_names_that_are_not_unique_are_replaced_by_positions(make, opened):
    make(EqualNames)
    assert opened("equal_names").splits["val"][3].id == "val/000003"


def test_a_split_with_secret_labels_is_left_out(make, opened):
    make(SecretLabels)
    assert list(opened("secret_labels").splits) == ["train", "val"]


def test_a_set_becomes_a_prepared_set_and_is_not_needed_for_a_second_start(make, tmp_path, sets):
    make(TinyTensors)
    data = default_config().data
    data.update(name="tfds:tiny_tensors", dir=str(sets), cache_dir=str(tmp_path / "cache"))
    data.image_size = 8
    card = prepare(data).card
    assert card.num_examples == {"train": 12, "val": 4, "test": 4}
    assert card.mask_classes == ("background", "foreground")
    reads = tfds_sets.Examples.read
    try:
        tfds_sets.Examples.read = pytest.fail
        assert prepare(data).card == card
    finally:
        tfds_sets.Examples.read = reads


_WITHOUT_TENSORFLOW = """
import importlib.machinery, sys
find = importlib.machinery.PathFinder.find_spec
def find_others(name, *rest):
    return None if name.partition(".")[0] == "tensorflow" else find(name, *rest)
importlib.machinery.PathFinder.find_spec = find_others
from common.data.sources.open import open_source
from common.program.errors import UserError
from common.config.defaults import default_config
data = default_config().data
data.name, data.dir, data.cache_dir = sys.argv[1:]
try:
    for record in open_source(data).splits["train"]:
        print(record.id, record.read().pixels.sum(), record.read_mask().sum())
except UserError as error:
    print(error)
assert not any(name.partition(".")[0] == "tensorflow" for name in sys.modules)
"""


def without_tensorflow(name: str, data_dir: Path, cache: Path) -> list[str]:
    command = [sys.executable, "-c", _WITHOUT_TENSORFLOW, f"tfds:{name}", str(data_dir), str(cache)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("file_format", ["array_record", "tfrecord"])
def test_reading_needs_no_tensorflow(make, sets, tmp_path, file_format):
    make(TinyImages, file_format)
    assert len(without_tensorflow("tiny_images", sets, tmp_path / "cache")) == 12


# Fingerprint


def test_the_fingerprint_is_that_of_the_files(make, opened, sets, tmp_path):
    folder = make(TinyTensors)
    first = opened("tiny_tensors").fingerprint
    assert opened("tiny_tensors:1.0.0").fingerprint == first
    file = next(folder.glob("*train*"))
    os.utime(file, ns=(0, file.stat().st_mtime_ns + 1000))
    assert opened("tiny_tensors").fingerprint != first


# Sets that are not prepared


@pytest.fixture
def known(monkeypatch) -> None:
    """Makes TFDS know a set by its code, as it knows its own."""
    find = tfds.core.load.builder_cls

    def find_ours(name: str) -> type:
        return {"tiny_tensors": TinyTensors}.get(name) or find(name)

    monkeypatch.setattr(tfds.core.load, "builder_cls", find_ours)


@pytest.mark.usefixtures("known")
def test_a_set_that_is_not_prepared_is_made_in_the_cache_when_it_is_needed(opened, tmp_path):
    source = opened("tiny_tensors")
    assert not (tmp_path / "cache").exists()
    assert len(source.splits["train"]) == 12
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]
    made = {path.name for path in (tmp_path / "cache" / "tfds").iterdir()}
    assert made <= {"tiny_tensors", "downloads"}


@pytest.mark.usefixtures("known")
def test_what_was_made_in_the_cache_is_the_same_set_also_when_it_is_gone(opened, tmp_path):
    first = opened("tiny_tensors")
    first.contents()
    assert opened("tiny_tensors").fingerprint == first.fingerprint
    shutil.rmtree(tmp_path / "cache")
    assert opened("tiny_tensors").fingerprint == first.fingerprint


@pytest.mark.usefixtures("known")
def test_a_failure_while_it_is_made_leaves_nothing(opened, tmp_path, monkeypatch):
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(TinyTensors, "value", fail)
    with pytest.raises(
        UserError, match=r"tiny_tensors can't be downloaded .*No space left on device"
    ):
        opened("tiny_tensors").contents()
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_no_network_is_told(opened, monkeypatch):
    def unreachable(*_: object, **__: object) -> None:
        raise ConnectionError("storage.googleapis.com can't be resolved")

    monkeypatch.setattr(downloader, "_open_url", unreachable)
    with pytest.raises(
        UserError, match=r"tfds:mnist can't be downloaded .*resolved.*check the net"
    ):
        opened("mnist").contents()


def test_what_is_missing_to_make_a_set_is_told(tmp_path):
    (told,) = without_tensorflow("mnist", tmp_path, tmp_path / "cache")
    assert "tfds:mnist can't be downloaded" in told
    assert "pip install 'triptych[tensorboard]'" in told


@pytest.mark.slow
def test_mnist_is_made_from_its_files_without_network(shared_data, opened, tmp_path, monkeypatch):
    manual = tmp_path / "cache" / "tfds" / "downloads" / "manual"
    shutil.copytree(shared_data / "mnist", manual)
    # One of the files has been packed anew: its bytes are not the published ones, its content is.
    with gzip.open(manual / "train-images-idx3-ubyte.gz") as stream:
        assert hashlib.md5(stream.read()).hexdigest() == "6bbc9ace898e44ae57da46a324031adb"
    builder = tfds.core.load.builder_cls("mnist")
    monkeypatch.setattr(
        builder,
        "url_infos",
        {
            url: checksums.UrlInfo(
                size=(manual / info.filename).stat().st_size,
                checksum=hashlib.sha256((manual / info.filename).read_bytes()).hexdigest(),
                filename=info.filename,
            )
            for url, info in builder.url_infos.items()
        },
    )
    source = opened("mnist")
    assert source.classes == tuple("0123456789")
    assert {split: len(records) for split, records in source.splits.items()} == {
        "train": 60_000,
        "test": 10_000,
    }
    counts = np.bincount([record.label for record in source.splits["test"]])
    assert counts.tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert source.splits["train"][0].read().pixels.shape == (28, 28, 1)


# What is refused


@pytest.mark.parametrize(
    ("builder", "sentence"),
    [
        (TwoImages, "has the features left, right, of which left, right may be the image; use"),
        (TwoLabels, "of which colour, shape may be the label"),
        (NoImage, "has the features label, text, but no image of 8 or 16 bits"),
        (OnlyTest, "has the splits test, but no labelled one named train"),
    ],
)
def test_unclear_features_are_listed(make, opened, builder, sentence):
    make(builder)
    with pytest.raises(UserError, match=sentence):
        opened(builder.name).contents()


def test_a_group_that_is_no_feature_is_told(make, opened):
    make(TinyTensors)
    with pytest.raises(UserError, match=r"config\.data\.group is 'column:age', but .*, patient"):
        opened("tiny_tensors", group="column:age").contents()


@pytest.mark.parametrize("name", ["", "mnist:9.9.9", "mnist/large", "two words", "mnist:3"])
def test_a_name_that_is_none_is_told(opened, name):
    with pytest.raises(UserError, match=rf"config\.data\.name is 'tfds:{name}', which TFDS can't"):
        opened(name)


@pytest.mark.parametrize(
    ("name", "close"), [("mnst", "mnist"), ("kaggle:q", ""), ("zzzqqqzz", "none")]
)
def test_a_set_that_nobody_knows_is_told(opened, name, close):
    with pytest.raises(UserError, match=rf"'tfds:{name}', .* known to TFDS .*: {close}"):
        opened(name)


@pytest.mark.parametrize(("builder", "name"), [(Bools, "bools"), (Floats, "floats")])
def test_masks_may_be_bools_or_floats_that_are_whole(make, opened, builder, name):
    make(builder)
    source = opened(name)
    assert source.mask_classes == ("background", "foreground")
    for record in source.splits["train"]:
        np.testing.assert_array_equal(record.read_mask(), np.full((8, 6), record.label))


def test_a_mask_of_other_values_is_told(make, opened):
    make(TinyTensors)
    records = opened("tiny_tensors", mask_values="0=background,9=lesion").splits["train"]
    filled = next(record for record in records if record.label)
    with pytest.raises(UserError, match=r"1\.0\.0/train/0000\d\d .*values? 1"):
        filled.read_mask()


@pytest.mark.parametrize("file_format", ["array_record", "tfrecord"])
@pytest.mark.parametrize("damage", ["cut", "gone", "empty", "garbled"])
def test_damaged_files_are_told(make, opened, file_format, damage):
    folder = make(TinyImages, file_format)
    file = next(folder.glob("*train*"))
    content = file.read_bytes()
    if damage == "gone":
        file.unlink()
    else:
        changed = {"cut": content[:-9], "empty": b"", "garbled": b"\xff" * len(content)}
        file.write_bytes(changed[damage])
    with pytest.raises(UserError, match=r"tiny_images/1\.0\.0"):
        [record.read() for record in opened("tiny_images").splits["train"]]


def test_a_damaged_image_is_told(make, opened):
    folder = make(TinyImages, "tfrecord")
    file = next(folder.glob("*train*"))
    file.write_bytes(file.read_bytes().replace(b"IHDR", b"JUNK"))
    with pytest.raises(UserError, match=r"1\.0\.0/train/000000 is "):
        opened("tiny_images").splits["train"][0].read()
