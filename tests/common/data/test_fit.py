"""Specification of `fit`: any image and its mask become the network's square."""

import numpy as np
import pytest

from common.data.fit import FITS, fit_image, fit_mask
from common.program.errors import UserError


def scene(height: int, width: int, top: int, left: int, side: int) -> np.ndarray:
    """A white square on black, [height, width] of 0 and 1."""
    pixels = np.zeros((height, width), np.uint8)
    pixels[top : top + side, left : left + side] = 1
    return pixels


def box(shown: np.ndarray) -> tuple[int, int, int, int]:
    """The first and the last row, the first and the last column that are shown."""
    rows, columns = np.nonzero(shown)
    return int(rows.min()), int(rows.max()), int(columns.min()), int(columns.max())


# Size and channels


def test_the_right_size_and_channels_pass_unchanged():
    square = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    np.testing.assert_array_equal(fit_image(square, 16, 3), square)
    np.testing.assert_array_equal(fit_image(square[..., :1], 16, 1), square[..., :1])


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("shape", [(4, 6, 1), (4, 6, 3), (1, 1, 3), (300, 7, 1)])
def test_every_shape_becomes_what_the_network_takes(shape, channels):
    image = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    fitted = fit_image(image, 28, channels)
    assert fitted.shape == (28, 28, channels)
    assert fitted.dtype == np.uint8


def test_colour_becomes_grey_by_rec_601():
    primaries = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 255]]], np.uint8)
    np.testing.assert_array_equal(fit_image(primaries, 2, 1)[..., 0], [[76, 150], [29, 255]])


def test_grey_becomes_colour_by_repetition():
    square = np.array([[[0], [50]], [[100], [255]]], np.uint8)
    np.testing.assert_array_equal(fit_image(square, 2, 3), np.repeat(square, 3, axis=-1))


def test_shrinking_does_not_alias():
    stripes = np.tile(np.array([0, 255], np.uint8), (64, 32))[..., None]
    assert np.ptp(fit_image(stripes, 8, 1).astype(int)[:, 1:-1]) <= 2
    assert abs(int(fit_image(stripes, 8, 1)[4, 4, 0]) - 128) <= 2


def test_other_channel_counts_are_refused_by_the_field():
    with pytest.raises(UserError, match=r"config\.data\.channels is 4"):
        fit_image(np.zeros((2, 2, 3), np.uint8), 2, 4)


def test_another_fit_is_refused_by_the_field():
    with pytest.raises(UserError, match=r"config\.data\.fit is 'zoom'.*stretch, pad, crop"):
        fit_image(np.zeros((2, 3, 1), np.uint8), 2, 1, "zoom")


# Aspect


@pytest.mark.parametrize(
    ("fit", "expected"),
    [
        ("stretch", (24, 39, 28, 35)),  # 40x80 to 64x64: 16 high, 8 wide
        ("pad", (28, 35, 28, 35)),
        ("crop", (24, 39, 24, 39)),
    ],
)
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_square_in_the_middle_stays_there(fit, expected, turned, channels):
    mask = scene(40, 80, 15, 35, 10)
    if turned:
        mask, expected = mask.T.copy(), (*expected[2:], *expected[:2])
    image = np.repeat(mask[..., None] * np.uint8(255), channels, axis=-1)
    assert box(fit_image(image, 64, channels, fit)[..., 0] > 127) == expected
    assert box(fit_mask(mask, 64, fit)) == expected


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("size", [31, 64, 200])
@pytest.mark.parametrize("shape", [(97, 64), (64, 97), (128, 128), (50, 33)])
def test_image_and_mask_keep_to_each_other_within_a_pixel(fit, size, shape):
    mask = scene(*shape, shape[0] // 3, shape[1] // 4, 16)
    image = mask[..., None] * np.uint8(255)
    fitted = fit_image(image, size, 1, fit)[..., 0] > 127
    edges = zip(box(fitted), box(fit_mask(mask, size, fit)), strict=True)
    assert all(abs(shown - marked) <= 1 for shown, marked in edges)


def test_padding_is_black_and_background_on_both_sides_alike():
    image, mask = np.full((10, 20, 3), 255, np.uint8), np.full((10, 20), 2, np.uint8)
    rows = fit_image(image, 16, 3, "pad").min(axis=(1, 2))
    assert rows.tolist() == [0] * 4 + [255] * 8 + [0] * 4
    assert fit_mask(mask, 16, "pad")[:, 5].tolist() == [0] * 4 + [2] * 8 + [0] * 4


def test_a_crop_loses_both_ends_of_the_longer_side_alike():
    image = np.repeat(np.arange(0, 160, 10, dtype=np.uint8)[None, :, None], 8, axis=0)
    np.testing.assert_array_equal(fit_image(image, 8, 1, "crop"), image[:, 4:12])


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("shape", [(1, 5000), (5000, 1), (1, 1), (3, 2000)])
@pytest.mark.parametrize("size", [1, 8, 64])
def test_no_shape_is_too_thin(fit, shape, size):
    image, mask = np.full((*shape, 1), 255, np.uint8), np.ones(shape, np.uint8)
    assert fit_image(image, size, 1, fit).max() == 255
    assert fit_mask(mask, size, fit).max() == 1


@pytest.mark.parametrize("fit", FITS)
def test_a_mask_keeps_its_values(fit):
    mask = np.random.default_rng(0).choice([0, 3, 255], (37, 61)).astype(np.uint8)
    assert set(np.unique(fit_mask(mask, 20, fit))) <= {0, 3, 255}
