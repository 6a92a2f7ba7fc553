"""Real images of every kind come in by one line of config, as they lie or zipped."""

import zipfile

import numpy as np
import pytest

from common.config.defaults import default_config
from common.data.prepared.prepared import prepare

COVID = ("COVID", "NonCOVID")
DIGITS = tuple("0123456789")

# name: (settings beside dir, classes, examples by split)
SETS = {
    "covid_ct": ({}, COVID, {"train": 425, "val": 118, "test": 203}),
    "covid_ct_originals": ({"fit": "pad"}, COVID, {"train": 30}),
    "chest_xray": ({"fit": "crop"}, ("NORMAL", "PNEUMONIA"), {"train": 2682, "test": 624}),
    "brain_mri": (
        {"channels": 3, "group": "(.+)_"},
        ("brain_mri",),
        {"train": 1323, "val": 159, "test": 347},
    ),
    "mnist": ({"image_size": 28}, DIGITS, {"train": 60_000, "test": 10_000}),
    "sunflower": ({"channels": 3}, ("sunflower",), {"train": 561}),
}
LARGE = ("chest_xray", "brain_mri", "mnist", "sunflower")  # other tests read parts of them


def settings(folder, cache, **changes):
    data = default_config().data
    data.update(dir=str(folder), image_size=32, cache_dir=str(cache))
    data.update(changes)
    return data


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] * (name in LARGE)) for name in SETS],
)
def test_a_set_is_prepared_as_it_lies_and_zipped(name, shared_data, tmp_path):
    changes, classes, num_examples = SETS[name]
    prepared = prepare(settings(shared_data / name, tmp_path, **changes))
    card = prepared.card
    assert card.classes == classes and card.num_examples == num_examples
    for split in prepared.splits.values():
        batch = split.read([0, len(split) - 1])
        assert batch["image"].shape[1:] == (card.image_size, card.image_size, card.channels)
        assert batch["image"].std() > 0

    archive = tmp_path / f"{name}.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted((shared_data / name).rglob("*")):
            file.write(path, path.relative_to(shared_data))
    assert prepare(settings(archive, tmp_path, **changes)).card.fingerprint == card.fingerprint


@pytest.fixture
def cache(tmp_path_factory):
    """Where the same images are decoded once, however they are split."""
    return tmp_path_factory.getbasetemp() / "decoded"


@pytest.mark.slow  # decodes 3,658 files
def test_brain_mri_has_its_masks_and_its_patients(shared_data, cache):
    prepared = prepare(settings(shared_data / "brain_mri", cache, group="(.+)_"))
    assert prepared.card.mask_classes == ("background", "foreground")
    for split in prepared.splits.values():
        masks = split.read(range(len(split)))["mask"]
        assert set(np.unique(masks)) == {0, 1} and 0.005 < masks.mean() < 0.1
    patients = [set(split.groups) for split in prepared.splits.values()]
    assert [len(names) for names in patients] == [77, 11, 22]
    assert len(set.union(*patients)) == 110


@pytest.mark.slow  # decodes 3,658 files
@pytest.mark.parametrize("fold", range(5))
def test_no_patient_is_in_two_splits_however_they_are_made(fold, shared_data, cache):
    data = settings(shared_data / "brain_mri", cache, group="(.+)_")
    data.update(splits="70,10,20", folds=5, fold=fold, split_seed=fold % 2)
    splits = prepare(data).splits
    patients = [set(split.groups) for split in splits.values()]
    assert list(splits) == ["train", "val", "test"] and sum(map(len, patients)) == 110
    assert len(set.union(*patients)) == 110
    assert abs(len(splits["test"]) / 1829 - 0.2) < 0.03
