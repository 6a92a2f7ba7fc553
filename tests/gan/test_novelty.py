"""Whether images of a run are new, on phantoms."""

import pytest
from PIL import Image

from common.data.phantoms import KINDS
from common.data.prepared import prepare
from configs import acgan_covid
from gan.features import make_extractors
from gan.novelty import judged_new
from gan.quality import reference_of

SIZE = 16
EXTRACTORS = make_extractors("radiomic", SIZE, 1)


@pytest.fixture(scope="module")
def prepared():
    return prepare(acgan_covid.get_config("tiny").data)


def judged(prepared, images, folder):
    reference = reference_of(prepared, "train", True, EXTRACTORS, "")
    features = {"radiomic": EXTRACTORS[0].extract(images)}
    return judged_new(folder, prepared, reference, images, features, lambda x: x.mean((1, 2, 3)))


def test_copies_of_training_images_are_found(prepared, tmp_path):
    train_split = prepared.splits["train"]
    copies = train_split.read(range(len(train_split)))["image"]
    found = judged(prepared, copies, tmp_path)
    assert found["memorized"] and found["verdict"].startswith("The generator repeats training")
    assert found["spaces"]["pixels"]["suspicious"] == len(copies)
    with Image.open(tmp_path / "memorization.png") as picture:
        assert picture.width > 3 * SIZE


def test_new_images_are_not_accused(prepared, tmp_path):
    found = judged(prepared, KINDS["covid_ct"].draw(77, 100, SIZE).images, tmp_path)
    assert not found["memorized"] and found["verdict"].startswith("No sign of memorisation")
    assert 0 <= found["membership_auc"]["value"] <= 1


def test_without_enough_held_out_images_nothing_is_claimed(tmp_path):
    config = acgan_covid.get_config("tiny")
    config.data.num_phantoms = 32  # and 8 of each held-out split
    prepared = prepare(config.data)
    found = judged(prepared, KINDS["covid_ct"].draw(77, 100, SIZE).images, tmp_path)
    assert not found["can_tell"] and "cannot be told from 16 held-out images" in found["verdict"]
