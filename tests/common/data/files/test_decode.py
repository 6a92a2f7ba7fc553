"""Specification of `decode`: every kind of image file becomes upright uint8 pixels."""

import struct
import sys
import threading
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import ExifTags, Image, ImageOps

from common.data.files.decode import read_image
from common.data.files.stored import MAX_PIXELS
from common.program.errors import UserError
from tests.picture_files import bmp, png, pnm, tiff

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


# More than 8 bits in several channels, and other depths

COLOURS = np.array([[[0, 15, 4095], [300, 1500, 2047], [4095, 0, 16]]], np.uint16)  # 12 of 16 bits
ALPHA = np.array([[[65535], [0], [32768]]], np.uint16)
WINDOW = (0.0, 4095.0)
SHOWN = np.rint(COLOURS / 4095 * 255).astype(np.uint8)


def jpeg2000(values: np.ndarray, bits: int) -> bytes:
    return imagecodecs.jpeg2k_encode(values, level=0, bitspersample=bits, reversible=True)


@pytest.mark.parametrize(
    ("content", "bits"),
    [
        (png(COLOURS, 16, kind=2), 16),
        (tiff(COLOURS, 16, photometric=2), 16),
        (tiff(COLOURS, 16, photometric=2, order=">", planar=2), 16),
        (tiff(COLOURS, 12, photometric=2), 12),
        (tiff(COLOURS.astype(np.int16), 16, kind=2, photometric=2), 16),
        (tiff(COLOURS.astype(np.float32), 32, kind=3, photometric=2), 32),
        (pnm(COLOURS, 6, 65535), 16),
        (pnm(COLOURS, 3, 4095), 12),
        (jpeg2000(COLOURS, 12), 12),
        (jpeg2000(COLOURS, 16), 16),
    ],
    ids=["png", "tiff", "planes", "12 bits", "signed", "floats", "ppm", "text", "jp2-12", "jp2-16"],
)
def test_a_window_maps_each_channel_of_deep_colours_with_all_of_its_bits(tmp_path, content, bits):
    (tmp_path / "a").write_bytes(content)
    decoded = read_image(tmp_path / "a", WINDOW)
    np.testing.assert_array_equal(decoded.pixels, SHOWN)
    assert (decoded.bits, decoded.window, decoded.value_range) == (bits, WINDOW, (0.0, 4095.0))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "premultiplied"])
def test_deep_transparency_is_composited_onto_black(tmp_path, kind):
    values = np.concatenate([COLOURS, ALPHA], axis=-1)
    if kind == "premultiplied":
        values[..., :3] = values[..., :3] * (values[..., 3:] / 65535)
    extras = [1] if kind == "premultiplied" else [2]
    content = (
        png(values, 16, 6) if kind == "PNG" else tiff(values, 16, photometric=2, extras=extras)
    )
    (tmp_path / "a").write_bytes(content)
    shown = np.rint(SHOWN * (ALPHA / 65535))
    np.testing.assert_allclose(
        read_image(tmp_path / "a", WINDOW).pixels, shown, atol=extras == [1], rtol=0
    )


def test_a_transparent_deep_colour_becomes_black(tmp_path):
    (tmp_path / "a.png").write_bytes(png(COLOURS, 16, 2, transparent=[300, 1500, 2047]))
    shown = SHOWN * np.array([[[1], [0], [1]]])
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", WINDOW).pixels, shown)


