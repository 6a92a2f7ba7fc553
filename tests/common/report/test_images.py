"""Grids, captions and pixel ranges, for grey and RGB."""

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from common.data.transforms import from_signed_unit, to_signed_unit
from common.report.images import beside, grid, titled, write_picture, zoom_for


@pytest.mark.parametrize("channels", [1, 3])
def test_a_grid_has_every_image_in_its_place(channels):
    images = np.arange(6, dtype=np.uint8).reshape(2, 3, 1, 1, 1) * np.ones(
        (1, 1, 4, 5, channels), np.uint8
    )
    picture = grid(images, zoom=2)
    assert picture.shape == (2 * 8 + 3 * 2, 3 * 10 + 4 * 2, channels)
    for row in range(2):
        for column in range(3):
            cell = picture[2 + row * 10 : 10 + row * 10, 2 + column * 12 : 12 + column * 12]
            assert (cell == 3 * row + column).all()
    assert (picture[:2] == 255).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_a_title_stands_above_and_changes_no_pixel(channels, tmp_path):
    picture = np.zeros((20, 90, channels), np.uint8)
    with_title = titled(picture, "step 100: COVID")
    assert with_title.shape[1:] == picture.shape[1:]
    assert (with_title[-20:] == picture).all()
    assert with_title[:-20].min() < 128 < with_title[:-20].max()
    write_picture(tmp_path / "x.png", with_title)
    with Image.open(tmp_path / "x.png") as image:
        assert image.mode == ("L" if channels == 1 else "RGB")


@pytest.mark.parametrize("letter", "äöüÄÖÜßéèñçøåłőžЖΩµ²±→")
def test_letters_of_europe_are_no_boxes(letter):
    blank = np.zeros((1, 40, 1), np.uint8)
    drawn, box = titled(blank, letter), titled(blank, "\uffff")
    assert drawn[:-1].min() < 128 and (drawn != box).any()


def test_an_umlaut_in_two_pieces_is_one():
    blank = np.zeros((1, 90, 1), np.uint8)
    np.testing.assert_array_equal(titled(blank, "fu\u0308r"), titled(blank, "für"))


def test_pictures_of_other_heights_and_colours_stand_side_by_side():
    grey, colour = np.zeros((10, 6, 1), np.uint8), np.zeros((14, 8, 3), np.uint8)
    picture = beside([grey, colour], gap=3)
    assert picture.shape == (14, 17, 3)
    assert (picture[10:, :6] == 255).all() and (picture[:10, :6] == 0).all()


@pytest.mark.parametrize(("size", "zoom"), [(28, 3), (64, 1), (256, 1), (16, 4)])
def test_small_images_are_enlarged(size, zoom):
    assert zoom_for(size) == zoom


def test_stored_pixels_map_to_tanhs_range_and_back():
    pixels = jnp.arange(256, dtype=jnp.uint8).reshape(1, 16, 16, 1)
    mapped = to_signed_unit(pixels)
    assert (float(mapped.min()), float(mapped.max())) == (-1.0, 1.0)
    np.testing.assert_array_equal(from_signed_unit(mapped), pixels)


def test_what_lies_outside_the_range_is_clipped():
    drawn = jnp.asarray([-3.0, 3.0]).reshape(1, 1, 2, 1)
    assert from_signed_unit(drawn).ravel().tolist() == [0, 255]
