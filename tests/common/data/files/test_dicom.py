"""Specification of `dicom`: frames of every kind become uint8 pixels, or a sentence.

The expectations come from pydicom's own functions, from what was encoded, or from arithmetic.
"""

import struct
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from common.config.defaults import default_config
from common.data.files import dicom
from common.data.files.dicom import frames_of, read_frame, read_frame_values
from common.data.files.image import Reading
from common.data.files.slices import images_in
from common.data.sources.open import open_source
from common.program.errors import UserError
from tests.dicom_files import (
    BUNDLED,
    DEEP,
    GREY,
    HOUNSFIELD,
    RGB,
    damaged,
    dataset,
    mapped,
    read,
    save,
    save_encapsulated,
)

# Grey values


def test_without_a_window_all_of_the_stored_bits_are_shown(tmp_path):
    decoded = read_frame(save(tmp_path / "a.dcm", GREY))
    np.testing.assert_array_equal(decoded.pixels, mapped(GREY, 0, 4095))
    assert (decoded.mode, decoded.bits) == ("MONOCHROME2", 12)
    assert (decoded.window, decoded.value_range) == ((0.0, 4095.0), (0.0, 3900.0))


def test_a_signed_ct_of_12_bits_is_rescaled_to_hounsfield_units(tmp_path):
    stored = HOUNSFIELD + 1024 - 2048  # the lowest 12-bit value is -1024 HU
    path = save(tmp_path / "a.dcm", stored, RescaleSlope=1, RescaleIntercept=1024)
    decoded = read_frame(path)
    assert (decoded.window, decoded.value_range) == ((-1024.0, 3071.0), (-1024.0, 1023.0))
    np.testing.assert_array_equal(decoded.pixels, mapped(HOUNSFIELD, -1024, 3071))


def test_bits_above_those_stored_do_not_count(tmp_path):
    dirty = (GREY | 0xF000).astype(np.uint16)
    np.testing.assert_array_equal(
        read(save(tmp_path / "dirty.dcm", dirty)), read(save(tmp_path / "clean.dcm", GREY))
    )


def test_the_file_s_window_is_the_standard_s_linear_one(tmp_path):
    path = save(tmp_path / "a.dcm", GREY, WindowCenter=2048, WindowWidth=4096)
    assert read_frame(path).window == (0.0, 4095.0)  # PS3.3, C.11.2.1.2.1, note 4
    path = save(tmp_path / "b.dcm", GREY, WindowCenter=0, WindowWidth=100)
    assert read_frame(path).window == (-50.0, 49.0)  # note 5


def test_an_exact_window_is_centre_plus_and_minus_half_the_width(tmp_path):
    window = {"WindowCenter": 40, "WindowWidth": 400, "VOILUTFunction": "LINEAR_EXACT"}
    assert read_frame(save(tmp_path / "a.dcm", GREY, **window)).window == (-160.0, 240.0)


def test_a_window_of_a_map_of_fractions_is_exact(tmp_path):
    rescale = {"RescaleSlope": "0.001", "RescaleIntercept": 0}
    path = save(tmp_path / "a.dcm", GREY, WindowCenter="0.5", WindowWidth=1, **rescale)
    assert read_frame(path).window == (0.0, 1.0)


def test_of_several_windows_the_first_is_taken(tmp_path):
    path = save(tmp_path / "a.dcm", GREY, WindowCenter=[40, 600], WindowWidth=[400, 1600])
    assert read_frame(path).window == (-160.0, 239.0)


def test_the_config_s_window_goes_before_the_file_s(tmp_path):
    stored, rescale = HOUNSFIELD + 1024, {"RescaleSlope": 1, "RescaleIntercept": -1024}
    path = save(tmp_path / "a.dcm", stored, WindowCenter=0, WindowWidth=10, **rescale)
    decoded = read_frame(path, window=(-1000.0, 400.0))
    np.testing.assert_array_equal(decoded.pixels, mapped(HOUNSFIELD, -1000, 400))
    assert decoded.window == (-1000.0, 400.0)


