"""Specification of the brain MRI phantoms: slices with tumours, and pairs of sequences."""

import numpy as np
import pytest

from common.data.phantoms import Phantoms, brain_mri, mri_pair

T1, FLAIR, T1_CONTRAST = range(3)
NUM = 300


@pytest.fixture(scope="module")
def slices() -> Phantoms:
    return brain_mri(0, NUM, 64)


@pytest.fixture(scope="module")
def healthy() -> Phantoms:
    """The same slices without tumours."""
    return brain_mri(0, NUM, 64, healthy=True)


@pytest.fixture(scope="module")
def pairs() -> Phantoms:
    return mri_pair(0, 60, 64)


def brighter_inside(phantoms: Phantoms, healthy: Phantoms, channel: int) -> np.ndarray:
    """For each tumour by how much it is brighter than the same place in a healthy brain."""
    change = phantoms.images[..., channel].astype(float) - healthy.images[..., channel]
    ill = phantoms.masks.any(axis=(1, 2))
    return np.array(
        [
            image[mask == 1].mean()
            for image, mask in zip(change[ill], phantoms.masks[ill], strict=True)
        ]
    )


def mutual_information(first: np.ndarray, second: np.ndarray) -> float:
    """Of the grey values of two images, in bits."""
    joint = np.histogram2d(first.ravel(), second.ravel(), bins=16, range=[[0, 256]] * 2)[0]
    joint /= joint.sum()
    independent = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    seen = joint > 0
    return float((joint[seen] * np.log2(joint[seen] / independent[seen])).sum())


# Tumours


@pytest.mark.parametrize("size", [28, 64])
@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_two_of_three_slices_have_a_tumour_and_the_others_an_empty_mask(
    seed: int, size: int
) -> None:
    masks = brain_mri(seed, 150, size).masks
    np.testing.assert_array_equal(masks.any(axis=(1, 2)), np.arange(150) % 3 != 2)


def test_tumours_are_as_large_as_in_patients(slices: Phantoms) -> None:
    # Of the tumour slices of TCGA-LGG the middle 90 % have 0.3 to 8 % of the image.
    areas = slices.masks.mean(axis=(1, 2))[slices.masks.any(axis=(1, 2))]
    assert 0.01 < np.median(areas) < 0.05
    assert areas.min() > 0.002
    assert areas.max() < 0.15


def test_without_the_tumour_the_slice_is_the_same_elsewhere(
    slices: Phantoms, healthy: Phantoms
) -> None:
    assert not healthy.masks.any()
    alone = ~slices.masks.any(axis=(1, 2))
    np.testing.assert_array_equal(slices.images[alone], healthy.images[alone])
    changed = (slices.images != healthy.images).any(axis=3)
    padded = np.pad(slices.masks.astype(bool), ((0, 0), (6, 6), (6, 6)))
    near = np.zeros_like(changed)
    for down in range(13):
        for across in range(13):
            near |= padded[:, down : down + 64, across : across + 64]
    assert np.mean(changed & ~near) < 1e-3


def test_every_marked_pixel_shows_the_tumour(slices: Phantoms, healthy: Phantoms) -> None:
    changed = (slices.images != healthy.images).any(axis=3)
    assert changed[slices.masks == 1].mean() > 0.99


def test_the_mask_ends_where_the_tumour_fades(slices: Phantoms, healthy: Phantoms) -> None:
    change = np.abs(slices.images.astype(float) - healthy.images).sum(axis=3)
    ill = slices.masks.any(axis=(1, 2))
    outside = change[ill][(slices.masks[ill] == 0)]
    assert change[slices.masks == 1].mean() > 20 * outside.mean()


def test_a_tumour_is_bright_in_flair_and_dark_in_t1(slices: Phantoms, healthy: Phantoms) -> None:
    assert np.mean(brighter_inside(slices, healthy, FLAIR) > 5) > 0.95
    assert np.mean(brighter_inside(slices, healthy, T1) < 0) > 0.95


def test_some_tumours_have_parts_that_take_up_contrast_agent(
    slices: Phantoms, healthy: Phantoms
) -> None:
    ill = slices.masks.any(axis=(1, 2))
    gained = slices.images[ill].astype(float) - healthy.images[ill]
    enhanced = ((gained[..., T1_CONTRAST] > 25) & (slices.masks[ill] == 1)).any(axis=(1, 2))
    assert 0.1 < enhanced.mean() < 0.6


def test_no_threshold_of_flair_finds_the_tumours(slices: Phantoms) -> None:
    flair, marked = slices.images[..., FLAIR], slices.masks == 1
    dice = []
    for threshold in range(20, 250, 5):
        found = flair > threshold
        dice.append(2 * (found & marked).sum() / (found.sum() + marked.sum()))
    assert max(dice) < 0.6


# Anatomy


def test_a_slice_looks_like_a_head(healthy: Phantoms) -> None:
    t1, flair = (healthy.images[..., channel].astype(float) for channel in (T1, FLAIR))
    air = t1[:, :4, :4].mean()
    brain = t1[:, 24:40, 20:28].mean()
    assert air < 10 < brain
    assert t1.max(axis=(1, 2)).mean() > 1.5 * brain  # the scalp
    assert flair[:, 24:40, 20:28].mean() > 3 * flair[:, :4, :4].mean()


def test_the_left_half_mirrors_the_right_but_not_exactly(healthy: Phantoms) -> None:
    mean = healthy.images[..., T1].astype(float).mean(axis=0)
    assert np.corrcoef(mean.ravel(), mean[:, ::-1].ravel())[0, 1] > 0.95
    one = healthy.images[0, ..., T1].astype(float)
    assert np.corrcoef(one.ravel(), one[:, ::-1].ravel())[0, 1] < 0.95


# Pairs of sequences


def test_a_target_has_the_shape_of_its_image_and_other_grey_values(pairs: Phantoms) -> None:
    assert pairs.targets.shape == pairs.images.shape
    assert pairs.targets.dtype == np.uint8
    for image, target in zip(pairs.images, pairs.targets, strict=True):
        assert np.mean(np.abs(image.astype(float) - target)) > 3


def test_image_and_target_show_the_same_slice(pairs: Phantoms) -> None:
    for index, image in enumerate(pairs.images):
        other = pairs.targets[(index + 1) % len(pairs.images)]
        own = mutual_information(image, pairs.targets[index])
        assert own > 1.2 * mutual_information(image, other)


def test_fluid_is_dark_in_the_image_and_bright_in_the_target(pairs: Phantoms) -> None:
    brighter = []
    for image, target in zip(pairs.images, pairs.targets, strict=True):
        brain, same = image[22:42, 26:38], target[22:42, 26:38]
        fluid = brain <= np.percentile(brain, 4)
        brighter.append(same[fluid].mean() > np.median(same))
    assert np.mean(brighter) > 0.9


def test_the_noise_of_image_and_target_is_their_own(pairs: Phantoms) -> None:
    air = np.s_[:, :6, :6, 0]
    noise, other = pairs.images[air].astype(float), pairs.targets[air].astype(float)
    noise = noise - noise.mean(axis=(1, 2), keepdims=True)
    other = other - other.mean(axis=(1, 2), keepdims=True)
    assert abs(np.corrcoef(noise.ravel(), other.ravel())[0, 1]) < 0.1
