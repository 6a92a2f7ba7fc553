"""Specification of `facts`: what is remembered of each image."""

import numpy as np
import pytest

from common.inspect.frame import Frame, find_frame
from common.program.errors import UserError
from tests.common.inspect.conftest import picture, recompressed


def test_an_image_is_described(surveyed):
    found = surveyed({"a/x.png": np.array([[10, 20, 30], [40, 50, 60]], np.uint8)})
    (image,) = found.images
    assert (image.width, image.height, image.mode, image.bits) == (3, 2, "L", 8)
    assert (image.value_range, image.brightness) == ((10, 60), 35)
    assert (image.split, image.group, image.file_type) == ("train", "", ".png")
    assert image.file_bytes == image.record.path.stat().st_size
    assert image.look.thumbnail.shape == (64, 64)
    assert not image.coloured


def test_grey_saved_as_colour_is_the_same_picture(surveyed):
    grey = picture(0)
    found = surveyed({"a/grey.png": grey, "a/rgb.png": np.stack([grey] * 3, axis=-1)})
    first, second = found.images
    assert first.look.digest == second.look.digest
    assert (first.mode, second.mode) == ("L", "RGB")
    assert not second.coloured


def test_another_shape_of_equal_bytes_is_another_picture(surveyed):
    pixels = picture(0)
    first, second = surveyed(
        {"a/x.png": pixels[:32], "a/y.png": pixels[:32].reshape(96, 32)}
    ).images
    assert first.look.digest != second.look.digest


def test_a_broken_file_is_listed_with_the_sentence_of_training(surveyed):
    found = surveyed({"a/x.png": picture(0), "a/y.png": b"", "a/z.png": b"text"})
    assert [image.record.id for image in found.images] == ["a/x.png"]
    assert [broken.record.id for broken in found.broken] == ["a/y.png", "a/z.png"]
    assert "y.png is empty" in found.broken[0].why


def test_a_mask_of_another_size_is_broken(surveyed):
    mask = np.zeros((5, 5), np.uint8)
    files = {"images/x.png": picture(0), "masks/x.png": mask}
    files |= {"images/y.png": picture(1), "masks/y.png": np.zeros((96, 96), np.uint8)}
    found = surveyed(files)
    assert "mask of images/x.png has 5x5 pixels, its image 96x96" in found.broken[0].why
    assert [image.mask_pixels for image in found.images] == [(96 * 96,)]


def test_nothing_readable_is_a_mistake(surveyed):
    with pytest.raises(UserError, match=r"No image of .* can be read; .*x\.png is empty"):
        surveyed({"a/x.png": b""})


def test_splits_and_groups_are_those_of_training(surveyed):
    files = {
        f"p{patient}_{k}.png": picture(10 * patient + k) for patient in range(8) for k in (0, 1)
    }
    found = surveyed(files, group="(.+)_", splits="50,25,25")
    assert found.splits == ("train", "val", "test")
    where = {}
    for image in found.images:
        where.setdefault(image.group, set()).add(image.split)
    assert set(where) == {f"p{patient}" for patient in range(8)}
    assert all(len(splits) == 1 for splits in where.values())


@pytest.mark.parametrize(("pixels", "flat"), [(np.full((9, 9), 7, np.uint8), True), (None, False)])
def test_what_shows_nothing_is_flat(surveyed, pixels, flat):
    (image,) = surveyed({"a/x.png": picture(0) if pixels is None else pixels}).images
    assert image.flat is flat


# Frames


@pytest.mark.parametrize("brightness", [0, 128, 255])
@pytest.mark.parametrize("width", [1, 2, 7])
def test_a_frame_is_measured(width, brightness):
    framed = np.pad(picture(0), width, constant_values=brightness)
    assert find_frame(framed) == Frame(width, brightness)


@pytest.mark.parametrize("quality", [75, 95])
def test_a_frame_survives_compression(surveyed, quality):
    framed = np.pad(picture(0), 2, constant_values=255)
    (image,) = surveyed({"a/x.jpg": recompressed(framed, quality)}).images
    assert image.frame.width == 2
    assert image.frame.brightness > 240


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (7, 3), (96, 96)])
def test_a_picture_without_a_frame_has_none(shape):
    pixels = picture(0)[: shape[0], : shape[1]]
    assert find_frame(pixels) == Frame(0, -1)


def test_a_black_picture_has_the_widest_frame_that_is_looked_for():
    assert find_frame(np.zeros((80, 40), np.uint8)) == Frame(5, 0)
