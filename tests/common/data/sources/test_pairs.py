"""Specification of `pairs`: images with masks, or with images to translate them to."""

import logging
import os
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from common.config.defaults import default_config
from common.data.prepared.prepared import prepare
from common.data.records import Source
from common.data.sources.open import open_source
from common.data.sources.pairs import holds_pairs
from common.program.errors import UserError

Fill = Callable[..., Path]


def opened(folder: Path, **changes) -> Source:
    data = default_config().data
    data.update(dir=str(folder), **changes)
    return open_source(data)


@pytest.fixture
def fill(tmp_path) -> Fill:
    """Makes files below a new folder: a mask of 0 and 1 where the name says so, else an image."""

    def make(*names: str, root: str = "scans") -> Path:
        folder = tmp_path / root
        for place, name in enumerate(names):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.full((4, 6), 10 + place, np.uint8)
            if "mask" in name.lower() or "label" in name:
                pixels = np.tri(4, 6, place, dtype=np.uint8)
            if path.suffix:
                Image.fromarray(pixels).save(path)
            else:
                path.mkdir(exist_ok=True)
        return folder

    return make


def partner(source: Source) -> dict[str, str]:
    """Which of the masks that `fill` made belongs to which image, by the number of ones in it."""
    found = {}
    for records in source.splits.values():
        for record in records:
            assert record.read_mask is not None
            found[record.id] = record.read_mask()
    return {name: int(mask.sum()) for name, mask in found.items()}


def ones(place: int) -> int:
    return int(np.tri(4, 6, place).sum())


# Layouts


def test_masks_have_the_names_of_their_images(fill):
    source = opened(fill("images/a.png", "images/b.jpg", "masks/b.png", "masks/a.tif"))
    assert source.classes == ("scans",)
    assert source.mask_classes == ("background", "foreground")
    assert partner(source) == {"images/a.png": ones(3), "images/b.jpg": ones(2)}
    record = source.splits["train"][0]
    assert record.path is not None and record.path.name == "a.png"
    assert record.label == 0 and record.read_target is None
    assert (record.read().pixels == 10).all()


@pytest.mark.parametrize(
    ("images", "masks"),
    [("images", "masks"), ("image", "mask"), ("images", "labels"), ("Images", "Masks")],
)
def test_the_folders_are_known_by_a_few_names(fill, images, masks):
    source = opened(fill(f"{images}/a.png", f"{masks}/a.png", "notes/"))
    assert partner(source) == {f"{images}/a.png": ones(1)}


def test_folders_inside_are_part_of_the_name(fill):
    source = opened(fill("images/p1/a.png", "images/p2/a.png", "masks/p2/a.png", "masks/p1/a.png"))
    assert partner(source) == {"images/p1/a.png": ones(3), "images/p2/a.png": ones(2)}


def test_mask_may_stand_behind_the_name_of_a_mask(fill):
    source = opened(fill("images/a.jpg", "images/b.jpg", "masks/a_mask.png", "masks/b.png"))
    assert partner(source) == {"images/a.jpg": ones(2), "images/b.jpg": ones(3)}


def test_split_folders_lie_above(fill):
    names = [f"{split}/{kind}/a.png" for split in ("Train", "val") for kind in ("images", "masks")]
    source = opened(fill(*names))
    assert {split: [record.id for record in held] for split, held in source.splits.items()} == {
        "train": ["Train/images/a.png"],
        "val": ["val/images/a.png"],
    }


def test_masks_may_lie_beside_their_images_at_any_depth(fill):
    source = opened(fill("p1/a_1.tif", "p1/a_1_mask.tif", "p2/a_1.tif", "p2/a_1_mask.tif"))
    assert partner(source) == {"p1/a_1.tif": ones(1), "p2/a_1.tif": ones(3)}


def test_masks_beside_their_images_may_have_split_folders_above(fill):
    source = opened(fill("train/p/a.tif", "train/p/a_mask.tif", "test/b.tif", "test/b_mask.tif"))
    assert list(source.splits) == ["train", "test"]


def test_targets_are_images_of_the_same_names(fill):
    source = opened(fill("images/a.png", "images/b.png", "targets/a.jpg", "targets/b.png"))
    assert source.mask_classes == ()
    records = source.splits["train"]
    assert all(record.read_mask is None for record in records)
    targets = [record.read_target() for record in records if record.read_target]
    assert [int(target.pixels[0, 0, 0]) for target in targets] == [12, 13]


