"""Damaged and lying DICOM files give an image or a sentence, and take neither time nor memory."""

import random
import struct
import time
import zlib

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom import uid

from common.data.files.dicom import MAX_FRAMES, MAX_INFLATED, frames_of
from common.data.files.image import Reading
from common.data.files.stored import MAX_PIXELS
from common.program.errors import UserError
from tests.dicom_files import BUNDLED, DEEP, GREY, damaged, dataset, read, save, save_encapsulated


@pytest.mark.parametrize(
    "name",
    [
        *("CT_small.dcm", "MR_small_RLE.dcm", "MR_small_jp2klossless.dcm", "image_dfl.dcm"),
        *("MR_small_jpeg_ls_lossless.dcm", "SC_rgb_jpeg_gdcm.dcm", "SC_rgb_small_odd_jpeg.dcm"),
        *("JPGExtended.dcm", "ExplVR_BigEnd.dcm", "SC_rgb_rle_2frame.dcm", "examples_palette.dcm"),
    ],
)
def test_a_file_cut_off_anywhere_is_refused_or_loses_nothing(tmp_path, name):
    whole = (BUNDLED / "test_files" / name).read_bytes()
    expected = read(BUNDLED / "test_files" / name)
    lengths = {*np.linspace(0, len(whole) - 1, 40).astype(int), *range(len(whole) - 12, len(whole))}
    for length in sorted(lengths):
        path = damaged(tmp_path / f"{length}.dcm", whole[:length])
        started = time.monotonic()
        try:
            pixels = frames_of(path, Reading())[0].read().pixels
        except UserError as error:
            assert str(path) in str(error)
        else:
            np.testing.assert_array_equal(pixels, expected)
        assert time.monotonic() - started < 10


@pytest.mark.parametrize("seed", range(40))
def test_flipped_bytes_give_an_image_or_a_sentence(tmp_path, seed):
    draw = random.Random(seed)
    files = sorted((BUNDLED / "test_files").glob("*.dcm"))
    content = bytearray(draw.choice(files).read_bytes()[:200_000])
    reach = draw.choice([400, 1500, len(content)])
    for _ in range(draw.choice([1, 4, 16])):
        content[draw.randrange(min(reach, len(content)))] = draw.choice(
            [0, 255, draw.randrange(256)]
        )
    for image in frames_of(damaged(tmp_path / "a.dcm", content), Reading())[:2]:
        try:
            image.read()
        except UserError as error:
            assert "a.dcm" in str(error)
            assert str(error).isprintable()


def random_bytes(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", r"is empty \(0 bytes\)"),
        (b"\0" * 1000, "is not a DICOM file"),
        (b"hello", "is not a DICOM file"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 200, "is not a DICOM file"),
        (b"\0" * 128 + b"DICM", "does not|holds no pixels|is damaged"),
        (b"\0" * 128 + b"DICM" + b"\0" * 300, "is damaged|holds no pixels"),
        *((random_bytes(seed, 4000), "is not a DICOM file") for seed in range(3)),
        *((b"\0" * 128 + b"DICM" + random_bytes(seed, 4000), "a.dcm") for seed in range(20)),
    ],
)
def test_bytes_that_are_no_dicom_file_are_refused(tmp_path, content, sentence):
    (image,) = frames_of(damaged(tmp_path / "a.dcm", content), Reading())
    with pytest.raises(UserError, match=sentence):
        image.read()


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    (tmp_path / "folder.dcm").mkdir()
    for name in ("gone.dcm", "folder.dcm"):
        (image,) = frames_of(tmp_path / name, Reading())
        with pytest.raises(UserError, match=rf"{name} can't be opened: "):
            image.read()


@pytest.mark.parametrize(
    ("elements", "sentence"),
    [
        ({"Rows": 65535, "Columns": 65535}, rf"states 65,535 x 65,535 .*{MAX_PIXELS:,}"),
        ({"Rows": 0}, "states 8 x 0 pixels"),
        ({"Rows": 6}, "is damaged .*less than expected"),
        ({"NumberOfFrames": 2**31 - 1}, rf"states 2,147,483,647 frames; .*{MAX_FRAMES:,}"),
        ({"NumberOfFrames": -1}, "states -1 frames"),
        ({"BitsStored": 40}, "is damaged"),
        ({"SamplesPerPixel": 2}, "is damaged"),
        ({"PhotometricInterpretation": "\x1b[31mINK"}, "is damaged"),
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")  # of writing such values
def test_a_header_that_lies_is_refused(tmp_path, elements, sentence):
    (image,) = frames_of(save(tmp_path / "a.dcm", GREY, **elements), Reading())
    with pytest.raises(UserError, match=sentence):
        image.read()


def test_a_file_without_pixels_says_what_it_is(tmp_path):
    with pytest.raises(UserError, match=r"a\.dcm holds no pixels \(it is a Secondary Capture"):
        read(save(tmp_path / "a.dcm"))


def test_a_compressed_image_of_another_size_than_the_header_says_takes_no_memory(tmp_path):
    huge = bytearray(imagecodecs.jpeg2k_encode(DEEP, level=0, codecformat="j2k"))
    huge[8:16] = struct.pack(">2I", 60_000, 60_000)
    path = save_encapsulated(tmp_path / "a.dcm", uid.JPEG2000Lossless, bytes(huge), like=DEEP)
    with pytest.raises(UserError, match=r"\(48, 64, 1\), its compressed image \(60000, 60000, 1\)"):
        read(path)


def test_a_deflated_file_that_grows_without_bounds_is_refused(tmp_path):
    path = tmp_path / "a.dcm"
    deflated = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    made = dataset()
    made.file_meta.TransferSyntaxUID = uid.DeflatedExplicitVRLittleEndian
    made.save_as(path, enforce_file_format=True)
    head = 144 + pydicom.dcmread(path).file_meta.FileMetaInformationGroupLength
    chunk = b"\0" * 2**20
    packed = [deflated.compress(chunk) for _ in range(MAX_INFLATED // 2**20 + 2)]
    path.write_bytes(path.read_bytes()[:head] + b"".join(packed) + deflated.flush())
    with pytest.raises(UserError, match=rf"a\.dcm unpacks to more than {MAX_INFLATED:,} bytes"):
        read(path)
