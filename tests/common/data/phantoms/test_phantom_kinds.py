"""Specification of what every kind of phantom keeps."""

import subprocess
import sys

import numpy as np
import pytest

from common.data.phantoms import KINDS, Phantoms
from tests.combinations import combinations

ALL = pytest.mark.parametrize("name", KINDS)


def arrays(phantoms: Phantoms) -> list[np.ndarray]:
    """Images, labels and, where there are some, masks and targets."""
    every = (phantoms.images, phantoms.labels, phantoms.masks, phantoms.targets)
    return [array for array in every if array is not None]


def test_kinds_are_named_after_the_data_that_they_stand_in_for() -> None:
    medical = {"covid_ct", "brain_mri", "chest_xray", "mri_pair"}
    assert set(KINDS) == medical | {"digits", "sunflower", "gaussian"}


@pytest.mark.parametrize(
    ("name", "size"), combinations(list(KINDS), [28, 64, 100, 256], together=1)
)
def test_images_labels_masks_and_targets_have_the_documented_types_and_shapes(
    name: str, size: int
) -> None:
    kind = KINDS[name]
    phantoms = kind.draw(0, 3, size)
    assert phantoms.images.shape == (3, size, size, kind.channels)
    assert phantoms.images.dtype == np.uint8
    assert phantoms.labels.shape == (3,)
    assert phantoms.labels.dtype == np.int32
    assert (phantoms.masks is not None) == bool(kind.mask_classes)
    if phantoms.masks is not None:
        assert phantoms.masks.shape == (3, size, size)
        assert phantoms.masks.dtype == np.uint8
        assert set(np.unique(phantoms.masks)) == {0, 1}
        assert kind.mask_classes[0] == "background"
        assert len(kind.mask_classes) == 2
    assert (phantoms.targets is not None) == (name == "mri_pair")


@ALL
def test_no_images_is_an_empty_set(name: str) -> None:
    for array in arrays(KINDS[name].draw(0, 0, 32)):
        assert len(array) == 0


@ALL
def test_classes_are_balanced_and_take_turns(name: str) -> None:
    num_classes = len(KINDS[name].classes)
    labels = KINDS[name].draw(0, 40, 28).labels
    np.testing.assert_array_equal(labels, np.arange(40) % num_classes)


@ALL
def test_the_same_seed_gives_the_same_set_and_another_seed_other_images(name: str) -> None:
    first, again, other = (KINDS[name].draw(seed, 6, 64) for seed in (7, 7, 8))
    for array, counterpart in zip(arrays(first), arrays(again), strict=True):
        np.testing.assert_array_equal(array, counterpart)
    for image, counterpart in zip(first.images, other.images, strict=True):
        assert np.mean(image != counterpart) > 0.05


@pytest.mark.parametrize(("name", "size"), combinations(list(KINDS), [28, 100], together=1))
def test_an_image_does_not_depend_on_how_many_are_drawn(name: str, size: int) -> None:
    many = arrays(KINDS[name].draw(0, 45, size))
    for num in (1, 4, 21):
        for few, array in zip(arrays(KINDS[name].draw(0, num, size)), many, strict=True):
            np.testing.assert_array_equal(few, array[:num])


@ALL
def test_no_two_images_are_alike(name: str) -> None:
    images = KINDS[name].draw(0, 200, 32).images
    assert len({image.tobytes() for image in images}) == 200


# A gaussian phantom is no drawing: its pixels are independent, so a larger one shows others.
@pytest.mark.parametrize("name", [name for name in KINDS if name != "gaussian"])
def test_every_size_shows_the_same_drawing(name: str) -> None:
    small, large = KINDS[name].draw(3, 4, 64), KINDS[name].draw(3, 4, 256)
    for drawn, finer in zip(arrays(small), arrays(large), strict=True):
        if drawn.ndim > 1:
            shrunk = finer.reshape(4, 64, 4, 64, 4, -1).mean(axis=(2, 4))
            for index in range(4):
                if drawn[index].any():
                    same = np.corrcoef(drawn[index].ravel(), shrunk[index].ravel())[0, 1]
                    assert same > 0.9


def test_a_training_set_is_drawn_in_seconds() -> None:
    # In an interpreter of its own, where no types are checked at run time
    measure = """if True:
        import time
        from common.data.phantoms import KINDS
        for kind in KINDS.values():
            kind.draw(0, 10, 64)
            started = time.process_time()
            kind.draw(0, 200, 64)
            print(200 / (time.process_time() - started))
    """
    done = subprocess.run([sys.executable, "-c", measure], capture_output=True, check=True)
    images_a_second = dict(zip(KINDS, map(float, done.stdout.split()), strict=True))
    assert images_a_second["covid_ct"] > 300
    assert images_a_second["digits"] > 3000
    assert images_a_second["gaussian"] > 3000
    assert images_a_second["sunflower"] > 500
    assert min(images_a_second.values()) > 100