@pytest.mark.parametrize(
    "elements",
    [
        {"WindowCenter": 40, "WindowWidth": 0},
        {"WindowCenter": 40, "WindowWidth": -5},
        {"WindowCenter": "nan", "WindowWidth": 400},
        {"WindowCenter": 40, "WindowWidth": "inf"},
        {"WindowCenter": None, "WindowWidth": 400},
        {"WindowCenter": 40},
        {"RescaleSlope": 0, "RescaleIntercept": 0},
        {"RescaleSlope": "nan", "RescaleIntercept": "nan"},
        {"RescaleSlope": None, "RescaleIntercept": None},
        {"RescaleSlope": 1},
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")  # of writing such values
def test_a_window_or_a_rescale_that_means_nothing_counts_as_none(tmp_path, elements):
    decoded = read_frame(save(tmp_path / "a.dcm", GREY, **elements))
    assert decoded.window == (0.0, 4095.0)
    np.testing.assert_array_equal(decoded.pixels, mapped(GREY, 0, 4095))


def test_a_negative_slope_turns_the_range_round(tmp_path):
    path = save(tmp_path / "a.dcm", GREY, RescaleSlope=-2, RescaleIntercept=10)
    decoded = read_frame(path)
    assert (decoded.window, decoded.value_range) == ((-8180.0, 10.0), (-7790.0, 10.0))


def test_monochrome1_is_inverted_and_its_values_are_not(tmp_path):
    plain = read_frame(save(tmp_path / "2.dcm", GREY))
    path = save(tmp_path / "1.dcm", GREY, PhotometricInterpretation="MONOCHROME1")
    decoded = read_frame(path)
    np.testing.assert_array_equal(decoded.pixels, 255 - plain.pixels)
    assert decoded.mode == "MONOCHROME1"
    assert (decoded.window, decoded.value_range) == (plain.window[::-1], plain.value_range)


def test_a_modality_table_is_looked_up(tmp_path):
    table = Dataset()
    table.LUTDescriptor, table.ModalityLUTType = [4, 0, 16], "US"
    table.LUTData = np.array([0, 100, 400, 65535], np.uint16).tobytes()
    table["LUTData"].VR = "OW"
    stored = np.array([[0, 1, 2, 3]], np.uint8)
    decoded = read_frame(save(tmp_path / "a.dcm", stored, ModalityLUTSequence=Sequence([table])))
    np.testing.assert_array_equal(
        decoded.pixels, mapped(np.array([[0, 100, 400, 65535]]), 0, 65535)
    )
    assert decoded.window == (0.0, 65535.0)


def test_an_enhanced_file_states_rescale_and_window_by_frame(tmp_path):
    def group(**items):
        made = Dataset()
        for name, elements in items.items():
            item = Dataset()
            for keyword, value in elements.items():
                setattr(item, keyword, value)
            setattr(made, name, Sequence([item]))
        return made

    slopes = [
        group(PixelValueTransformationSequence={"RescaleSlope": slope, "RescaleIntercept": 5})
        for slope in (2, 3)
    ]
    shared = group(FrameVOILUTSequence={"WindowCenter": 50, "WindowWidth": 100})
    path = save(
        tmp_path / "a.dcm",
        np.stack([GREY, GREY])[..., None][:, :, :, 0].reshape(10, 8),
        Rows=5,
        NumberOfFrames=2,
        PerFrameFunctionalGroupsSequence=Sequence(slopes),
        SharedFunctionalGroupsSequence=Sequence([shared]),
    )
    for frame, slope in ((0, 2), (1, 3)):
        decoded = read_frame(path, frame)
        assert decoded.value_range == (5.0, 3900.0 * slope + 5)
        assert decoded.window == (0.0, 99.0)


def test_floats_need_a_window(tmp_path):
    maps = np.array([[0.0, 0.25], [0.5, 1.0]], np.float32)
    made = dataset(GREY[:2, :2], FloatPixelData=maps.tobytes(), BitsAllocated=32)
    del made.PixelData, made.BitsStored, made.HighBit, made.PixelRepresentation
    made.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    with pytest.raises(UserError, match=r"a\.dcm holds .* from 0 to 1, and no window; .*=0,1$"):
        read(tmp_path / "a.dcm")
    decoded = read_frame(tmp_path / "a.dcm", window=(0.0, 1.0))
    np.testing.assert_array_equal(decoded.pixels, mapped(maps, 0, 1))
    assert decoded.bits == 32
    with pytest.raises(UserError, match="not a mask of whole numbers"):
        read_frame_values(tmp_path / "a.dcm")


def test_a_float_that_is_no_number_is_refused(tmp_path):
    maps = np.array([[0.0, np.nan], [0.5, 1.0]], np.float32)
    made = dataset(GREY[:2, :2], FloatPixelData=maps.tobytes(), BitsAllocated=32)
    del made.PixelData
    made.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    with pytest.raises(UserError, match=r"a\.dcm holds values that are not numbers"):
        read_frame(tmp_path / "a.dcm", window=(0.0, 1.0))


# Colours


def test_colours_are_rgb_by_pixel_or_by_plane(tmp_path):
    np.testing.assert_array_equal(read(save(tmp_path / "a.dcm", RGB)), RGB)
    planes = np.ascontiguousarray(RGB.transpose(2, 0, 1))
    path = save(tmp_path / "b.dcm", RGB, PixelData=planes.tobytes(), PlanarConfiguration=1)
    np.testing.assert_array_equal(read(path), RGB)


def test_ybr_becomes_rgb(tmp_path):
    red, grey = (76, 85, 255), (128, 128, 128)  # PS3.3, C.7.6.3.1.2
    stored = np.array([[red, grey]], np.uint8)
    path = save(tmp_path / "a.dcm", stored, PhotometricInterpretation="YBR_FULL")
    expected = np.array([[(254, 0, 0), grey]])
    np.testing.assert_allclose(read(path).astype(int), expected, atol=1)


def test_a_space_of_colours_that_is_not_known_is_refused(tmp_path):
    path = save(tmp_path / "a.dcm", RGB, PhotometricInterpretation="HSV")
    with pytest.raises(UserError, match=r"a\.dcm has colours in HSV"):
        read(path)


def test_colours_of_16_bits_are_shown_whole_whatever_the_window(tmp_path):
    deep = RGB.astype(np.uint16) * 257
    path = save(tmp_path / "a.dcm", deep, BitsStored=16, HighBit=15)
    decoded = read_frame(path, window=(0.0, 100.0))
    np.testing.assert_array_equal(decoded.pixels, RGB)
    assert (decoded.bits, decoded.window) == (16, (0.0, 65535.0))


@pytest.mark.parametrize("bits", [8, 16])
def test_a_palette_is_looked_up_and_as_a_mask_it_is_its_indices(tmp_path, bits):
    indices = np.array([[0, 1], [2, 1]], np.uint8)
    colours = np.array([[0, 0, 0], [255, 128, 0], [9, 10, 11], [1, 1, 1]], np.uint8)
    tables = colours.astype(f"u{bits // 8}") * (257 if bits == 16 else 1)
    elements = {}
    for name, table in zip(("Red", "Green", "Blue"), tables.T, strict=True):
        elements[f"{name}PaletteColorLookupTableDescriptor"] = [4, 0, bits]
        elements[f"{name}PaletteColorLookupTableData"] = table.tobytes()
    path = save(tmp_path / "a.dcm", indices, PhotometricInterpretation="PALETTE COLOR", **elements)
    np.testing.assert_array_equal(read(path), colours[indices])
    np.testing.assert_array_equal(read_frame_values(path), indices)


# Masks


def test_a_mask_is_the_stored_integers(tmp_path):
    elements = {"RescaleSlope": 2, "RescaleIntercept": 7, "WindowCenter": 1, "WindowWidth": 2}
    path = save(tmp_path / "a.dcm", GREY, PhotometricInterpretation="MONOCHROME1", **elements)
    values = read_frame_values(path)
    np.testing.assert_array_equal(values, GREY)
    assert values.dtype == np.int64


def test_a_mask_in_colours_is_refused_and_one_in_grey_rgb_is_read(tmp_path):
    with pytest.raises(UserError, match=r"a\.dcm is a colour mask"):
        read_frame_values(save(tmp_path / "a.dcm", RGB))
    grey = np.repeat(RGB[..., :1], 3, axis=-1)
    np.testing.assert_array_equal(read_frame_values(save(tmp_path / "b.dcm", grey)), RGB[..., 0])


# Compressed


def jpeg(stored: np.ndarray, **options) -> bytes:
    return imagecodecs.jpeg8_encode(stored, **options)


LOSSLESS = {
    "JPEG lossless": (uid.JPEGLosslessSV1, imagecodecs.ljpeg_encode, DEEP),
    "JPEG-LS": (uid.JPEGLSLossless, imagecodecs.jpegls_encode, DEEP),
    "JPEG-LS in colour": (uid.JPEGLSLossless, imagecodecs.jpegls_encode, RGB),
    "JPEG 2000": (uid.JPEG2000Lossless, lambda a: imagecodecs.jpeg2k_encode(a, level=0), DEEP),
    "JPEG 2000 in colour of 12 bits": (
        uid.JPEG2000Lossless,
        lambda a: imagecodecs.jpeg2k_encode(a, level=0, reversible=True, mct=False),
        np.dstack([DEEP, DEEP.T.reshape(48, 64), DEEP[::-1]]),
    ),
    "HTJ2K": (uid.HTJ2KLossless, imagecodecs.htj2k_encode, DEEP),
}


@pytest.mark.parametrize("kind", LOSSLESS)
def test_what_was_compressed_without_loss_comes_back(tmp_path, kind):
    syntax, encode, stored = LOSSLESS[kind]
    path = save_encapsulated(tmp_path / "a.dcm", syntax, encode(stored), like=stored)
    expected = mapped(stored, 0, 4095)[..., 0] if stored.dtype == np.uint16 else stored
    np.testing.assert_array_equal(read(path), expected.reshape(*stored.shape[:2], -1))


@pytest.mark.parametrize(
    ("syntax", "encode", "bits"),
    [
        (uid.JPEGLosslessSV1, imagecodecs.ljpeg_encode, 12),
        (uid.JPEGLSLossless, imagecodecs.jpegls_encode, 16),
    ],
)
def test_negative_values_survive_a_compression_that_knows_no_sign(tmp_path, syntax, encode, bits):
    signed = DEEP.astype(np.int16) - 2048
    frame = encode((signed.astype(int) % 2**bits).astype(np.uint16))
    elements = {"like": signed, "BitsStored": bits, "HighBit": bits - 1}
    path = save_encapsulated(tmp_path / "a.dcm", syntax, frame, **elements)
    np.testing.assert_array_equal(read_frame_values(path), signed)


def test_jpeg_of_12_bits_is_read(tmp_path):
    smooth = np.add.outer(np.arange(64), np.arange(64)).astype(np.uint16) * 30
    frame = jpeg(smooth, bitspersample=12, level=98)
    path = save_encapsulated(tmp_path / "a.dcm", uid.JPEGExtended12Bit, frame, like=smooth)
    assert np.abs(read_frame_values(path) - smooth).max() < 20


def test_the_compressed_frames_of_a_film_are_told_apart(tmp_path):
    frames = [imagecodecs.jpegls_encode(DEEP + shift) for shift in range(3)]
    path = save_encapsulated(tmp_path / "a.dcm", uid.JPEGLSLossless, *frames, like=DEEP)
    for shift in range(3):
        np.testing.assert_array_equal(read_frame_values(path, shift), DEEP + shift)


def test_a_compression_that_is_not_decoded_is_named(tmp_path):
    path = save_encapsulated(tmp_path / "a.dcm", uid.MPEG2MPML, b"\0" * 8, like=GREY)
    with pytest.raises(UserError, match=r"a\.dcm is compressed as MPEG2 .*; convert it"):
        read(path)


# Frames, groups and names


def film(path: Path, frames: int, **elements) -> Path:
    stored = np.arange(frames * 6, dtype=np.uint16).reshape(frames * 2, 3)
    return save(path, stored, Rows=2, NumberOfFrames=frames, **elements)


def test_a_single_frame_has_no_suffix(tmp_path):
    save(tmp_path / "a.dcm", GREY)
    save(tmp_path / "b.dcm", GREY, NumberOfFrames=1)
    for name in ("a.dcm", "b.dcm"):
        (image,) = frames_of(tmp_path / name, Reading())
        assert image.suffix == ""
        np.testing.assert_array_equal(image.read().pixels, mapped(GREY, 0, 4095))
        np.testing.assert_array_equal(image.read_values(), GREY)


def test_several_frames_are_numbered_in_their_order(tmp_path):
    images = frames_of(film(tmp_path / "a.dcm", 12), Reading())
    assert [image.suffix for image in images] == [f"#{frame:03}" for frame in range(12)]
    for frame, image in enumerate(images):
        expected = np.arange(frame * 6, frame * 6 + 6).reshape(2, 3)
        np.testing.assert_array_equal(image.read_values(), expected)
        np.testing.assert_array_equal(image.read().pixels, mapped(expected, 0, 4095))


def test_the_order_of_more_than_a_thousand_names_is_that_of_the_frames(tmp_path):
    suffixes = [image.suffix for image in frames_of(film(tmp_path / "a.dcm", 1001), Reading())]
    assert suffixes[0] == "#0000"
    assert suffixes == sorted(suffixes)


def test_listing_reads_no_pixels(tmp_path):
    path = film(tmp_path / "a.dcm", 3)
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.index(struct.pack("<HH", 0x7FE0, 0x0010)) + 12])
    assert len(frames_of(path, Reading())) == 3