def test_masks_and_targets_may_both_be_there(fill):
    record = opened(fill("images/a.png", "masks/a.png", "targets/a.png")).splits["train"][0]
    assert record.read_mask is not None and record.read_target is not None


@pytest.mark.parametrize(
    "names",
    [
        ("images/a.png",),
        ("images/a.png", "COVID/a.png"),
        ("masks/a.png", "COVID/a.png"),
        ("train/images/a.png", "train/COVID/a.png"),
        ("COVID/a_mask.png", "COVID/b.png"),
    ],
)
def test_a_folder_of_classes_stays_one_whatever_its_classes_are_called(fill, names):
    folder = fill(*names)
    assert not holds_pairs(folder)
    assert opened(folder).mask_classes == ()


def test_a_class_may_hold_one_name_with_two_endings(fill):
    assert len(opened(fill("COVID/a.png", "COVID/a.jpg")).splits["train"]) == 2


# By order


def test_by_order_the_first_goes_with_the_first_and_2_comes_before_10(fill, caplog):
    names = ("images/p2.png", "images/p10.png", "masks/m10.png", "masks/m2.png")
    with caplog.at_level(logging.INFO, "triptych"):
        source = opened(fill(*names), pairs="sorted")
        assert partner(source) == {"images/p2.png": ones(3), "images/p10.png": ones(2)}
    assert "p2.png with m2.png, ..., p10.png with m10.png" in caplog.text


def test_by_order_mask_behind_a_name_does_not_change_its_place(fill):
    folder = fill("images/1.png", "images/1-b.png", "masks/1_mask.png", "masks/1-b_mask.png")
    assert partner(opened(folder, pairs="sorted")) == partner(opened(folder))


def test_by_order_only_as_many_can_be_paired(fill):
    folder = fill("images/a.png", "images/b.png", "masks/c.png")
    with pytest.raises(UserError, match=r"2 images such as .*a\.png .* 1 masks such as .*c\.png"):
        opened(folder, pairs="sorted")


# Meanings


def test_the_values_of_masks_have_the_meanings_of_the_setting(fill):
    folder = fill("images/a.png", "masks/a.png")
    Image.fromarray(np.array([[0, 128, 255]], np.uint8)).save(folder / "masks" / "a.png")
    source = opened(folder, mask_values="0=background,128=oedema,255=tumour")
    assert source.mask_classes == ("background", "oedema", "tumour")
    read = source.splits["train"][0].read_mask
    assert read is not None and read().tolist() == [[0, 1, 2]]
    read = opened(folder).splits["train"][0].read_mask
    with pytest.raises(UserError, match=r"masks/a\.png holds the values 128"):
        assert read is not None and read()


def test_volumes_are_paired_slice_by_slice(tmp_path):
    values = np.arange(2 * 3 * 4, dtype=np.int16).reshape(2, 3, 4)
    for folder, volume in (("images", values), ("labels", (values % 5 == 0).astype(np.int16))):
        (tmp_path / folder).mkdir()
        nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), tmp_path / folder / "p1.nii.gz")
    records = opened(tmp_path, window="0,24").splits["train"]
    assert [record.id for record in records] == [f"images/p1.nii.gz#{i:03d}" for i in range(4)]
    masks = [record.read_mask() for record in records if record.read_mask]
    assert [int(mask.sum()) for mask in masks] == [
        int((values[..., place] % 5 == 0).sum()) for place in range(4)
    ]


def test_a_mask_of_more_or_fewer_slices_is_refused_when_it_is_read(tmp_path):
    for folder, length in (("images", 4), ("masks", 3)):
        (tmp_path / folder).mkdir()
        volume = np.zeros((2, 3, length), np.int16)
        nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), tmp_path / folder / "p1.nii.gz")
    read = opened(tmp_path, window="0,24").splits["train"][0].read_mask
    with pytest.raises(UserError, match=r"images/p1\.nii\.gz holds 4 images but .*p1\.nii\.gz 3"):
        assert read is not None and read()
    (tmp_path / "masks" / "p1.nii.gz").write_bytes(b"nothing")
    read = opened(tmp_path, window="0,24").splits["train"][0].read_mask
    with pytest.raises(UserError, match=r"masks/p1\.nii\.gz is"):
        assert read is not None and read()


def test_pairs_are_prepared_with_masks_and_targets(fill, tmp_path):
    names = [f"{kind}/{name}.png" for kind in ("images", "masks", "targets") for name in "ab"]
    data = default_config().data
    data.update(dir=str(fill(*names)), image_size=8, fit="pad", cache_dir=str(tmp_path / "cache"))
    prepared = prepare(data)
    assert prepared.card.mask_classes == ("background", "foreground") and prepared.card.has_targets
    batch = prepared.splits["train"].read([0, 1])
    assert batch["mask"].shape == (2, 8, 8) and batch["mask"].max() == 1
    assert batch["target"].shape == (2, 8, 8, 1)


