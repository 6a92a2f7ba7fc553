"""`data.unlabelled_dir`: further images join training without a label, none of them held out."""

import numpy as np
import pytest
from PIL import Image

from common.config.defaults import check, default_config
from common.config.tasks import rules_of
from common.data.phantoms import lung_ct
from common.data.prepared.prepared import prepare
from common.data.prepared.splits import Table, assign_splits
from common.data.records import FURTHER, UNLABELLED
from common.data.settings import DataSettings
from common.program.errors import UserError

CLASSES = ("A", "B")
# Two images of train and one of each other split, then five further ones.
TABLE = Table(
    tuple(f"{row}.png" for row in range(9)),
    (0, 1, 0, 1, *[UNLABELLED] * 5),
    ("a", "b", "c", "d", "a", "c", "", "", ""),
    ("train", "train", "val", "test", *[FURTHER] * 5),
    pictures=(0, 1, 2, 3, 4, 5, 3, 1, 6),  # row 6 shows what test shows, row 7 what train shows
)


@pytest.mark.parametrize(
    ("copies", "joining"), [("group", [4, 7, 8]), ("keep", [4, 7, 8]), ("drop", [4, 8])]
)
def test_they_join_training_unless_they_are_of_somebody_or_a_picture_held_out(
    copies, joining, caplog
):
    rows = assign_splits(TABLE, TABLE.groups, CLASSES, DataSettings(copies=copies))
    np.testing.assert_array_equal(rows["train"], [0, 1, *joining])
    np.testing.assert_array_equal(rows["val"], [2])
    np.testing.assert_array_equal(rows["test"], [3])
    assert "of config.data.unlabelled_dir left out" in caplog.text


def test_no_share_of_them_is_ever_held_out():
    made = DataSettings(splits="50,25,25")
    rows = assign_splits(TABLE, [""] * 9, CLASSES, made)
    assert {*rows["val"], *rows["test"]} <= {0, 1, 2, 3} and {4, 5, 8} <= {*rows["train"]}


@pytest.fixture
def folders(tmp_path):
    """A folder of four images with labels and one of three without: one is a copy of test's."""
    images = lung_ct(0, 6, 48).images[..., 0]
    places = ("train/A/0", "train/B/1", "test/A/2", "test/B/3")
    own, more = tmp_path / "own", tmp_path / "more"
    for place, image in zip(places, images, strict=False):
        (own / place).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(own / f"{place}.png")
    more.mkdir()
    for number in (3, 4, 5):
        Image.fromarray(images[number]).save(more / f"{number}.png")
    return own, more


def settings(own, more, folder, **changes):
    config = default_config()
    config.data.update(dir=str(own), unlabelled_dir=str(more), cache_dir=str(folder / "cache"))
    config.data.update(image_size=16, **changes)
    return config.data


@pytest.mark.parametrize(("few", "labels"), [(0, [0, 1, -1, -1]), (1, [0, 1, -1, -1])])
def test_a_prepared_set_has_them_in_train_and_says_so(folders, tmp_path, few, labels):
    prepared = prepare(settings(*folders, tmp_path, labels_per_class=few))
    train = prepared.splits["train"]
    assert train.ids[2:] == ("unlabelled_dir/4.png", "unlabelled_dir/5.png")
    np.testing.assert_array_equal(train.read(range(len(train)))["label"], labels)
    assert prepared.card.num_examples == {"train": 4, "test": 2}
    assert prepared.card.class_counts == (1, 1) and prepared.card.classes == CLASSES


def test_phantoms_take_none_and_only_a_pretraining_does(folders, tmp_path):
    with pytest.raises(UserError, match="adds to are phantoms; name your own"):
        prepare(settings("", folders[1], tmp_path, name="digits"))
    config = default_config()
    config.data.unlabelled_dir = "x"
    check(config, rules_of("pretrain"))
    with pytest.raises(UserError, match=r"config\.data\.unlabelled_dir is 'x'; it must be ''"):
        check(config, rules_of("classify"))
