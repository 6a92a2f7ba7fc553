"""Pairs to translate: which image is whose target, and those that are one image twice."""

import numpy as np
import pytest
from PIL import Image

from common.config.defaults import default_config
from common.data.equal_pairs import are_equal, rows_of_equal_pairs
from common.data.prepared.prepared import prepare
from common.program.errors import UserError

RNG = np.random.default_rng(0)
SIZE = 8


@pytest.fixture
def write(tmp_path):
    """Writes pictures by their paths below a folder, and returns settings to read it."""

    def files(pictures, **changes):
        for name, pixels in pictures.items():
            file = tmp_path / "data" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(file)
        data = default_config().data
        data.update(dir=str(tmp_path / "data"), image_size=SIZE, cache_dir=str(tmp_path / "cache"))
        data.update(changes)
        return data

    return files


def noise(*more):
    return RNG.integers(0, 256, (SIZE, SIZE, *more), np.uint8)


def stored(data, name):
    train = prepare(data).splits["train"]
    return train.read(range(len(train)))[name][..., 0]


@pytest.mark.parametrize(("take", "image", "target"), [("R>G", 0, 1), ("G>R", 1, 0), ("B>G", 2, 1)])
def test_channels_of_colour_images_are_pairs(write, take, image, target):
    pixels = noise(3)
    data = write({"a.png": pixels}, take=take)
    np.testing.assert_array_equal(stored(data, "image")[0], pixels[..., image])
    np.testing.assert_array_equal(stored(data, "target")[0], pixels[..., target])


def test_one_channel_is_an_image_without_a_target(write):
    pixels = noise(3)
    data = write({"a.png": pixels}, take="G")
    np.testing.assert_array_equal(stored(data, "image")[0], pixels[..., 1])
    assert not prepare(data).card.has_targets


@pytest.mark.parametrize(("take", "first"), [("", "images"), ("target>image", "targets")])
def test_pairs_of_files_go_either_way(write, take, first):
    pictures = {f"{kind}/a.png": noise() for kind in ("images", "targets")}
    data = write(pictures, take=take)
    np.testing.assert_array_equal(stored(data, "image")[0], pictures[f"{first}/a.png"])


def test_pairs_of_files_stay_where_channels_are_asked_for(write, caplog):
    pictures = {f"{kind}/a.png": noise() for kind in ("images", "targets")}
    data = write(pictures, take="R>G")
    np.testing.assert_array_equal(stored(data, "target")[0], pictures["targets/a.png"])
    assert "config.data.take=R>G is not used" in caplog.text


@pytest.mark.parametrize("take", ["R>R", "X", "R>G>B", ">G", "R>", "image>target"])
def test_what_can_not_be_taken_is_refused(write, take):
    with pytest.raises(UserError, match=r"config.data.take is .*; it must be"):
        prepare(write({"a.png": noise(3)}, take=take))


@pytest.mark.parametrize(
    ("pictures", "changes", "sentence"),
    [
        ({"images/a.png": noise(), "targets/a.png": noise()[:4]}, {}, "has 8x4 pixels, its image"),
        ({"images/a.png": noise(), "targets/a.png": noise(3)}, {}, "is in colour and its image is"),
        (
            {"images/a.png": noise(), "images/b.png": noise(), "targets/a.png": noise()},
            {},
            "No target has the name of 1 of 2 files",
        ),
        ({"a.png": noise()}, {"take": "target>image"}, "but the images have no targets"),
        ({"a.png": noise()}, {"take": "R>G"}, "In every pair the target equals the image"),
    ],
    ids=["another size", "other channels", "no target", "nothing to exchange", "one image twice"],
)
def test_what_is_no_pair_is_refused(write, pictures, changes, sentence):
    with pytest.raises(UserError) as raised:
        prepare(write(pictures, **changes))
    assert sentence in str(raised.value)


def test_images_are_equal_if_rounding_alone_sets_them_apart():
    image = noise(1)
    nearly = image.astype(int) + RNG.integers(-1, 2, image.shape)
    assert are_equal(image, nearly.clip(0, 255).astype(np.uint8))
    assert not are_equal(image, noise(1))


def test_a_patient_is_left_out_if_most_pairs_are_equal():
    owners = ["p1", "p1", "p1", "p2", "p2", "p3"]
    equal = [True, True, False, True, False, False]
    assert rows_of_equal_pairs(equal, owners).tolist() == [0, 1, 2]
    assert rows_of_equal_pairs((), owners).size == 0


def test_such_patients_are_left_out_of_every_split(write, caplog):
    grey = noise()
    pictures = {
        f"{split}/images/{split}{patient}_1.png": (
            np.stack([grey] * 3, -1) if patient == "A" else noise(3)
        )
        for split in ("train", "val", "test")
        for patient in "AB"
    }
    pictures |= {name.replace("images", "masks"): noise() // 255 for name in pictures}
    data = write(pictures, take="R>G", group="(.+)_")
    assert prepare(data).card.num_examples == {"train": 1, "val": 1, "test": 1}
    assert "left out: 3 pairs whose target equals the image, those of testA" in caplog.text
    data.equal_pairs = "keep"
    assert prepare(data).card.num_examples == {"train": 2, "val": 2, "test": 2}
