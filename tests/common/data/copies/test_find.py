"""Specification of `find`: what is the same picture and what is not."""

import io
import math
import time
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from common.data.copies import candidates as all_pairs
from common.data.copies import find
from common.data.copies.alignment import likeness
from common.data.copies.candidates import candidates
from common.data.copies.find import find_copies, same_pictures
from common.data.copies.look import Look, look_at
from tests.common.inspect.conftest import picture, recompressed, resized


def look(content):
    """How a picture looks, an array or the bytes of a file."""
    if isinstance(content, bytes):
        content = np.asarray(Image.open(io.BytesIO(content)))
    return look_at(content.reshape(*content.shape[:2], -1))


def copies(files):
    """The groups of copies among some pictures, as {"exact": [{"a.png", "b.png"}]}."""
    names, groups = list(files), {}
    for group in find_copies([look(content) for content in files.values()]):
        groups.setdefault(group.kind, []).append({names[row] for row in group.rows})
    return groups


def strangers(num=20):
    return {f"stranger{seed}.png": picture(1000 + seed) for seed in range(num)}


def test_strangers_are_no_copies():
    assert copies(strangers(60)) == {}


def test_equal_pixels_are_exact_copies_whatever_the_file():
    pixels = picture(0)
    files = {"a.png": pixels, "b.bmp": pixels, "c.tif": pixels}
    assert copies(files | strangers()) == {"exact": [{"a.png", "b.bmp", "c.tif"}]}


@pytest.mark.parametrize("quality", [30, 50, 75, 95])
def test_a_recompressed_picture_is_a_near_copy(quality):
    files = {"a.png": picture(0), "b.jpg": recompressed(picture(0), quality)}
    assert copies(files | strangers()) == {"near": [{"a.png", "b.jpg"}]}


@pytest.mark.parametrize("scale", [0.5, 0.7, 0.9])
def test_a_resized_picture_is_a_near_copy(scale):
    files = {"a.png": picture(0), "b.png": resized(picture(0), scale)}
    assert copies(files | strangers()) == {"near": [{"a.png", "b.png"}]}


@pytest.mark.parametrize(("top", "left"), [(1, 0), (0, 2), (2, 1)])
def test_a_picture_that_was_cut_a_little_differently_is_a_near_copy(top, left):
    files = {"a.png": picture(0), "b.png": picture(0)[top:, : 96 - left]}
    assert copies(files | strangers()) == {"near": [{"a.png", "b.png"}]}


def test_brightness_and_contrast_make_no_other_picture():
    darker = (picture(0) * 0.6 + 20).astype(np.uint8)
    assert copies({"a.png": picture(0), "b.png": darker} | strangers()) == {
        "near": [{"a.png", "b.png"}]
    }


def test_a_near_copy_of_exact_copies_is_in_one_group_with_them():
    files = {"a.png": picture(0), "b.png": picture(0), "c.jpg": recompressed(picture(0), 60)}
    assert copies(files | strangers()) == {
        "exact": [{"a.png", "b.png"}],
        "near": [{"a.png", "b.png", "c.jpg"}],
    }


def test_a_mirrored_picture_is_said_to_be_one():
    files = {"a.png": picture(0), "b.png": np.ascontiguousarray(picture(0)[:, ::-1])}
    assert copies(files | strangers()) == {"mirrored": [{"a.png", "b.png"}]}


def test_slices_that_fade_into_each_other_are_no_copies():
    ends = [picture(seed).astype(float) for seed in (0, 1)]
    shares = np.linspace(0, 1, 24)
    slices = {
        f"slice_{place:02d}.png": ((1 - share) * ends[0] + share * ends[1]).astype(np.uint8)
        for place, share in enumerate(shares)
    }
    assert copies(slices | strangers()) == {}


def test_pictures_that_show_nothing_are_no_copies_of_each_other():
    black = {f"black{k}.png": np.full((40, 40), k, np.uint8) for k in range(5)}
    assert copies(black | {"black5.png": np.zeros((40, 40), np.uint8)} | strangers()) == {}


