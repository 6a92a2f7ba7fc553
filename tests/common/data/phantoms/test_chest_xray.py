"""Specification of the chest X-ray phantoms."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from common.data.phantoms import CHEST_XRAY_CLASSES, Phantoms, chest_xray

NORMAL, PNEUMONIA = (CHEST_XRAY_CLASSES.index(name) for name in ("NORMAL", "PNEUMONIA"))


@pytest.fixture(scope="module")
def xrays() -> Phantoms:
    return chest_xray(0, 1000, 64)


@pytest.fixture(scope="module")
def healthy() -> Phantoms:
    """The first of the same chests without opacities."""
    return chest_xray(0, 200, 64, healthy=True)


@pytest.mark.parametrize("size", [28, 64])
@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_masks_mark_opacities_in_pneumonia_and_nothing_else(seed: int, size: int) -> None:
    phantoms = chest_xray(seed, 150, size)
    np.testing.assert_array_equal(phantoms.masks.any(axis=(1, 2)), phantoms.labels == PNEUMONIA)


def test_without_the_opacities_the_chest_is_the_same_elsewhere(
    xrays: Phantoms, healthy: Phantoms
) -> None:
    assert not healthy.masks.any()
    ill = xrays.labels[:200] == PNEUMONIA
    images, masks = xrays.images[:200], xrays.masks[:200]
    np.testing.assert_array_equal(images[~ill], healthy.images[~ill])
    gained = (images.astype(float) - healthy.images)[..., 0]
    assert gained.min() >= -1
    assert np.median(gained[masks == 1]) > 15
    assert gained[ill][masks[ill] == 0].mean() < 1
    unchanged = gained[ill][masks[ill] == 0] == 0
    assert unchanged.mean() > 0.85


@pytest.mark.parametrize(
    "measure",
    [
        lambda images: images.mean(axis=(1, 2)),
        lambda images: images.std(axis=(1, 2)),
        lambda images: images[:, 0].mean(axis=1),
        lambda images: images[:, -1].mean(axis=1),
        lambda images: images[:, :, [0, -1]].mean(axis=(1, 2)),
        lambda images: np.percentile(images, 1, axis=(1, 2)),
        lambda images: np.percentile(images, 99, axis=(1, 2)),
    ],
    ids=["mean", "contrast", "top", "bottom", "sides", "darkest", "brightest"],
)
def test_no_single_property_of_the_exposure_tells_the_classes_apart(
    xrays: Phantoms, measure
) -> None:
    auc = roc_auc_score(xrays.labels, measure(xrays.images[..., 0].astype(float)))
    assert max(auc, 1 - auc) < 0.65


def test_coarse_brightness_does_not_separate_the_classes(xrays: Phantoms) -> None:
    means = xrays.images.reshape(1000, 8, 8, 8, 8).mean(axis=(2, 4)).reshape(1000, -1) / 255
    model = LogisticRegression(max_iter=2000).fit(means[:700], xrays.labels[:700])
    assert model.score(means[700:], xrays.labels[700:]) < 0.85


def test_an_xray_looks_like_a_chest(xrays: Phantoms) -> None:
    mean = xrays.images[xrays.labels == NORMAL, :, :, 0].mean(axis=0)
    corner, right_lung, left_lung = mean[2, 2], mean[26, 20], mean[24, 44]
    heart, spine, abdomen = mean[38, 36], mean[8, 31], mean[58, 30]
    assert corner < right_lung < heart
    assert left_lung < heart
    assert right_lung < 0.8 * min(heart, spine, abdomen)


def test_the_heart_lies_to_the_left_of_the_patient(xrays: Phantoms) -> None:
    mean = xrays.images[xrays.labels == NORMAL, :, :, 0].mean(axis=0)
    assert mean[36:42, 36:42].mean() > 1.2 * mean[36:42, 22:28].mean()


def test_opacities_lie_in_both_lungs_over_the_set(xrays: Phantoms) -> None:
    place = xrays.masks[xrays.labels == PNEUMONIA].mean(axis=0)
    right, left = place[:, :32].sum(), place[:, 32:].sum()
    assert 0.5 < right / left < 2
    assert place[:6].max() == 0
    assert place[-6:].max() == 0
