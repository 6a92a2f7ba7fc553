"""Preparing: once, whole, found again, and the same pixels however it was done."""

import re
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common.config.defaults import default_config
from common.data.prepared import preparation
from common.data.prepared.prepared import DataCard, prepare
from common.program.errors import UserError
from tests.common.inspect.conftest import picture


@pytest.fixture
def data(tmp_path):
    config = default_config().data
    config.update(
        name="test", dir=str(tmp_path / "data"), image_size=8, cache_dir=str(tmp_path / "cache")
    )
    rng = np.random.default_rng(0)
    for split, count in (("train", 6), ("val", 3)):
        for label in ("A", "B"):
            folder = tmp_path / "data" / split / label
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 255, (9 + i, 12), np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")
    return config


def test_a_prepared_set_has_every_image_with_its_label_and_id(data):
    prepared = prepare(data)
    card = prepared.card
    assert (card.classes, card.synthetic, card.skipped) == (("A", "B"), False, 0)
    assert card.num_examples == {"train": 12, "val": 6}
    batch = prepared.splits["train"].read(range(12))
    assert batch["image"].shape == (12, 8, 8, 1) and batch["image"].dtype == np.uint8
    assert batch["label"].tolist() == [0] * 6 + [1] * 6
    assert prepared.splits["train"].labels == (0,) * 6 + (1,) * 6
    assert prepared.splits["val"].ids[:2] == ("val/A/0.png", "val/A/1.png")


def test_an_image_that_fits_is_stored_as_it_is(data, tmp_path):
    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8)
    Image.fromarray(pixels).save(tmp_path / "data" / "train" / "A" / "0.png")
    stored = prepare(data).splits["train"].read([0])["image"]
    np.testing.assert_array_equal(stored[0, :, :, 0], pixels)


def test_the_second_start_decodes_nothing(data, monkeypatch):
    first = prepare(data)
    monkeypatch.setattr(preparation, "fit_image", None)
    started = time.perf_counter()
    second = prepare(data)
    assert time.perf_counter() - started < 1
    assert second.card == first.card
    for name in first.splits["train"].read([0]):
        np.testing.assert_array_equal(
            first.splits["train"].read([3, 7])[name], second.splits["train"].read([3, 7])[name]
        )


@pytest.mark.parametrize(("field", "value"), [("image_size", 10), ("channels", 3)])
def test_other_settings_prepare_anew(data, field, value):
    before = prepare(data).card.fingerprint
    data[field] = value
    assert prepare(data).card.fingerprint != before


def colour(data, share):
    """Gives this share of the images, those of each class alike, a colour."""
    for file in Path(data.dir).rglob("*.png"):
        if int(file.stem) < share * 6:
            Image.new("RGB", (12, 9), (200, 10, 60)).save(file)


@pytest.mark.parametrize(("share", "channels"), [(0, 1), (0.3, 1), (1, 3)])
def test_no_channels_are_those_of_most_images(data, share, channels):
    data.channels = 0
    colour(data, share)
    for _ in range(2):  # also where it is found again
        prepared = prepare(data)
        assert prepared.card.channels == channels
        assert prepared.splits["train"].read([0])["image"].shape == (1, 8, 8, channels)


def test_grey_in_three_equal_channels_is_grey(data):
    data.channels = 0
    for file in Path(data.dir).rglob("*.png"):
        with Image.open(file) as image:
            grey = image.convert("RGB")
        grey.save(file)
    assert prepare(data).card.channels == 1


def test_a_broken_image_says_nothing_of_colours(data):
    data.update(channels=0, on_bad_image="skip")
    colour(data, 1)
    Path(data.dir, "train", "A", "0.png").write_bytes(b"")
    card = prepare(data).card
    assert (card.channels, card.skipped) == (3, 1)