def test_one_picture_has_no_copies():
    assert copies({"a.png": picture(0)}) == {}


def test_a_thousand_copies_of_one_picture_are_one_group():
    (group,) = find_copies([look(picture(0))] * 1000)
    assert (group.kind, len(group.rows)) == ("exact", 1000)


def turned(pixels, degrees):
    return np.asarray(Image.fromarray(pixels).rotate(degrees, Image.Resampling.BICUBIC))


@pytest.mark.parametrize("degrees", [-10, -3, 3, 7, 10, 90, 180, 270])
def test_a_turned_picture_is_a_near_copy(degrees):
    files = {"a.png": picture(0), "b.png": turned(picture(0), degrees)}
    assert copies(files | strangers()) == {"near": [{"a.png", "b.png"}]}


@pytest.mark.parametrize("degrees", [-10, -3, 3, 10, 90, 180])
def test_a_mirrored_and_turned_picture_is_a_mirrored_copy(degrees):
    files = {"a.png": picture(0), "b.png": turned(picture(0)[:, ::-1], degrees)}
    assert copies(files | strangers()) == {"mirrored": [{"a.png", "b.png"}]}


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_picture_that_somebody_has_turned_many_times_is_one_picture(mirrored):
    """As where a set was enlarged by augmentation: each has more copies than are looked for."""
    angles = np.linspace(-30, 30, 36)
    turned_about = [turned(picture(0), degrees) for degrees in angles]
    if mirrored:
        turned_about[::2] = [pixels[:, ::-1] for pixels in turned_about[::2]]
    looks = [look(pixels) for pixels in (*turned_about, *strangers(10).values())]
    numbers = same_pictures(find_copies(looks), len(looks))
    assert len(set(numbers[:36])) == 1 and len(set(numbers)) == 11


def test_many_slices_that_fade_into_each_other_are_no_copies():
    ends = [picture(seed).astype(float) for seed in (0, 1)]
    shares = np.linspace(0, 1, 60)
    slices = [((1 - x) * ends[0] + x * ends[1]).astype(np.uint8) for x in shares]
    assert find_copies([look(pixels) for pixels in (*slices, *strangers().values())]) == []


@pytest.mark.parametrize(("top", "left"), [(0, 0), (5, 5), (2, 3), (0, 5), (5, 2)])
def test_a_picture_of_which_five_percent_are_cut_off_is_a_near_copy(top, left):
    files = {"a.png": picture(0), "b.png": picture(0)[top : 91 + top, left : 91 + left]}
    assert copies(files | strangers()) == {"near": [{"a.png", "b.png"}]}


def test_two_pictures_alone_may_be_copies():
    assert copies({"a.png": picture(0), "b.png": turned(picture(0), 3)}) == {
        "near": [{"a.png", "b.png"}]
    }


def test_of_too_many_pictures_only_equal_ones_are_found(monkeypatch):
    monkeypatch.setattr(find, "MOST_COMPARED", 5)
    files = {"a.png": picture(0), "b.png": picture(0), "c.png": turned(picture(0), 3)}
    assert copies(files | strangers(2)) == {
        "exact": [{"a.png", "b.png"}],
        "near": [{"a.png", "b.png", "c.png"}],
    }
    assert copies(files | strangers(3)) == {"exact": [{"a.png", "b.png"}]}


def test_pictures_are_numbered_alike_where_any_of_them_are_copies():
    groups = [
        find.Copies("exact", (1, 4)),
        find.Copies("near", (4, 5)),
        find.Copies("near", (2, 3)),
    ]
    numbers = same_pictures(groups, 7)
    assert len(set(numbers)) == 4
    assert numbers[1] == numbers[4] == numbers[5] and numbers[2] == numbers[3]
    assert same_pictures([], 3) == (0, 1, 2)


