"""Specification of `common.data.inspect.duplicates`: what is the same picture and what is not."""

import numpy as np
import pytest

from common.data.inspect.alignment import likeness
from common.data.inspect.duplicates import find_copies, perceptual_hash
from tests.common.data.inspect.conftest import picture, recompressed, resized


@pytest.fixture
def copies(surveyed):
    """The groups of copies among some files, as {"exact": [{"a.png", "b.png"}]}."""

    def find(files):
        found = surveyed(files)
        groups = {}
        for group in find_copies(found.images):
            names = {found.images[row].record.id for row in group.rows}
            groups.setdefault(group.kind, []).append(names)
        return groups

    return find


def strangers(num=20):
    return {f"stranger{seed}.png": picture(1000 + seed) for seed in range(num)}


def test_strangers_are_no_copies(copies):
    assert copies(strangers(60)) == {}


def test_equal_pixels_are_exact_copies_whatever_the_file(copies):
    pixels = picture(0)
    files = {"a.png": pixels, "b.bmp": pixels, "c.tif": pixels}
    assert copies(files | strangers()) == {"exact": [{"a.png", "b.bmp", "c.tif"}]}


@pytest.mark.parametrize("quality", [30, 50, 75, 95])
def test_a_recompressed_picture_is_a_near_copy(copies, quality):
    files = {"a.png": picture(0), "b.jpg": recompressed(picture(0), quality)}
    assert copies(files | strangers()) == {"near": [{"a.png", "b.jpg"}]}


@pytest.mark.parametrize("scale", [0.5, 0.7, 0.9])
def test_a_resized_picture_is_a_near_copy(copies, scale):
    files = {"a.png": picture(0), "b.png": resized(picture(0), scale)}
    assert copies(files | strangers()) == {"near": [{"a.png", "b.png"}]}


@pytest.mark.parametrize(("top", "left"), [(1, 0), (0, 2), (2, 1)])
def test_a_picture_that_was_cut_a_little_differently_is_a_near_copy(copies, top, left):
    files = {"a.png": picture(0), "b.png": picture(0)[top:, : 96 - left]}
    assert copies(files | strangers()) == {"near": [{"a.png", "b.png"}]}


def test_brightness_and_contrast_make_no_other_picture(copies):
    darker = (picture(0) * 0.6 + 20).astype(np.uint8)
    assert copies({"a.png": picture(0), "b.png": darker} | strangers()) == {
        "near": [{"a.png", "b.png"}]
    }


def test_a_near_copy_of_exact_copies_is_in_one_group_with_them(copies):
    files = {"a.png": picture(0), "b.png": picture(0), "c.jpg": recompressed(picture(0), 60)}
    assert copies(files | strangers()) == {
        "exact": [{"a.png", "b.png"}],
        "near": [{"a.png", "b.png", "c.jpg"}],
    }


def test_a_mirrored_picture_is_said_to_be_one(copies):
    files = {"a.png": picture(0), "b.png": np.ascontiguousarray(picture(0)[:, ::-1])}
    assert copies(files | strangers()) == {"mirrored": [{"a.png", "b.png"}]}


def test_slices_that_fade_into_each_other_are_no_copies(copies):
    ends = [picture(seed).astype(float) for seed in (0, 1)]
    shares = np.linspace(0, 1, 24)
    slices = {
        f"slice_{place:02d}.png": ((1 - share) * ends[0] + share * ends[1]).astype(np.uint8)
        for place, share in enumerate(shares)
    }
    assert copies(slices | strangers()) == {}


def test_pictures_that_show_nothing_are_no_copies_of_each_other(copies):
    black = {f"black{k}.png": np.full((40, 40), k, np.uint8) for k in range(5)}
    assert copies(black | {"black5.png": np.zeros((40, 40), np.uint8)} | strangers()) == {}


def test_one_picture_has_no_copies(copies):
    assert copies({"a.png": picture(0)}) == {}


def test_a_thousand_copies_of_one_picture_are_one_group(surveyed):
    (image,) = surveyed({"a.png": picture(0)}).images
    (group,) = find_copies([image] * 1000)
    assert (group.kind, len(group.rows)) == ("exact", 1000)


def test_likeness_is_one_for_the_same_and_low_for_another():
    thumbnails = np.stack([picture(seed, 64) for seed in range(8)])
    np.testing.assert_allclose(likeness(thumbnails, thumbnails), 1, atol=1e-5)
    assert likeness(thumbnails, np.roll(thumbnails, 1, axis=0)).max() < 0.8


def test_likeness_finds_the_shift():
    wide = picture(0, 70)
    first, second = wide[:64, :64], wide[2:66, 1:65]
    assert likeness(first[None], second[None])[0] > 0.995


def test_likeness_of_featureless_thumbnails_is_finite():
    flat = np.zeros((3, 64, 64), np.uint8)
    assert np.isfinite(likeness(flat, flat)).all()
    assert likeness(flat[:0], flat[:0]).shape == (0,)


def test_the_hash_of_a_recompressed_picture_differs_in_few_bits(surveyed):
    images = surveyed(
        {"a.png": picture(0), "b.jpg": recompressed(picture(0), 30), "c.png": picture(1)}
    ).images
    same, compressed, other = perceptual_hash(np.stack([image.thumbnail for image in images]))
    assert np.bitwise_count(same ^ compressed) <= 4
    assert np.bitwise_count(same ^ other) > 14