def test_deep_colours_are_turned_upright(tmp_path):
    (tmp_path / "a.png").write_bytes(png(COLOURS, 16, 2, orientation=6))
    np.testing.assert_array_equal(
        read_image(tmp_path / "a.png", WINDOW).pixels, SHOWN.swapaxes(0, 1)
    )
    (tmp_path / "a.tif").write_bytes(tiff(COLOURS, 16, photometric=2, orientation=2))
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif", WINDOW).pixels, SHOWN[:, ::-1])


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("bits", "kind"), [(3, 1), (8, 1), (12, 1), (16, 1), (16, 2), (32, 1), (32, 3)]
)
def test_where_white_is_zero_high_values_are_dark_at_every_depth(tmp_path, bits, kind, order):
    values = np.array([0, 1, 4, 7]).reshape(1, 4, 1)
    size = 1 if bits <= 8 else bits // 8 if bits != 12 else 2
    stored = values.astype(f"{'_uif'[kind]}{size}")
    (tmp_path / "a.tif").write_bytes(tiff(stored, bits, kind, photometric=0, order=order))
    decoded = read_image(tmp_path / "a.tif", (0.0, 7.0))
    high, window = (255, (0.0, 255.0)) if bits == 8 else (7, (7.0, 0.0))
    if bits == 3:  # shown as 8 bits are
        window = (0.0, 255.0)
    np.testing.assert_array_equal(decoded.pixels, 255 - np.rint(values / high * 255))
    assert decoded.window == window


@pytest.mark.parametrize(
    ("content", "white"),
    [
        (png(GREY[..., None] % 16, 4), 15),
        (tiff(GREY[..., None] % 8, 3), 7),
        (pnm(GREY % 101, 5, 100), 100),
        (pnm(DEEP % 4096, 5, 4095), 4095),
        (tiff(DEEP[..., None] % 4096, 12), 4095),
        (tiff(DEEP[..., None] % 4096, 12, order=">"), 4095),
        (jpeg2000(GREY % 32, 5), 31),
        (jpeg2000(DEEP % 512, 9), 511),
        (jpeg2000(DEEP % 1024, 10), 1023),
    ],
)
def test_without_a_window_the_range_of_the_bits_is_black_to_white(tmp_path, content, white):
    (tmp_path / "a").write_bytes(content)
    values = (GREY if white < 255 else DEEP) % (white + 1)
    shown = np.rint(values / white * 255)
    np.testing.assert_array_equal(read_image(tmp_path / "a").pixels[..., 0], shown)


def test_a_transparent_value_of_four_bits_becomes_black(tmp_path):
    values = np.array([[[5], [9]]], np.uint8)
    (tmp_path / "a.png").write_bytes(png(values, 4, transparent=[9]))
    np.testing.assert_array_equal(read_image(tmp_path / "a.png").pixels[0, :, 0], [5 * 17, 0])


@pytest.mark.parametrize(("dtype", "kind"), [("i2", 2), ("i4", 2), ("f4", 3)])
def test_compressed_numbers_of_big_endian_files_are_not_swapped_twice(tmp_path, dtype, kind):
    values = np.array([[[0], [1], [2], [3]]], dtype)
    content = tiff(values, 8 * values.itemsize, kind, order=">", compression=8)
    (tmp_path / "a.tif").write_bytes(content)
    pixels = read_image(tmp_path / "a.tif", (0.0, 3.0)).pixels
    np.testing.assert_array_equal(pixels[0, :, 0], [0, 85, 170, 255])


@pytest.mark.parametrize(
    "how", [{}, {"planar": 2}, {"fill_order": 2}, {"planar": 2, "fill_order": 2}]
)
@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a_palette_of_16_bits_is_looked_up_however_its_indices_lie(tmp_path, bits, how):
    indices = (np.arange(12).reshape(3, 4, 1) % 2**bits).astype(np.uint8)
    palette = np.random.default_rng(bits).integers(0, 256, (2**bits, 3))
    for scale in (257, 256, 1):  # right; Pillow's; that of programs which forget it
        content = tiff(indices, bits, photometric=3, palette=palette * scale, **how)
        (tmp_path / "a.tif").write_bytes(content)
        pixels = read_image(tmp_path / "a.tif").pixels
        np.testing.assert_array_equal(pixels, palette[indices[..., 0]])