def best_likeness(first, second):
    """The likeness of two arrays of thumbnails, pair by pair, beginning as they are."""
    num = len(first)
    upright = np.broadcast_to(np.eye(2, 3), (num, 2, 3))
    return likeness(np.concatenate([first, second]), np.arange(num), np.arange(num) + num, upright)


def test_likeness_is_one_for_the_same_and_low_for_another():
    thumbnails = np.stack([picture(seed, 64) for seed in range(8)])
    assert best_likeness(thumbnails, thumbnails).min() > 0.999
    assert best_likeness(thumbnails, np.roll(thumbnails, 1, axis=0)).max() < 0.8


def test_likeness_finds_the_shift():
    wide = picture(0, 70)
    first, second = wide[:64, :64], wide[2:66, 1:65]
    assert best_likeness(first[None], second[None])[0] > 0.995


def test_likeness_of_featureless_thumbnails_is_finite():
    flat = np.zeros((3, 64, 64), np.uint8)
    assert np.isfinite(best_likeness(flat, flat)).all()
    assert best_likeness(flat[:0], flat[:0]).shape == (0,)


def test_candidates_are_given_the_position_in_which_they_fit():
    thumbnails = np.stack([picture(seed, 64) for seed in range(6)])
    thumbnails = np.concatenate([thumbnails, turned(thumbnails[2], 10)[None]])
    found = candidates(thumbnails, mirrored=False)
    places = [
        place
        for place, pair in enumerate(zip(found.left, found.right, strict=True))
        if set(pair) == {2, 6}
    ]
    (place,) = places
    angle = math.degrees(math.atan2(found.position[place, 1, 0], found.position[place, 0, 0]))
    assert abs(angle) == pytest.approx(10)


@pytest.mark.slow
def test_a_thousand_pictures_are_compared_in_seconds():
    thumbnails = [look(picture(seed, 64)) for seed in range(1000)]
    started = time.process_time()
    assert find_copies(thumbnails) == []
    assert time.process_time() - started < 20  # measured: 1 s


def test_the_parts_in_which_pairs_are_compared_change_nothing(monkeypatch):
    thumbnails = np.stack([picture(seed, 64) for seed in range(30)])
    copied = np.stack([turned(thumbnails[place], 5) for place in range(0, 30, 3)])
    thumbnails = np.concatenate([thumbnails, copied, copied[:2]])
    whole = candidates(thumbnails, mirrored=False)
    monkeypatch.setattr(all_pairs, "_ROWS", 7)
    monkeypatch.setattr(all_pairs, "_COLUMNS", 5)
    parts = candidates(thumbnails, mirrored=False)
    pairs = [set(map(frozenset, zip(x.left, x.right, strict=True))) for x in (whole, parts)]
    assert pairs[0] == pairs[1]
    assert {frozenset((3 * place, 30 + place)) for place in range(10)} <= pairs[0]


def test_where_thumbnails_were_not_kept_only_equal_ones_are_found():
    """As of 20,001 images one of which can't be read."""
    looks = [replace(look(picture(seed)), thumbnail=None) for seed in (0, 1, 0)]
    (group,) = find_copies(looks)
    assert (group.kind, group.rows) == ("exact", (0, 2))


@pytest.mark.slow
def test_the_most_pictures_that_are_compared_take_no_more_than_minutes():
    num = find.MOST_COMPARED
    grey = np.random.default_rng(0).normal(128, 50, (num, 64, 64)).astype(np.float32)
    smooth = ndimage.gaussian_filter(grey, (0, 4, 4)) * 6 - 5 * 128
    thumbnails = smooth.clip(0, 255).astype(np.uint8)
    looks = [Look(b"%d" % row, False, each) for row, each in enumerate(thumbnails)]
    looks[-1] = replace(looks[-1], thumbnail=turned(thumbnails[0], 3))
    started = time.process_time()
    (group,) = find_copies(looks)
    assert group.rows == (0, num - 1)
    assert time.process_time() - started < 300  # measured: 40 s, and 190 s with BLAS's own threads