def test_the_window_of_the_reading_reaches_the_frames(tmp_path):
    save(tmp_path / "a.dcm", GREY)
    (image,) = frames_of(tmp_path / "a.dcm", Reading(window=(0.0, 100.0)))
    assert image.read().window == (0.0, 100.0)


def test_the_group_is_the_patient_or_another_attribute(tmp_path):
    path = film(tmp_path / "a.dcm", 2, PatientName="Doe^Jane", StudyInstanceUID="1.2.9")
    for tag, group in (
        ("PatientID", "P1"),
        ("PatientName", "Doe^Jane"),
        ("StudyInstanceUID", "1.2.9"),
        ("Rows", "2"),
        ("AccessionNumber", ""),
    ):
        images = frames_of(path, Reading(group_tag=tag))
        assert [image.read_group() for image in images] == [group, group]


@pytest.mark.parametrize("tag", ["Patient", "patientid", "", "PatientID "])
def test_an_unknown_attribute_is_refused(tmp_path, tag):
    with pytest.raises(UserError, match=r"config\.data\.group names '.*', .*dicom:StudyInstance"):
        frames_of(save(tmp_path / "a.dcm", GREY), Reading(group_tag=tag))


def test_several_threads_share_one_file(tmp_path, monkeypatch):
    path, opened = film(tmp_path / "a.dcm", 40), []
    original = dicom.dcmread
    monkeypatch.setattr(dicom, "dcmread", lambda *args: opened.append(args) or original(*args))
    with ThreadPoolExecutor(8) as pool:
        values = list(pool.map(lambda frame: read_frame_values(path, frame), range(40)))
    np.testing.assert_array_equal(np.stack(values).ravel(), np.arange(240))
    assert len(opened) == 1