def patients(data, name):
    """Renames the images so that three of a class are one patient's."""
    for file in Path(data.dir).rglob("*.png"):
        number = int(file.stem) + 6 * (file.parts[-3] == "val")
        file.rename(file.with_name(name.format(file.parts[-2], number // 3, number % 3)))


def test_made_splits_that_part_what_names_suggest_are_said(data, caplog):
    """A leak of patients is never silent, and the sentence has the setting that mends it."""
    patients(data, "{}{}_{}.png")
    with caplog.at_level("WARNING"):
        prepare(data)
    assert "patients" not in caplog.text  # given splits are for --mode=inspect to judge
    data.splits = "50,25,25"
    with caplog.at_level("WARNING"):
        prepare(data)
    assert "suggest 6 groups" in caplog.text
    (setting,) = re.findall(r"--config\.data\.group='(.+)'", caplog.text)
    caplog.clear()
    data.group = setting
    with caplog.at_level("WARNING"):
        prepared = prepare(data)
    card, splits = prepared.card, prepared.splits
    assert "patients" not in caplog.text
    assert card.num_patients == {name: len({*split.groups}) for name, split in splits.items()}
    assert sum(card.num_patients.values()) == 6


def test_the_cards_fingerprint_is_of_the_content_not_of_its_place(data, tmp_path):
    before = prepare(data).card.fingerprint
    (tmp_path / "data").rename(tmp_path / "moved")
    data.dir = str(tmp_path / "moved")
    assert prepare(data).card.fingerprint == before


def test_a_failure_leaves_nothing_in_the_cache(data, tmp_path):
    (tmp_path / "data" / "val" / "B" / "0.png").write_bytes(b"not an image")
    with pytest.raises(UserError, match=r"0\.png"):
        prepare(data)
    assert not list((tmp_path / "cache" / "prepared").iterdir())


@pytest.mark.parametrize(("broken", "advised"), [(1, True), (8, True), (10, False), (18, False)])
def test_leaving_images_out_is_advised_where_few_are_wrong(data, tmp_path, broken, advised):
    for file in sorted((tmp_path / "data").rglob("*.png"))[:broken]:
        file.write_bytes(b"not an image")
    with pytest.raises(UserError, match=r"0\.png") as raised:
        prepare(data)
    assert ("on_bad_image=skip" in str(raised.value)) == advised
    assert ("correct rather than skip them" in str(raised.value)) != advised


def test_skipping_counts_and_keeps_the_rest(data, tmp_path):
    (tmp_path / "data" / "val" / "B" / "0.png").write_bytes(b"not an image")
    data.on_bad_image = "skip"
    card = prepare(data).card
    assert (card.skipped, card.num_examples["val"]) == (1, 5)


def test_a_class_of_which_nothing_can_be_read_is_an_error_even_when_skipping(data, tmp_path):
    for file in (tmp_path / "data" / "train" / "B").iterdir():
        file.write_bytes(b"not an image")
    data.on_bad_image = "skip"
    with pytest.raises(UserError, match="B"):
        prepare(data)


def test_phantoms_say_that_they_are_drawings(tmp_path):
    data = default_config("tiny").data
    data.update(name="covid_ct", image_size=16, num_phantoms=8, cache_dir=str(tmp_path))
    card = prepare(data).card
    assert card.synthetic and "not patients" in card.caption


def test_a_card_survives_json():
    card = DataCard("x", ("A", "B"), {"train": 3}, 8, 1, "f", False, 0)
    assert DataCard.from_dict(card.to_dict()) == card


def turned(pixels, degrees):
    return np.asarray(Image.fromarray(pixels).rotate(degrees, Image.Resampling.BICUBIC))


@pytest.fixture
def with_copies(tmp_path):
    """Twenty pictures, of which six are there again: equal, turned or mirrored."""
    config = default_config().data
    folder = tmp_path / "scans"
    config.update(dir=str(folder), image_size=8, cache_dir=str(tmp_path / "cache"))
    changes = (np.copy, partial(turned, degrees=3), np.fliplr)
    for k in range(20):
        pixels = picture(k)
        for name, change in (("", np.copy), *((("_again", changes[k % 3]),) if k < 6 else ())):
            path = folder / "AB"[k % 2] / f"{k}{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(change(pixels)).save(path)
    return config


def places(prepared):
    """The split of each image."""
    return {name: split for split, held in prepared.splits.items() for name in held.ids}


def test_copies_and_near_copies_are_in_one_split(with_copies):
    for seed in range(4):
        with_copies.update(splits="50,25,25", split_seed=seed)
        split_of = places(prepare(with_copies))
        assert len(split_of) == 26
        for k in range(6):
            name = f"{'AB'[k % 2]}/{k}"
            assert split_of[f"{name}.png"] == split_of[f"{name}_again.png"]


def test_copies_are_dropped_or_kept_as_asked_from_the_same_prepared_set(with_copies, tmp_path):
    with_copies.splits = "50,25,25"
    with_copies.copies = "drop"
    assert len(places(prepare(with_copies))) == 20
    with_copies.copies = "keep"
    split_of = places(prepare(with_copies))
    parted = [
        k
        for k in range(6)
        if len({split_of[f"{'AB'[k % 2]}/{k}{again}.png"] for again in ("", "_again")}) > 1
    ]
    assert parted
    assert len(list((tmp_path / "cache" / "prepared").iterdir())) == 1


def test_copies_across_given_splits_are_said(with_copies, tmp_path, caplog):
    for label in "AB":
        for kind in ("train", "test"):
            (tmp_path / "given" / kind / label).mkdir(parents=True)
        for file in (tmp_path / "scans" / label).iterdir():
            kind = "test" if "again" in file.name or int(file.stem) > 15 else "train"
            file.rename(tmp_path / "given" / kind / label / file.name)
    with_copies.dir = str(tmp_path / "given")
    with caplog.at_level("WARNING", "triptych"):
        assert prepare(with_copies).card.num_examples == {"train": 16, "test": 10}
    assert "6 pictures are in several splits" in caplog.text
    caplog.clear()
    with_copies.copies = "keep"
    prepare(with_copies)
    assert not caplog.text


def test_covid_ct_is_prepared_with_the_authors_splits(shared_data, tmp_path):
    data = default_config().data
    data.update(dir=str(shared_data / "covid_ct"), cache_dir=str(tmp_path))
    card = prepare(data).card
    assert card.classes == ("COVID", "NonCOVID")
    assert card.num_examples == {"train": 425, "val": 118, "test": 203}
