"""Specification of `masks`: what stands in a mask's file, and what it means."""

import re

import imagecodecs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image

from common.data.files.masks import parse_mask_values, read_values, to_classes
from common.program.errors import UserError
from tests.picture_files import bmp, png, pnm, tiff

BITS = np.array([[0, 1, 1], [0, 0, 1]], np.uint8)
IDS = np.array([[0, 1, 2], [7, 0, 255]], np.uint8)
THREE = "0=background, 128=oedema, 255=tumour"


def palette(indices: np.ndarray) -> Image.Image:
    """An image whose pixels are these indices of bright colours."""
    image = Image.new("P", indices.shape[::-1])
    image.putdata(indices.ravel().tolist())
    image.putpalette([255 - value for value in range(256) for _ in range(3)])
    return image


def repeated(mode: str, *more: np.ndarray) -> Image.Image:
    """The ids in each colour channel, and what else the mode has."""
    layers = [IDS] * len(mode.removesuffix("A")) + list(more)
    return Image.merge(mode, [Image.fromarray(layer) for layer in layers])


# Values in files


@pytest.mark.parametrize(
    ("name", "image", "expected"),
    [
        ("a.png", Image.fromarray(IDS), IDS),
        ("a.png", Image.fromarray(BITS.astype(bool)), BITS),
        ("a.png", palette(IDS), IDS),
        ("a.png", repeated("RGB"), IDS),
        ("a.png", repeated("RGBA", BITS), IDS),
        ("a.png", repeated("LA", BITS), IDS),
        ("a.png", Image.fromarray(IDS.astype(np.uint16) * 257), IDS.astype(int) * 257),
        ("a.tif", Image.fromarray(IDS.astype(np.int32) - 3), IDS.astype(int) - 3),
        ("a.tif", Image.fromarray(IDS.astype(np.float32)), IDS),
        ("a.bmp", Image.fromarray(IDS), IDS),
    ],
    ids=["grey", "bit", "palette", "RGB", "RGBA", "LA", "16 bits", "32 bits", "floats", "bmp"],
)
def test_every_way_to_keep_whole_numbers_is_read(tmp_path, name, image, expected):
    image.save(tmp_path / name)
    values = read_values(tmp_path / name)
    np.testing.assert_array_equal(values, expected)
    assert values.dtype.kind in "iu"


SMALL = np.array([[[0], [1], [2]], [[3], [0], [2]]], np.uint8)
DEEP = np.array([[[0], [1], [300]], [[4095], [0], [2]]], np.uint16)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (png(SMALL, 2), SMALL),
        (png(SMALL, 4), SMALL),
        (png(SMALL, 2, 3, palette=np.array([[9, 9, 9]] * 4)), SMALL),
        (png(np.repeat(DEEP, 3, axis=-1), 16, 2), DEEP),
        (png(np.repeat(DEEP, 2, axis=-1), 16, 4), DEEP),
        (tiff(SMALL, 2), SMALL),
        (tiff(SMALL, 4, photometric=0), SMALL),
        (tiff(SMALL, photometric=0), SMALL),
        (tiff(DEEP, 12, photometric=0), DEEP),
        (tiff(DEEP, 16, photometric=0), DEEP),
        (tiff(DEEP, 16, photometric=0, order=">"), DEEP),
        (tiff(DEEP.astype(np.int16) - 300, 16, 2, photometric=0), DEEP.astype(int) - 300),
        (tiff(SMALL.astype(np.int8) - 3, 8, 2), SMALL.astype(int) - 3),
        (tiff(np.repeat(DEEP, 3, axis=-1), 16, photometric=2), DEEP),
        (tiff(DEEP.astype(np.uint32) + 2**31, 32), DEEP.astype(int) + 2**31),
        (tiff(SMALL, 8, photometric=3, palette=np.full((256, 3), 65535)), SMALL),
        (pnm(SMALL, 5, 3), SMALL),
        (pnm(SMALL, 2, 7), SMALL),
        (pnm(DEEP, 5, 4095), DEEP),
        (pnm(np.repeat(DEEP, 3, axis=-1), 6, 4095), DEEP),
        (bmp(SMALL[..., 0], 4, palette=np.arange(16).repeat(3).reshape(16, 3)), SMALL),
        (
            imagecodecs.jpeg2k_encode(SMALL[..., 0], bitspersample=2, reversible=True, level=0),
            SMALL,
        ),
        (imagecodecs.jpeg2k_encode(DEEP[..., 0], bitspersample=12, reversible=True, level=0), DEEP),
    ],
)
def test_the_numbers_that_a_file_keeps_are_the_classes_at_every_depth(tmp_path, content, expected):
    (tmp_path / "a").write_bytes(content)
    np.testing.assert_array_equal(read_values(tmp_path / "a"), expected[..., 0])


