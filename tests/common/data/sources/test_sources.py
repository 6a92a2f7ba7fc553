"""Specification of `open`: which kind of source a setting opens, and phantoms."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from common.config.defaults import default_config
from common.data import phantoms
from common.data.prepared.prepared import prepare
from common.data.records import Contents, Decoded, Once, Record, Source
from common.data.sources.open import open_source
from common.program.errors import UserError


def settings(**changes) -> ConfigDict:
    data = default_config().data
    data.update(**{"name": "covid_ct", "image_size": 32, "num_phantoms": 16, **changes})
    return data


# Paths


@pytest.mark.parametrize("setting", ["only", "classes"])
def test_a_class_in_other_capitals_is_recognised_in_the_message(tmp_path, setting):
    for name in ("COVID", "healthy"):
        (tmp_path / name).mkdir()
        Image.new("L", (8, 5)).save(tmp_path / name / "a.png")
    data = default_config().data
    data.update({"dir": str(tmp_path), setting: "covid,healthy"})
    with pytest.raises(UserError, match=r"did you mean '(COVID|covid)'\?"):
        open_source(data).contents()


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


# Of these classes alone


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Images in train: 3 of A, 4 of B, 5 of C; in test: 1, 2, 3."""
    for split, fewest in (("train", 3), ("test", 1)):
        for more, name in enumerate("ABC"):
            (tmp_path / "scans" / split / name).mkdir(parents=True)
            for number in range(fewest + more):
                path = tmp_path / "scans" / split / name / f"{number}.png"
                Image.new("L", (4, 4), 10 * number).save(path)
    return tmp_path / "scans"


def labels(source: Source) -> dict[str, list[int]]:
    return {split: [r.label for r in records] for split, records in source.splits.items()}


def folders(source: Source, split: str) -> list[str]:
    """The folder of each image: the class that the user gave it."""
    return [record.id.split("/")[1] for record in source.splits[split]]


@pytest.mark.parametrize(
    ("only", "classes", "train", "test"),
    [
        ("", ("A", "B", "C"), [0] * 3 + [1] * 4 + [2] * 5, [0] + [1] * 2 + [2] * 3),
        ("A", ("A",), [0] * 3, [0]),
        ("C", ("C",), [0] * 5, [0] * 3),
        ("A,C", ("A", "C"), [0] * 3 + [1] * 5, [0] + [1] * 3),
        ("C, A", ("A", "C"), [0] * 3 + [1] * 5, [0] + [1] * 3),
    ],
)
def test_only_the_named_classes_stay_numbered_anew_in_every_split(
    folder, only, classes, train, test
):
    source = open_source(settings(dir=str(folder), only=only))
    assert source.classes == classes
    assert labels(source) == {"train": train, "test": test}
    for split in source.splits:
        assert folders(source, split) == [classes[label] for label in labels(source)[split]]


def test_data_classes_says_in_which_order(folder):
    source = open_source(settings(dir=str(folder), only="A,C", classes="C,A"))
    assert source.classes == ("C", "A")
    assert labels(source)["test"] == [1] + [0] * 3
    assert folders(source, "test") == ["A"] + ["C"] * 3


def test_data_classes_names_no_class_that_is_left_out(folder):
    with pytest.raises(UserError, match=r"data\.classes is 'A,B,C'.*A, C: B is not among"):
        open_source(settings(dir=str(folder), only="A,C", classes="A,B,C")).contents()


def test_an_unknown_class_is_refused_with_the_known_ones(folder):
    with pytest.raises(UserError, match=r"data\.only is 'A,D'.*A, B, C: D is not among") as refused:
        open_source(settings(dir=str(folder), only="A,D")).contents()
    assert "\n" not in str(refused.value)


def test_the_fingerprint_says_which_classes_are_left(folder):
    choices = [
        {"only": ""},
        {"only": "A"},
        {"only": "A,C"},
        {"only": "A,B,C"},
        {"only": "A,C", "classes": "C,A"},
        {"classes": "A,B,C"},
    ]
    keys = [open_source(settings(dir=str(folder), **c)).fingerprint for c in choices]
    assert len(set(keys)) == len(choices)
    assert open_source(settings(dir=str(folder), only="A")).fingerprint == keys[1]


def test_phantoms_of_one_class_are_those_among_all():
    every, covid = open_source(settings()), open_source(settings(only="COVID"))
    assert covid.classes == ("COVID",)
    assert covid.synthetic
    for split, records in covid.splits.items():
        assert [r.id for r in records] == [r.id for r in every.splits[split] if r.label == 0]
        assert {record.label for record in records} == {0}
        assert all(record.read_mask().any() for record in records)


@pytest.mark.parametrize(
    ("only", "num_examples"),
    [
        ("", {"train": 12, "test": 6}),
        ("B", {"train": 4, "test": 2}),
        ("A,C", {"train": 8, "test": 4}),
    ],
)
def test_a_prepared_set_has_these_classes_alone(folder, tmp_path, only, num_examples):
    data = settings(dir=str(folder), only=only, image_size=8, cache_dir=str(tmp_path / "cache"))
    card = prepare(data).card
    assert card.num_examples == num_examples
    assert card.classes == tuple((only or "A,B,C").split(","))
    batch = prepare(data).splits["train"].read(range(num_examples["train"]))
    assert set(batch["label"].tolist()) == set(range(len(card.classes)))


def test_each_choice_of_classes_has_a_prepared_set_of_its_own(folder, tmp_path):
    for only in ("A", "", "C", "A"):
        data = settings(dir=str(folder), only=only, cache_dir=str(tmp_path / "cache"))
        assert prepare(data).card.classes == (tuple(only) or ("A", "B", "C"))


def test_phantoms_are_prepared_of_one_class(tmp_path):
    card = prepare(settings(only="NonCOVID", cache_dir=str(tmp_path))).card
    assert card.classes == ("NonCOVID",)
    assert card.num_examples == {"train": 8, "val": 2, "test": 2}


# The interface


def test_a_source_can_be_made_by_hand():
    pixels = np.zeros((2, 2, 1), np.uint8)
    record = Record("train/000000", 0, lambda: Decoded.from_bytes(pixels, "L"))
    contents = Contents(("a",), {"train": [record]})
    source = Source(str(Path("here")), "00", False, Once(lambda: contents))
    assert source.splits["train"][0].read().pixels.shape == (2, 2, 1)