def test_a_mask_of_another_size_is_refused_when_it_is_prepared(fill, tmp_path):
    folder = fill("images/a.png", "masks/a.png")
    Image.new("L", (6, 5)).save(folder / "masks" / "a.png")
    data = default_config().data
    data.update(dir=str(folder), cache_dir=str(tmp_path / "cache"))
    with pytest.raises(UserError, match=r"mask of images/a\.png has 6x5 pixels, its image 6x4"):
        prepare(data)


# Mistakes


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (
            ("images/a.png", "images/b.png", "masks/a.png"),
            r"No mask .* 1 of 2 files \(\S+/b\.png\)",
        ),
        (
            ("images/a.png", "masks/a.png", "masks/b.png"),
            r"No image .* 1 of 2 files \(\S+/b\.png\)",
        ),
        (
            ("images/a.png", "targets/a.png", "images/b.png", "masks/a.png", "masks/b.png"),
            r"No target .* 1 of 2 files \(\S+/b\.png\).*pairs=sorted",
        ),
        (
            (*(f"images/{name}.png" for name in "abcdef"), "masks/a.png"),
            r"No mask .* 5 of 6 files \(\S+/images/b\.png, c\.png, d\.png, \.\.\.\)",
        ),
        (("p/a.tif", "p/a_mask.tif", "p/b.tif"), r"No mask .* 1 of 2 files \(\S+/p/b\.tif\)"),
        (("p/a.tif", "p/a_mask.tif", "q/b_mask.tif"), r"No image .* \(\S+/q/b_mask\.tif\)"),
        (
            ("images/a.png", "images/a.jpg", "masks/a.png"),
            r"images/a\.\w+ and a\.\w+ have the same",
        ),
        (("images/a.png", "masks/a.jpg", "masks/a.png"), r"masks/a\.\w+ and a\.\w+ have the same"),
        (("images/a.png", "masks/a_mask.png", "masks/a.png"), "have the same name"),
        (("images/a.png", "masks/"), r"masks holds no image, .*\.png"),
        (("images/", "masks/a.png"), "images holds no image"),
        (
            ("images/a.png", "masks/a.png", "labels/a.png"),
            "holds images, labels, masks, two of which",
        ),
        (("images/train/a.png", "masks/train/a.png"), "holds a folder train"),
        (("val/images/a.png", "val/masks/a.png"), "has a folder val but none named train"),
        (
            ("train/images/a.png", "train/masks/a.png", "test/images/a.png"),
            "The test split of .* does not hold images and masks as the train split does",
        ),
        (
            ("train/images/a.png", "val/images/a.png", "val/masks/a.png"),
            "The train split of .* does not hold images and masks as the val split does",
        ),
        (("train/a.tif", "train/a_mask.tif", "test/b.tif"), "The test split of .* does not hold"),
        (("images/a.png", "masks/a.png", "test/b.png"), "holds images beside its split folders"),
    ],
)
def test_what_can_not_be_paired_is_refused(fill, names, sentence):
    with pytest.raises(UserError, match=sentence):
        opened(fill(*names)).contents()


def test_a_wrong_setting_is_refused_before_anything_is_read(fill):
    with pytest.raises(UserError, match=r"config\.data\.mask_values is 'tumour'"):
        opened(fill("images/a.png", "masks/a.png"), mask_values="tumour")


# Fingerprint


@pytest.mark.parametrize("kind", ["images", "masks", "targets"])
def test_the_fingerprint_changes_with_any_file(fill, kind):
    folder = fill("images/a.png", "masks/a.png", "targets/a.png")
    before = opened(folder).fingerprint
    assert opened(folder).fingerprint == before
    os.utime(folder / kind / "a.png", ns=(0, 1))
    assert opened(folder).fingerprint != before


# Real files


def test_real_brain_mri(shared_data):
    source = opened(shared_data / "brain_mri")
    assert source.classes == ("brain_mri",)
    assert source.mask_classes == ("background", "foreground")
    assert {split: len(held) for split, held in source.splits.items()} == {
        "train": 1323,
        "val": 159,
        "test": 347,
    }
    for record in source.splits["val"]:
        assert record.read_mask is not None
        assert record.read_mask().shape == record.read().pixels.shape[:2] == (128, 128)