@pytest.mark.parametrize("content", [tiff(BITS[..., None], 1, photometric=0), pnm(BITS, 4)])
def test_in_pictures_of_one_bit_white_is_1_whichever_the_file_keeps(tmp_path, content):
    (tmp_path / "a").write_bytes(content)
    np.testing.assert_array_equal(read_values(tmp_path / "a"), 1 - BITS)


def test_a_mask_is_turned_as_its_image_is(tmp_path):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.fromarray(IDS).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read_values(tmp_path / "a.png"), np.rot90(IDS, -1))


@pytest.mark.parametrize(
    ("name", "image", "sentence"),
    [
        ("a.png", Image.merge("RGB", [Image.fromarray(IDS)] * 2 + [palette(BITS).convert("L")]), 1),
        ("a.tif", Image.new("CMYK", (3, 2)), 1),
        ("a.tif", Image.fromarray(np.array([[0.5]], np.float32)), 2),
        ("a.tif", Image.fromarray(np.array([[np.nan]], np.float32)), 2),
        ("a.tif", Image.fromarray(np.array([[np.inf]], np.float32)), 2),
    ],
    ids=["colours", "CMYK", "fractions", "NaN", "infinity"],
)
def test_a_file_without_one_whole_number_a_pixel_is_refused(tmp_path, name, image, sentence):
    image.save(tmp_path / name)
    match = {1: r"is a colour mask \(\w+\)", 2: "is not a mask of whole numbers"}[sentence]
    with pytest.raises(UserError, match=rf"a\.\w+ .*{match}"):
        read_values(tmp_path / name)


def test_a_damaged_mask_is_named(tmp_path):
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(UserError, match=r"a\.png is not a readable image"):
        read_values(tmp_path / "a.png")


# Meanings


@pytest.mark.parametrize("high", [1, 255])
def test_0_and_1_and_0_and_255_need_no_setting(high):
    values = parse_mask_values("")
    assert values.classes == ("background", "foreground")
    classes = to_classes(BITS * np.uint8(high), values, "a.png")
    assert classes.dtype == np.uint8
    np.testing.assert_array_equal(classes, BITS)


@pytest.mark.parametrize("value", [0, 1, 255])
def test_a_mask_of_one_value_is_no_riddle(value):
    mask = np.full((2, 2), value, np.uint8)
    assert (to_classes(mask, parse_mask_values(""), "a.png") == min(value, 1)).all()


def test_values_are_named_by_the_setting():
    values = parse_mask_values(THREE)
    assert values.classes == ("background", "oedema", "tumour")
    mask = np.array([[255, 0], [128, 255]], np.int32)
    assert to_classes(mask, values, "a.png").tolist() == [[2, 0], [1, 2]]


def test_values_of_one_name_are_one_class():
    values = parse_mask_values("0=background,1=tumour,2=oedema,4=tumour")
    assert values.classes == ("background", "tumour", "oedema")
    assert to_classes(np.array([[0, 1, 2, 4]]), values, "a.png").tolist() == [[0, 1, 2, 1]]


def test_the_first_value_of_the_setting_is_the_background():
    values = parse_mask_values("255=background,0=lung")
    assert to_classes(np.array([[0, 255]]), values, "a.png").tolist() == [[1, 0]]


def test_1_and_255_in_one_mask_are_two_classes_of_which_the_setting_must_tell():
    mask = np.array([[0, 1, 255]], np.uint8)
    with pytest.raises(UserError, match=r"a\.png holds both 1 and 255.*--config\.data\.mask_val"):
        to_classes(mask, parse_mask_values(""), "a.png")
    same = parse_mask_values("0=background,1=tumour,255=tumour")
    assert to_classes(mask, same, "a.png").tolist() == [[0, 1, 1]]


