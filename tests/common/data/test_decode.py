"""Specification of `common.data.decode`: every kind of image file becomes upright uint8 pixels."""

import struct
import threading
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps

from common.data.decode import MAX_PIXELS, read_image
from common.errors import UserError

GREY = np.arange(0, 240, 10, np.uint8).reshape(4, 6)
RGB = np.arange(0, 216, 3, np.uint8).reshape(4, 6, 3)
DEEP = (np.arange(24) * 2849).astype(np.uint16).reshape(4, 6)  # 0 to 65,527


def save(path: Path, pixels: np.ndarray | Image.Image, **options) -> Path:
    image = Image.fromarray(pixels) if isinstance(pixels, np.ndarray) else pixels
    image.save(path, **options)
    return path


def png_header(width: int, height: int) -> bytes:
    """A PNG file that claims a size and holds one byte of pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0"))


# Modes of up to 8 bits


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.pgm", "A.PNG"])
def test_a_grey_file_has_one_channel(tmp_path, name):
    np.testing.assert_array_equal(read_image(save(tmp_path / name, GREY)).pixels, GREY[..., None])


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.ppm"])
def test_a_colour_file_has_three_channels(tmp_path, name):
    np.testing.assert_array_equal(read_image(save(tmp_path / name, RGB)).pixels, RGB)


def test_a_gif_has_a_palette_so_it_is_colour(tmp_path):
    pixels = read_image(save(tmp_path / "a.gif", GREY)).pixels
    np.testing.assert_array_equal(pixels, np.repeat(GREY[..., None], 3, axis=-1))


def test_a_grey_looking_colour_file_stays_colour(tmp_path):
    grey_rgb = np.repeat(GREY[..., None], 3, axis=-1)
    np.testing.assert_array_equal(read_image(save(tmp_path / "a.png", grey_rgb)).pixels, grey_rgb)


def test_one_bit_is_black_and_white(tmp_path):
    bits = GREY > 100
    pixels = read_image(save(tmp_path / "a.png", Image.fromarray(bits))).pixels
    np.testing.assert_array_equal(pixels[..., 0], bits * np.uint8(255))


def test_jpeg_is_read_close_to_what_was_written(tmp_path):
    flat = np.full((16, 16, 3), (200, 100, 50), np.uint8)
    pixels = read_image(save(tmp_path / "a.jpg", flat, quality=100)).pixels
    assert np.abs(pixels.astype(int) - flat).max() <= 2


def test_alpha_is_composited_onto_black(tmp_path):
    alpha = np.array([[0, 255], [128, 51]], np.uint8)
    white = np.full((2, 2, 3), 255, np.uint8)
    pixels = read_image(save(tmp_path / "rgba.png", np.dstack([white, alpha]))).pixels
    np.testing.assert_array_equal(pixels, np.repeat(alpha[..., None], 3, axis=-1))
    grey_alpha = Image.merge("LA", [Image.fromarray(white[..., 0]), Image.fromarray(alpha)])
    pixels = read_image(save(tmp_path / "la.png", grey_alpha)).pixels
    np.testing.assert_array_equal(pixels, alpha[..., None])


def test_a_palette_is_looked_up(tmp_path):
    image = Image.fromarray(RGB).convert("P", palette=Image.Palette.ADAPTIVE, colors=256)
    np.testing.assert_array_equal(read_image(save(tmp_path / "a.png", image)).pixels, RGB)


@pytest.mark.parametrize("transparency", [1, b"\xff\x00"])  # an index; a table of alphas
def test_transparent_palette_entries_become_black(tmp_path, transparency):
    image = Image.fromarray(np.array([[0, 1]], np.uint8), mode=None).convert("L")
    palette = Image.new("P", (2, 1))
    palette.putdata(list(image.tobytes()))
    palette.putpalette([10, 20, 30, 200, 210, 220])
    pixels = read_image(save(tmp_path / "a.png", palette, transparency=transparency)).pixels
    np.testing.assert_array_equal(pixels, [[[10, 20, 30], [0, 0, 0]]])


def test_a_transparent_grey_value_becomes_black(tmp_path):
    pixels = read_image(save(tmp_path / "a.png", GREY, transparency=50)).pixels
    np.testing.assert_array_equal(pixels[..., 0], np.where(GREY == 50, 0, GREY))


def test_cmyk_becomes_rgb(tmp_path):
    image = Image.new("CMYK", (4, 4), (0, 255, 255, 0))
    pixels = read_image(save(tmp_path / "a.tif", image)).pixels
    np.testing.assert_array_equal(pixels, np.broadcast_to([255, 0, 0], (4, 4, 3)))


# Orientation


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.webp"])
def test_exif_orientation_is_applied(tmp_path, name, orientation):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    options = {"lossless": True} if name == "a.webp" else {}
    path = save(tmp_path / name, RGB, exif=exif, **options)
    with Image.open(path) as image:
        upright = np.array(ImageOps.exif_transpose(image))
    np.testing.assert_array_equal(read_image(path).pixels, upright)
    assert upright.shape[:2] == ((6, 4) if orientation > 4 else (4, 6))


def test_a_16_bit_image_is_turned_too(tmp_path):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    pixels = read_image(save(tmp_path / "a.png", DEEP, exif=exif)).pixels
    np.testing.assert_array_equal(pixels[..., 0], np.rot90(np.rint(DEEP / 257), -1))


@pytest.mark.parametrize("exif", [b"Exif\0\0garbage", b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01"])
def test_damaged_exif_is_no_damaged_image_and_warns_of_nothing(tmp_path, exif):
    path = save(tmp_path / "a.jpg", np.full((8, 8), 90, np.uint8), exif=exif)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert read_image(path).pixels.shape == (8, 8, 1)
    assert not caught


# More than 8 bits


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm"])
def test_16_bit_without_a_window_maps_the_full_range(tmp_path, name):
    pixels = read_image(save(tmp_path / name, DEEP)).pixels
    np.testing.assert_array_equal(pixels[..., 0], np.rint(DEEP / 257))
    assert pixels.dtype == np.uint8


def test_16_bit_of_either_byte_order_is_read(tmp_path):
    image = Image.frombytes("I;16B", (6, 4), DEEP.astype(">u2").tobytes())
    pixels = read_image(save(tmp_path / "a.tif", image)).pixels
    np.testing.assert_array_equal(pixels[..., 0], np.rint(DEEP / 257))


def test_a_window_maps_its_ends_to_black_and_white_and_clips(tmp_path):
    values = np.array([[0, 999, 1000, 1500, 2000, 2001, 65535]], np.uint16)
    pixels = read_image(save(tmp_path / "a.png", values), (1000.0, 2000.0)).pixels
    np.testing.assert_array_equal(pixels[0, :, 0], [0, 0, 0, 128, 255, 255, 255])


def test_hounsfield_units_need_a_window(tmp_path):
    path = save(tmp_path / "ct.tif", np.array([[-1000, -300, 400]], np.int32))
    np.testing.assert_array_equal(read_image(path, (-1000.0, 400.0)).pixels[0, :, 0], [0, 128, 255])
    with pytest.raises(UserError, match=r"ct\.tif holds .* -1000 to 400 .*data\.window=-1000,400"):
        read_image(path)


def test_floats_between_0_and_1_need_no_window(tmp_path):
    path = save(tmp_path / "a.tif", np.array([[0, 0.5, 1]], np.float32))
    np.testing.assert_array_equal(read_image(path).pixels[0, :, 0], [0, 128, 255])


def test_other_floats_need_a_window(tmp_path):
    path = save(tmp_path / "a.tif", np.array([[-2, 0, 2]], np.float32))
    np.testing.assert_array_equal(read_image(path, (-2.0, 2.0)).pixels[0, :, 0], [0, 128, 255])
    with pytest.raises(UserError, match=r"a\.tif .* -2 to 2 .*data\.window"):
        read_image(path)


def test_not_a_number_is_refused_even_with_a_window(tmp_path):
    path = save(tmp_path / "a.tif", np.array([[0, np.nan]], np.float32))
    with pytest.raises(UserError, match=r"a\.tif .*NaN"):
        read_image(path, (0.0, 1.0))


def test_a_transparent_16_bit_value_becomes_black(tmp_path):
    path = tmp_path / "a.png"
    save(path, np.array([[257 * 5, 257 * 9]], np.uint16))
    chunk = b"tRNS" + struct.pack(">H", 257 * 9)
    data = path.read_bytes()
    at = data.index(b"IDAT") - 4
    entry = struct.pack(">I", 2) + chunk + struct.pack(">I", zlib.crc32(chunk))
    path.write_bytes(data[:at] + entry + data[at:])
    np.testing.assert_array_equal(read_image(path).pixels[0, :, 0], [5, 0])


def test_a_window_leaves_8_bit_images_alone(tmp_path):
    pixels = read_image(save(tmp_path / "a.png", GREY), (0.0, 4095.0)).pixels
    np.testing.assert_array_equal(pixels[..., 0], GREY)


# What is said of the file


@pytest.mark.parametrize(
    ("name", "pixels", "window", "expected"),
    [
        ("a.png", GREY, None, ("L", 8, (0.0, 255.0), (0.0, 230.0))),
        ("a.png", RGB, (5.0, 9.0), ("RGB", 8, (0.0, 255.0), (0.0, 213.0))),
        ("a.png", GREY > 100, None, ("1", 8, (0.0, 255.0), (0.0, 255.0))),
        ("a.png", DEEP, None, ("I;16", 16, (0.0, 65535.0), (0.0, 65527.0))),
        ("a.tif", DEEP, (0.0, 4095.0), ("I;16", 16, (0.0, 4095.0), (0.0, 65527.0))),
        (
            "a.tif",
            DEEP.astype(np.int32) - 9,
            (-9.0, 99.0),
            ("I", 32, (-9.0, 99.0), (-9.0, 65518.0)),
        ),
        ("a.tif", GREY.astype(np.float32) / 230, None, ("F", 32, (0.0, 1.0), (0.0, 1.0))),
    ],
)
def test_an_image_says_what_its_pixels_came_from(tmp_path, name, pixels, window, expected):
    decoded = read_image(save(tmp_path / name, pixels), window)
    assert (decoded.mode, decoded.bits, decoded.window, decoded.value_range) == expected


# What is refused


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"gone\.png can't be opened: No such file"):
        read_image(tmp_path / "gone.png")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", r"is empty \(0 bytes\)"),
        (b"patient,age\n1,57\n", "is not a readable image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is not a readable image"),
        (b"\x89PNG\r\n\x1a\n", "is not a readable image"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", "is damaged"),
    ],
)
def test_what_is_no_image_is_named(tmp_path, content, complaint):
    path = tmp_path / "scan.png"
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"scan\.png {complaint}"):
        read_image(path)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.bmp", "a.webp", "a.jp2"])
def test_a_truncated_file_is_named(tmp_path, name):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    path = save(tmp_path / name, noise)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UserError, match=r"a\.\w+ is (damaged|not a readable image)"):
        read_image(path)


@pytest.mark.parametrize("side", [12_000, 20_000, 2_000_000])  # Pillow warns, refuses, refuses
def test_a_decompression_bomb_is_refused_with_its_size_before_it_is_decoded(tmp_path, side):
    path = tmp_path / "bomb.png"
    path.write_bytes(png_header(side, side))
    with pytest.raises(UserError, match=rf"bomb\.png has {side * side:,} pixels.*{MAX_PIXELS:,}"):
        read_image(path)


def test_a_size_of_which_pillow_warns_is_still_read(tmp_path):
    path = tmp_path / "large.png"
    path.write_bytes(png_header(11_000, 11_000))
    with pytest.raises(UserError, match=r"large\.png is damaged"):  # its pixels are missing
        read_image(path)


@pytest.mark.parametrize("name", ["a.gif", "a.tif", "a.webp", "a.png"])
def test_a_stack_is_refused_rather_than_cut_to_its_first_image(tmp_path, name):
    frames = [Image.fromarray(np.full((8, 8), value, np.uint8)) for value in (0, 100, 200)]
    path = save(tmp_path / name, frames[0], save_all=True, append_images=frames[1:])
    with pytest.raises(UserError, match=r"a\.\w+ holds 3 images"):
        read_image(path)


def test_the_previews_in_a_camera_file_are_ignored(tmp_path):
    frames = [Image.fromarray(np.full((8, 8), value, np.uint8)) for value in (90, 200)]
    save(tmp_path / "a.mpo", frames[0], save_all=True, append_images=frames[1:])
    path = (tmp_path / "a.mpo").rename(tmp_path / "a.jpg")
    assert read_image(path).pixels[0, 0, 0] == 90


def test_threads_decode_side_by_side_without_a_warning(tmp_path):
    path = save(tmp_path / "a.jpg", RGB, exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01")
    warned = threading.Event()
    with warnings.catch_warnings(), ThreadPoolExecutor(8) as pool:
        warnings.simplefilter("always")
        warnings.showwarning = lambda *_: warned.set()
        images = list(pool.map(lambda _: read_image(path).pixels, range(200)))
    assert not warned.is_set()
    assert all(np.array_equal(image, images[0]) for image in images)


# Real files


def test_untouched_covid_ct_files_all_decode(shared_data):
    paths = sorted((shared_data / "covid_ct_originals").glob("*/*.*"))
    images = [read_image(path).pixels for path in paths]
    assert len(images) == 30
    assert {image.shape[-1] for image in images} == {1, 3}
    assert all(image.std() > 10 for image in images)
