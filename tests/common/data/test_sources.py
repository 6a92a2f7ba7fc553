"""Specification of `common.data.sources`: which kind of source a setting opens, and phantoms."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from common.data import phantoms
from common.data.records import Contents, Decoded, Once, Record, Source
from common.data.sources import open_source
from common.errors import UserError
from common.training.config import default_config


def settings(**changes) -> ConfigDict:
    data = default_config().data
    data.update(**{"name": "covid_ct", "image_size": 32, "num_phantoms": 16, **changes})
    return data


# Paths


def test_a_path_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(UserError, match=r"gone can't be opened: No such file.*data\.dir"):
        open_source(settings(dir=str(tmp_path / "gone")))


def test_a_path_that_no_file_system_takes_is_named():
    with pytest.raises(UserError, match="File name too long"):
        open_source(settings(dir="a" * 5000))


@pytest.mark.parametrize(
    ("name", "advice"),
    [("data.h5", "name one"), ("scan.nrrd", "name one")],
)
def test_a_file_of_another_kind_is_refused(tmp_path, name, advice):
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(UserError, match=rf"{name} is neither a folder of images.*{advice}"):
        open_source(settings(dir=str(tmp_path / name)))


def test_an_image_alone_is_a_class_named_after_it(tmp_path):
    Image.fromarray(np.full((2, 3), 7, np.uint8)).save(tmp_path / "scan.png")
    source = open_source(settings(dir=str(tmp_path / "scan.png")))
    assert source.classes == ("scan.png",)
    assert [record.id for record in source.splits["train"]] == ["scan.png"]


def test_pairs_are_not_asked_for_where_there_are_none(tmp_path):
    (tmp_path / "A").mkdir()
    Image.new("L", (4, 4)).save(tmp_path / "A" / "x.png")
    with pytest.raises(UserError, match=r"data\.pairs is 'sorted'"):
        open_source(settings(dir=str(tmp_path), pairs="sorted"))


def test_an_idx_file_under_another_name_is_refused(tmp_path):
    (tmp_path / "digits-ubyte").write_bytes(b"")
    with pytest.raises(UserError, match="digits-ubyte is neither"):
        open_source(settings(dir=str(tmp_path / "digits-ubyte")))


# Phantoms


def test_phantoms_say_what_they_are():
    source = open_source(settings())
    assert source.name == "covid_ct phantoms"
    assert source.synthetic
    assert source.classes == phantoms.KINDS["covid_ct"].classes
    assert {split: len(records) for split, records in source.splits.items()} == {
        "train": 16,
        "val": 4,
        "test": 4,
    }


def test_phantoms_are_the_ones_that_were_drawn():
    records = open_source(settings()).splits["train"]
    drawn = phantoms.KINDS["covid_ct"].draw(0, 16, 32)
    assert [record.label for record in records] == drawn.labels.tolist()
    assert [record.id for record in records[:2]] == ["train/000000", "train/000001"]
    for record, image in zip(records, drawn.images, strict=True):
        np.testing.assert_array_equal(record.read().pixels, image)


def test_no_phantom_is_in_two_splits():
    splits = open_source(settings()).splits.values()
    images = [record.read().pixels.tobytes() for records in splits for record in records]
    assert len(set(images)) == len(images)


def test_phantoms_are_drawn_when_they_are_asked_for_and_once(monkeypatch):
    calls = []
    kind = phantoms.KINDS["covid_ct"]

    def draw(seed: int, num: int, image_size: int) -> phantoms.Phantoms:
        calls.append((num, image_size))
        return kind.draw(seed, num, image_size)

    monkeypatch.setitem(phantoms.KINDS, "covid_ct", replace(kind, draw=draw))
    source = open_source(settings())
    assert not calls
    for split in (*source.splits, *source.splits):
        source.splits[split][0].read()
    assert calls == [(16, 32), (4, 32), (4, 32)]


def test_phantoms_have_the_masks_of_their_kind():
    source = open_source(settings())
    assert source.mask_classes == phantoms.KINDS["covid_ct"].mask_classes
    for record in source.splits["val"]:
        assert record.read_mask is not None
        mask = record.read_mask()
        assert mask.shape == record.read().pixels.shape[:2]
        assert mask.any() == (record.label == 0)


def test_held_out_splits_show_every_class_however_few_phantoms_there_are():
    source = open_source(settings(num_phantoms=2))
    for records in source.splits.values():
        assert {record.label for record in records} == {0, 1}


@pytest.mark.parametrize("changes", [{"num_phantoms": 20}, {"image_size": 48}])
def test_the_fingerprint_of_phantoms_follows_their_parameters(changes):
    first = open_source(settings()).fingerprint
    assert open_source(settings()).fingerprint == first
    assert open_source(settings(**changes)).fingerprint != first


def test_an_unknown_kind_names_the_known_ones_and_the_way_to_own_images():
    with pytest.raises(UserError, match=r"'covid'.*covid_ct.*--config\.data\.dir"):
        open_source(settings(name="covid"))


def test_too_few_phantoms_are_refused_by_their_field():
    with pytest.raises(UserError, match=r"config\.data\.num_phantoms is 1; .* at least 2"):
        open_source(settings(num_phantoms=1))


# The interface


def test_a_source_can_be_made_by_hand():
    pixels = np.zeros((2, 2, 1), np.uint8)
    record = Record("train/000000", 0, lambda: Decoded.from_bytes(pixels, "L"))
    contents = Contents(("a",), {"train": [record]})
    source = Source(str(Path("here")), "00", False, Once(lambda: contents))
    assert source.splits["train"][0].read().pixels.shape == (2, 2, 1)
