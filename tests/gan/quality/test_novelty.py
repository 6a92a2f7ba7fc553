"""Whether images of a run are new, on phantoms."""

import numpy as np
import pytest
from PIL import Image

from common.data.phantoms import KINDS
from common.data.prepared.prepared import prepare
from configs import acgan_covid
from gan.quality.features import make_extractors
from gan.quality.novelty import check_memorization, distance_test
from gan.quality.reference import reference_of
from gan.quality.sample import Sample

SIZE = 16
EXTRACTORS = make_extractors("radiomic", SIZE, 1)


@pytest.fixture(scope="module")
def prepared():
    return prepare(acgan_covid.get_config("tiny").data)


def brightness(images, labels):
    return images.mean((1, 2, 3))


def judged(prepared, images, folder, mirrored=False):
    reference = reference_of(prepared, "train", True, EXTRACTORS, "")
    features = {"radiomic": EXTRACTORS[0].extract(images)}
    labels = np.arange(len(images)) % 2
    sample = Sample(images, labels, features)
    return check_memorization(folder, prepared, reference, sample, brightness, mirrored)


def test_copies_of_training_images_are_found(prepared, tmp_path):
    train_split = prepared.splits["train"]
    copies = train_split.read(range(len(train_split)))["image"]
    found = judged(prepared, copies, tmp_path)
    assert found.memorized and found.verdict.startswith("The generator repeats training")
    assert found.spaces["pixels"].suspicious > 0.9 * found.spaces["pixels"].generated
    with Image.open(tmp_path / "memorization.png") as picture:
        assert picture.width > 3 * SIZE


def test_a_twentieth_of_copies_among_new_images_is_found(prepared, tmp_path):
    images = KINDS["covid_ct"].draw(77, 200, SIZE).images.copy()
    images[::20] = prepared.splits["train"].read(range(10))["image"]
    found = judged(prepared, images, tmp_path)
    assert found.memorized
    for space in found.spaces.values():
        assert space.copies == 10 and space.p_value > 0.01


def test_mirrored_copies_are_found_where_training_images_were_mirrored(prepared, tmp_path):
    train_split = prepared.splits["train"]
    copies = train_split.read(range(len(train_split)))["image"][:, :, ::-1]
    found = judged(prepared, copies, tmp_path, mirrored=True)
    assert found.memorized and found.spaces["pixels"].training == 2 * len(train_split)


def test_a_part_of_the_training_images_allows_no_good_verdict(prepared, tmp_path):
    reference = reference_of(prepared, "train", True, EXTRACTORS, "", most=40)
    images = KINDS["covid_ct"].draw(77, 60, SIZE).images
    features = {"radiomic": EXTRACTORS[0].extract(images)}
    labels = np.arange(60) % 2
    sample = Sample(images, labels, features)
    found = check_memorization(tmp_path, prepared, reference, sample, brightness, False)
    assert not found.can_tell and "Only 40 of 64 training images" in found.verdict


def test_new_images_are_not_accused(prepared, tmp_path):
    found = judged(prepared, KINDS["covid_ct"].draw(77, 100, SIZE).images, tmp_path)
    assert not found.memorized and found.verdict.startswith("No sign of memorisation")
    assert 0 <= found.membership.value <= 1


def test_without_enough_held_out_images_nothing_is_claimed(tmp_path):
    config = acgan_covid.get_config("tiny")
    config.data.num_phantoms = 32  # and 8 of each held-out split
    prepared = prepare(config.data)
    found = judged(prepared, KINDS["covid_ct"].draw(77, 100, SIZE).images, tmp_path)
    assert not found.can_tell and "16 held-out images are too few to tell" in found.verdict


@pytest.mark.parametrize("mirrored", [False, True])
def test_single_images_that_are_too_near_are_told_from_new_ones(prepared, mirrored):
    extractors = make_extractors("pixels", SIZE, 1)  # radiomic features know no left and right
    reference = reference_of(prepared, "train", True, extractors, "")
    far = distance_test(prepared, reference, mirrored)
    train_split = prepared.splits["train"]
    copies = train_split.read(range(len(train_split)))["image"]
    assert not far(copies).any()
    assert far(copies[:, :, ::-1]).any() != mirrored
    new = KINDS["covid_ct"].draw(77, 100, SIZE).images
    both = far(np.concatenate([copies[:3], new]))
    assert not both[:3].any() and both[3:].mean() > 0.7