@pytest.mark.parametrize("top_down", [False, True])
def test_a_bmp_of_four_bits_with_a_scale_of_grey_is_unpacked(tmp_path, top_down):
    indices = np.arange(12, dtype=np.uint8).reshape(3, 4)
    scale = np.arange(16).repeat(3).reshape(16, 3)
    (tmp_path / "a.bmp").write_bytes(bmp(indices, 4, scale, top_down=top_down))
    np.testing.assert_array_equal(read_image(tmp_path / "a.bmp").pixels[..., 0], indices)


def test_what_is_unsigned_stays_so(tmp_path):
    values = np.array([[[0], [2**31], [2**32 - 1]]], np.uint32)
    (tmp_path / "a.tif").write_bytes(tiff(values, 32))
    pixels = read_image(tmp_path / "a.tif", (0.0, 2.0**32 - 1)).pixels
    np.testing.assert_array_equal(pixels[0, :, 0], [0, 128, 255])


def test_what_is_signed_stays_so(tmp_path):
    values = np.array([[[-128], [0], [127]]], np.int8)
    (tmp_path / "a.tif").write_bytes(tiff(values, 8, kind=2))
    pixels = read_image(tmp_path / "a.tif", (-128.0, 127.0)).pixels
    np.testing.assert_array_equal(pixels[0, :, 0], [0, 128, 255])
    with pytest.raises(UserError, match=r"values from -128 to 127 .*data\.window=-128,127"):
        read_image(tmp_path / "a.tif")


# One of two strips has no bytes: a sparse file, which some readers fill with zeros.
SPARSE = tiff(np.dstack([DEEP] * 3), 16, photometric=2, rows=2).replace(
    struct.pack("<2I", 72, 72), struct.pack("<2I", 72, 0)
)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (tiff(GREY[..., None], photometric=None), "does not say whether 0 is black or white"),
        (tiff(np.dstack([GREY] * 2), extras=[0]), "has 2 channels and does not say what they are"),
        (tiff(np.dstack([DEEP] * 4), 16, photometric=5), "stores its colours as SEPARATED"),
        (tiff(RGB, photometric=6), "stores its colours as YCbCr"),
        (tiff(RGB, photometric=6) + bytes(24), "stores its colours as YCbCr"),  # enough for RGBX
        (tiff(RGB, photometric=8), "stores its colours as LAB"),
        (tiff(DEEP[..., None].astype(np.uint32), 24), r"of an unsupported kind \(24 bits\)"),
        (tiff(np.dstack([DEEP] * 3), 16, photometric=2)[:80], "is damaged|is not a readable image"),
        (pnm(GREY, 5, 100), "holds 230, more than its stated maximum 100"),
        (pnm(DEEP, 5, 4095), "holds 65527, more than its stated maximum 4095"),
        (pnm(DEEP % 4096, 5, 4095)[:-1], "is damaged"),
        (pnm(np.dstack([DEEP % 4096] * 3), 6, 4095)[:-1], "is damaged"),
        (SPARSE, "is damaged .parts of its pixels are missing"),
    ],
)
def test_what_nobody_can_read_rightly_is_refused(tmp_path, content, reason):
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(UserError, match=rf"a\.tif .*({reason})"):
        read_image(tmp_path / "a.tif", WINDOW)


def test_without_the_other_readers_a_sentence_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "common.data.files.whole_depth", raising=False)
    monkeypatch.setitem(sys.modules, "tifffile", None)
    (tmp_path / "a.png").write_bytes(png(COLOURS, 16, kind=2))
    with pytest.raises(UserError, match=r"pip install 'triptych\[pictures\]'"):
        read_image(tmp_path / "a.png", WINDOW)
    (tmp_path / "b.png").write_bytes(png(COLOURS[..., :1], 16))
    assert read_image(tmp_path / "b.png", WINDOW).bits == 16


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


def test_a_stack_that_imagej_wrote_as_one_page_is_refused(tmp_path):
    options = {"imagej": True, "truncate": True}
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((3, 8, 8), np.uint8), **options)
    with pytest.raises(UserError, match=r"a\.tif holds 3 images"):
        read_image(tmp_path / "a.tif")


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