def test_unknown_values_are_listed_but_not_all_of_many():
    with pytest.raises(
        UserError, match=r"a\.png holds the values -1, 2, 7, which are unknown \(.* 0, 1, 255\)"
    ):
        to_classes(np.array([[0, 7, 2, -1]]), parse_mask_values(""), "a.png")
    with pytest.raises(UserError, match=r"values 2, .*, 13, \.\.\., which are unknown"):
        to_classes(np.arange(256).reshape(16, 16), parse_mask_values(""), "a.png")


def test_what_jpeg_makes_of_a_mask_is_called_that(tmp_path):
    mask = np.zeros((32, 32), np.uint8)
    mask[9:20, 7:23] = 255
    Image.fromarray(mask).save(tmp_path / "a.jpg")
    with pytest.raises(UserError, match=r"a\.jpg holds the values .* JPEG compression.*PNG"):
        to_classes(read_values(tmp_path / "a.jpg"), parse_mask_values(""), str(tmp_path / "a.jpg"))


def test_what_jpeg_makes_of_a_mask_is_read_with_the_setting_that_the_message_names(tmp_path):
    mask = np.zeros((32, 32), np.uint8)
    mask[8:20, 7:23] = 255
    Image.fromarray(mask).save(tmp_path / "a.jpg", quality=75)
    with pytest.raises(UserError) as raised:
        to_classes(read_values(tmp_path / "a.jpg"), parse_mask_values(""), str(tmp_path / "a.jpg"))
    (setting,) = re.findall(r"--config\.data\.mask_values=(\S+)", str(raised.value))
    found = to_classes(read_values(tmp_path / "a.jpg"), parse_mask_values(setting), "a.jpg")
    np.testing.assert_array_equal(found, mask > 127)


def test_blurred_edges_are_told_the_same():
    with pytest.raises(UserError, match=r"mask_values=0-127=background,128-255=foreground where"):
        to_classes(np.arange(256).reshape(16, 16), parse_mask_values(""), "a.png")
    with pytest.raises(UserError) as raised:
        to_classes(np.array([[0, 1, 2, 3]]), parse_mask_values(""), "a.png")
    assert "0-127" not in str(raised.value)  # ids of classes


def test_each_value_of_a_range_means_the_class_and_one_stands_for_it():
    values = parse_mask_values("0-63=background, 64-191=oedema, 192-255=tumour")
    mask = np.array([[0, 63, 64], [191, 192, 255]])
    assert to_classes(mask, values, "a.png").tolist() == [[0, 0, 1], [1, 2, 2]]
    assert values.written(255) == (0, 191, 255)
    with pytest.raises(
        UserError, match=r"holds the values 256, which are unknown \(known are 0-255\)"
    ):
        to_classes(np.array([[256]]), values, "a.png")


@pytest.mark.parametrize(
    "text",
    [
        "0",
        "0-=a,9=b",
        "9-0=a,10=b",
        "0-5=a,5=b",
        "0=a,1-99999999=b",
        "0=a,0=b",
        "0=,1=b",
        "=a,1=b",
        "a=0,b=1",
        "-1=a,1=b",
        "0.5=a,1=b",
        "0=a;1=b",
        "0=a,",
        ",",
    ],
)
def test_a_setting_of_another_form_is_refused_by_its_field(text):
    with pytest.raises(UserError, match=rf"config\.data\.mask_values is '{text}'"):
        parse_mask_values(text)


def test_a_mask_has_two_classes_at_least_and_256_at_most():
    with pytest.raises(UserError, match="which names 1 class"):
        parse_mask_values("0=background,1=background")
    with pytest.raises(UserError, match="which names 300 classes"):
        parse_mask_values(",".join(f"{value}=c{value}" for value in range(300)))


@given(st.text("0123456789=,abc ", max_size=30))
def test_no_text_makes_anything_but_meanings_or_a_sentence(text):
    try:
        values = parse_mask_values(text)
    except UserError:
        return
    assert sorted(set(values.meaning.values())) == list(range(len(values.classes)))


@pytest.mark.parametrize("foreground", [1, 255])
def test_what_is_written_is_read_again(foreground):
    for text in ("", "0=background,128=oedema,255=tumour,254=tumour"):
        values = parse_mask_values(text)
        written = np.array(values.written(foreground))
        classes = np.arange(len(values.classes), dtype=np.uint8)[None]
        np.testing.assert_array_equal(to_classes(written[classes], values, "x"), classes)
    assert values.written(1) == (0, 128, 255)
    assert parse_mask_values("").written(foreground) == (0, foreground)
