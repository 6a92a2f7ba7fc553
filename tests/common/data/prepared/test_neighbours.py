"""`neighbours`: an image is seen with the slices before and after it."""

import nibabel
import numpy as np
import pytest
from PIL import Image

from common.config.defaults import default_config
from common.data.prepared.neighbours import own_slice, stacks_of
from common.data.prepared.prepared import prepare
from common.data.settings import DataSettings
from common.program.errors import UserError

PATIENT = "(.+)_"
RNG = np.random.default_rng(0)
SIZE = 8


def stacks(*ids, neighbours=1, group=PATIENT):
    return stacks_of(ids, [""] * len(ids), DataSettings(neighbours=neighbours, group=group))


def test_slices_are_in_the_order_of_their_numbers_and_the_last_ones_stand_for_those_beyond():
    found = stacks("a_10.png", "a_2.png", "a_3.png")
    assert found == [(2, 0, 0), (1, 1, 2), (1, 2, 0)]
    assert stacks("a_1.png", "a_2.png", neighbours=2) == [(0, 0, 0, 1, 1), (0, 0, 1, 1, 1)]


def test_patients_and_folders_are_stacks_of_their_own():
    found = stacks("a_1.png", "b_2.png", "a_3.png", "left/a_2.png")
    assert found == [(0, 0, 2), (1, 1, 1), (0, 2, 2), (3, 3, 3)]


@pytest.mark.parametrize("group", ["", PATIENT, "no name has this", "column:patient"])
def test_each_volume_is_a_stack_whatever_is_known_of_patients(group):
    found = stacks("a_t1.nii.gz#0", "a_t2.nii.gz#0", "a_t1.nii.gz#1", group=group)
    assert found == [(0, 0, 2), (1, 1, 1), (0, 2, 2)]


@pytest.mark.parametrize(
    ("name", "group", "says"),
    [
        ("a_1.png", "", "whose image a_1.png is, is unknown"),
        ("a_x.jp2", PATIENT, "a_x.jp2 has no place in a stack"),
        ("a_1.dcm", PATIENT, "a_1.dcm has no place in a stack"),
        ("a_1.png", "(.+)-", "does not match"),
    ],
)
def test_an_image_without_a_place_is_refused_in_a_sentence(name, group, says):
    with pytest.raises(UserError, match=says):
        stacks(name, group=group)


def prepared(folder, **changes):
    config = default_config("tiny")
    config.data.update(dir=str(folder), image_size=SIZE, channels=3, group=PATIENT)
    config.data.update(changes)
    return prepare(config.data)


def write_pairs(folder, names):
    for kind, mode in (("images", "RGB"), ("masks", "L")):
        (folder / kind).mkdir(parents=True)
        for name in names:
            pixels = RNG.integers(0, 256 if mode == "RGB" else 2, (SIZE, SIZE, len(mode)))
            picture = Image.fromarray(pixels.astype(np.uint8).squeeze())
            picture.save(folder / kind / f"{name}.png")


def test_an_image_has_the_channels_of_its_stack_and_the_rest_is_as_before(tmp_path):
    write_pairs(tmp_path, ["a_1", "a_2", "b_1", "a_4"])
    alone, seen = prepared(tmp_path), prepared(tmp_path, neighbours=1)
    rows = range(4)
    before, after = (one.splits["train"].read(rows) for one in (alone, seen))
    assert alone.splits["train"].ids == seen.splits["train"].ids
    assert seen.card.channels == 9 and seen.card.slice_channels == 3
    np.testing.assert_array_equal(after["mask"], before["mask"])
    np.testing.assert_array_equal(own_slice(after["image"], 1), before["image"])
    # In the order of their names: a_1, a_2, a_4, b_1.
    expected = [before["image"][list(order)] for order in ((0, 0, 1, 3), rows, (1, 2, 2, 3))]
    np.testing.assert_array_equal(after["image"], np.concatenate(expected, -1))


def test_a_set_without_a_stack_is_refused(tmp_path):
    write_pairs(tmp_path, ["a_1", "b_1"])
    with pytest.raises(UserError, match=r"no two images of .* are of one patient"):
        prepared(tmp_path, neighbours=1)


def test_slices_of_a_volume_need_no_patient(tmp_path):
    volume = RNG.integers(0, 99, (SIZE, SIZE, 3)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), tmp_path / "a.nii")
    images = prepared(tmp_path, neighbours=1, channels=1, group="").splits["train"].read(range(3))
    np.testing.assert_array_equal(images["image"][1, ..., 0], images["image"][0, ..., 1])
    np.testing.assert_array_equal(images["image"][1, ..., 2], images["image"][2, ..., 1])


def test_phantoms_are_their_own_neighbours():
    found = prepared("", name="brain_mri", num_phantoms=4, neighbours=2)
    images = found.splits["train"].read(range(2))["image"]
    assert found.card.channels == 15
    np.testing.assert_array_equal(images, np.tile(own_slice(images, 2), 5))