def test_a_file_that_changes_is_opened_anew(tmp_path):
    path = save(tmp_path / "a.dcm", GREY)
    assert read_frame_values(path)[0, 1] == 100
    save(path, np.ascontiguousarray(GREY[::-1, ::-1]))
    assert read_frame_values(path)[0, 1] == 3800


def test_a_folder_of_dicom_files_needs_no_extensions(tmp_path):
    folder = tmp_path / "study"
    for name in ("CT/IM0001", "CT/b.DCM", "MR/c.dicom"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        save(folder / name, GREY, PatientID=f"of {name}")
    film(folder / "MR" / "film", 2)
    (folder / "CT" / "notes").write_text("no image")
    save(folder / "DICOMDIR")
    config = default_config().data
    config.dir = str(folder)
    source = open_source(config)
    records = source.splits["train"]
    assert [record.id for record in records] == [
        *("CT/IM0001", "CT/b.DCM", "MR/c.dicom", "MR/film#000", "MR/film#001")
    ]
    assert source.classes == ("CT", "MR")
    groups = [record.read_group() for record in records]
    assert groups == ["of CT/IM0001", "of CT/b.DCM", "of MR/c.dicom", "P1", "P1"]
    assert records[0].read().pixels.shape == (5, 8, 1)


# Silence, and what is not installed


def test_warnings_do_not_escape_from_any_thread(tmp_path, capfd):
    odd = BUNDLED / "test_files" / "SC_rgb_jpeg.dcm"  # pydicom warns of its colours
    bad = damaged(
        tmp_path / "bad.dcm", (BUNDLED / "test_files" / "JPEG2000.dcm").read_bytes()[:-99]
    )
    escaped = []

    def work() -> None:
        try:
            for _ in range(5):
                read(odd)
                with pytest.raises(UserError):
                    read(bad)
        except Exception as error:
            escaped.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not escaped
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("package", "module", "sentence"),
    [
        ("pydicom", "common.data.files.dicom", "DICOM files are read with pydicom"),
        (
            "imagecodecs",
            "common.data.files.dicom_codecs",
            "Compressed DICOM files are read with imagec",
        ),
    ],
)
def test_what_is_not_installed_is_named_with_how_to_install_it(
    tmp_path, monkeypatch, package, module, sentence
):
    path = BUNDLED / "test_files" / "SC_rgb_jpeg.dcm"
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, module, raising=False)
    with pytest.raises(UserError, match=rf"{sentence}\S*; install it with pip install 'triptych\["):
        images_in(path, Reading())[0].read()


def test_files_that_are_not_compressed_need_no_codecs(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    monkeypatch.delitem(sys.modules, "common.data.files.dicom_codecs", raising=False)
    assert read(save(tmp_path / "a.dcm", GREY)).shape == (5, 8, 1)
