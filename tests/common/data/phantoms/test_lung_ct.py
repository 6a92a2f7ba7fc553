"""Specification of the lung CT phantoms."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from common.data.phantoms import LUNG_CT_CLASSES, Phantoms, lung_ct


@pytest.fixture(scope="module")
def set_of_600() -> Phantoms:
    return lung_ct(0, 600, 64)


def held_out_accuracy(features: np.ndarray, labels: np.ndarray) -> float:
    """Accuracy on the rest of a logistic regression fitted to the first 400."""
    model = LogisticRegression(max_iter=1000).fit(features[:400], labels[:400])
    return float(model.score(features[400:], labels[400:]))


def test_classes_are_balanced_and_alternate(set_of_600: Phantoms) -> None:
    np.testing.assert_array_equal(set_of_600.labels, np.arange(600) % 2)
    assert LUNG_CT_CLASSES == ("COVID", "NonCOVID")


def test_every_size_shows_the_same_anatomy() -> None:
    small = lung_ct(3, 10, 64)
    large = lung_ct(3, 10, 256)
    shrunk = large.images[..., 0].reshape(10, 64, 4, 64, 4).mean(axis=(2, 4))
    shrunk_masks = large.masks.reshape(10, 64, 4, 64, 4).mean(axis=(2, 4)) > 0.5
    for index in range(10):
        same = np.corrcoef(small.images[index].ravel(), shrunk[index].ravel())[0, 1]
        assert same > 0.97
    assert np.mean(small.masks != shrunk_masks) < 0.01


@pytest.mark.parametrize(("size", "num"), [(28, 600), (64, 600), (256, 20)])
def test_masks_mark_lesions_in_every_covid_image_and_in_no_other(size: int, num: int) -> None:
    phantoms = lung_ct(1, num, size)
    marked = phantoms.masks.any(axis=(1, 2))
    np.testing.assert_array_equal(marked, phantoms.labels == LUNG_CT_CLASSES.index("COVID"))


def test_both_lungs_are_affected(set_of_600: Phantoms) -> None:
    masks = set_of_600.masks[set_of_600.labels == 0]
    assert masks[:, :, :32].any(axis=(1, 2)).mean() > 0.98
    assert masks[:, :, 32:].any(axis=(1, 2)).mean() > 0.98


def test_lesions_lie_mostly_in_the_posterior_half(set_of_600: Phantoms) -> None:
    rows = np.nonzero(set_of_600.masks)[1]
    assert np.mean(rows >= 32) > 0.6


def test_a_lesion_is_brighter_than_the_same_place_in_a_clear_lung(set_of_600: Phantoms) -> None:
    clear = set_of_600.images[set_of_600.labels == 1, :, :, 0].mean(axis=0)
    brighter = [
        image[mask == 1].mean() - clear[mask == 1].mean()
        for image, mask in zip(set_of_600.images[::2, :, :, 0], set_of_600.masks[::2], strict=True)
    ]
    assert np.mean(brighter) > 25
    assert np.mean(np.array(brighter) > 0) > 0.95


def test_classes_can_be_learned_from_the_pixels(set_of_600: Phantoms) -> None:
    pixels = set_of_600.images.reshape(600, -1) / 255 - 0.5
    assert held_out_accuracy(pixels, set_of_600.labels) >= 0.95


def test_mean_brightness_does_not_give_the_class_away(set_of_600: Phantoms) -> None:
    brightness = set_of_600.images.reshape(600, -1).mean(axis=1, keepdims=True)
    standardised = (brightness - brightness.mean()) / brightness.std()
    assert held_out_accuracy(standardised, set_of_600.labels) < 0.85


def test_a_slice_looks_like_a_chest(set_of_600: Phantoms) -> None:
    mean = set_of_600.images[set_of_600.labels == 1].mean(axis=0)[:, :, 0]
    air, heart, vertebra = mean[1, 1], mean[26, 34], mean[43, 31]
    right_lung, left_lung = mean[28, 16], mean[36, 46]
    assert air < right_lung < heart < vertebra
    assert air < left_lung < heart
    assert right_lung < 0.5 * heart
