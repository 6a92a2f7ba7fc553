"""Specification of padding in DICOM files (PS3.3, C.7.5.1.1.2): background, and no value."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from common.config.defaults import default_config
from common.data.files.dicom import read_frame, read_frame_values
from common.inspect.inspection import inspect
from tests.dicom_files import RGB, dataset, mapped, read, save

STORED = np.array([[0, 100, 200, 300], [0, 400, 4000, 4095]], np.uint16)
PADDED = STORED == 0
MAPS = np.array([[0.0, 0.25], [0.5, 1.0]], np.float32)


def added(stored: np.ndarray, vr: str, **values: float) -> Dataset:
    """A file that states padding in a value representation of the test's choice."""
    made = dataset(stored)
    for keyword, value in values.items():
        made.add_new(keyword, vr, value)
    return made


def written(path: Path, made: Dataset) -> Path:
    made.save_as(path, enforce_file_format=True)
    return path


def floats(path: Path, maps: np.ndarray, **elements: float) -> Path:
    keyword = "FloatPixelData" if maps.itemsize == 4 else "DoubleFloatPixelData"
    made = dataset(np.zeros(maps.shape, np.uint16), **{keyword: maps.tobytes(), **elements})
    made.BitsAllocated = 8 * maps.itemsize
    del made.PixelData, made.BitsStored, made.HighBit, made.PixelRepresentation
    return written(path, made)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("padding", [0, 4095])
@pytest.mark.parametrize("window", [None, (100.0, 400.0)])
def test_padding_is_black_whatever_is_dark(tmp_path, photometric, padding, window):
    elements = {"PhotometricInterpretation": photometric, "PixelPaddingValue": padding}
    decoded = read_frame(save(tmp_path / "a.dcm", STORED, **elements), window=window)
    grey = mapped(STORED, *(window or (0, 4095)))
    expected = 255 - grey if photometric == "MONOCHROME1" else grey
    expected[padding == STORED] = 0
    np.testing.assert_array_equal(decoded.pixels, expected)
    kept = STORED[padding != STORED]
    assert decoded.value_range == (kept.min(), kept.max())


def test_padding_is_compared_as_stored_and_not_as_rescaled(tmp_path):
    rescale = {"RescaleSlope": 2, "RescaleIntercept": -200}
    path = save(tmp_path / "a.dcm", STORED, PixelPaddingValue=200, **rescale)
    decoded = read_frame(path, window=(-200.0, 600.0))
    expected = mapped(2.0 * STORED - 200, -200, 600)
    expected[0, 2] = 0  # stored as 200; what means 200 is stored as the next pixel is
    np.testing.assert_array_equal(decoded.pixels, expected)
    assert expected[0, 1, 0] > 0


@pytest.mark.parametrize("ends", [(0, 250), (250, 0), (-300, 250)])
def test_a_range_of_padding_may_run_up_or_down(tmp_path, ends):
    signed = (STORED // 2).astype(np.int16) - 100
    first, last = ends
    path = save(tmp_path / "a.dcm", signed, PixelPaddingValue=first, PixelPaddingRangeLimit=last)
    decoded = read_frame(path)
    outside = (signed < min(ends)) | (signed > max(ends))
    expected = np.where(outside[..., None], mapped(signed, -2048, 2047), 0)
    np.testing.assert_array_equal(decoded.pixels, expected)
    assert decoded.value_range == (signed[outside].min(), signed[outside].max())


def test_a_limit_alone_is_no_padding(tmp_path):
    path = save(tmp_path / "a.dcm", STORED, PixelPaddingRangeLimit=4095)
    np.testing.assert_array_equal(read(path), mapped(STORED, 0, 4095))


@pytest.mark.parametrize(("vr", "value"), [("SS", -2000), ("US", 63536)])
@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian])
def test_negative_padding_may_be_stated_without_its_sign(tmp_path, vr, value, syntax):
    signed = np.array([[-2000, -1000, 0, 1000]], np.int16)
    made = added(signed, vr, PixelPaddingValue=value)
    made.PhotometricInterpretation = "MONOCHROME1"
    made.file_meta.TransferSyntaxUID = syntax
    decoded = read_frame(written(tmp_path / "a.dcm", made))
    assert decoded.pixels[0, 0, 0] == 0
    np.testing.assert_array_equal(decoded.pixels[0, 1:], 255 - mapped(signed, -2048, 2047)[0, 1:])
    assert decoded.value_range == (-1000.0, 1000.0)


@pytest.mark.parametrize("elements", [{"PixelPaddingValue": 5000}, {"PixelPaddingValue": None}])
def test_padding_that_no_pixel_can_have_changes_nothing(tmp_path, elements):
    decoded = read_frame(save(tmp_path / "a.dcm", STORED, **elements))
    np.testing.assert_array_equal(decoded.pixels, mapped(STORED, 0, 4095))
    assert decoded.value_range == (0.0, 4095.0)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_an_image_of_padding_alone_is_black(tmp_path, photometric):
    elements = {"PhotometricInterpretation": photometric, "PixelPaddingValue": 7}
    path = save(tmp_path / "a.dcm", np.full((3, 4), 7, np.uint16), **elements)
    decoded = read_frame(path, window=(5.0, 10.0))
    assert not decoded.pixels.any()
    assert decoded.value_range == (5.0, 5.0)


def test_padding_is_compared_before_a_modality_table(tmp_path):
    table = Dataset()
    table.LUTDescriptor, table.ModalityLUTType = [4, 0, 16], "US"
    table.LUTData = np.array([1000, 2, 400, 65535], np.uint16).tobytes()
    table["LUTData"].VR = "OW"
    elements = {"ModalityLUTSequence": Sequence([table]), "PixelPaddingValue": 0}
    decoded = read_frame(save(tmp_path / "a.dcm", np.array([[0, 1, 2, 3]], np.uint8), **elements))
    np.testing.assert_array_equal(decoded.pixels, mapped(np.array([[0, 2, 400, 65535]]), 0, 65535))
    assert decoded.value_range == (2.0, 65535.0)


def test_all_frames_of_an_enhanced_file_have_one_padding(tmp_path):
    def by_frame() -> Iterator[Dataset]:
        for slope in (2, 3):
            rescale, item = Dataset(), Dataset()
            rescale.RescaleSlope, rescale.RescaleIntercept = slope, -100
            item.PixelValueTransformationSequence = Sequence([rescale])
            yield item

    path = save(
        tmp_path / "a.dcm",
        np.concatenate([STORED, STORED]),
        Rows=2,
        NumberOfFrames=2,
        PixelPaddingValue=0,
        PhotometricInterpretation="MONOCHROME1",
        PerFrameFunctionalGroupsSequence=Sequence(list(by_frame())),
    )
    for frame, slope in ((0, 2), (1, 3)):
        decoded = read_frame(path, frame, (-100.0, 1000.0))
        expected = np.where(
            PADDED[..., None], 0, 255 - mapped(slope * STORED.astype(float) - 100, -100, 1000)
        )
        np.testing.assert_array_equal(decoded.pixels, expected)
        assert decoded.value_range == (100 * slope - 100, 4095 * slope - 100)


def test_colours_have_no_padding(tmp_path):
    np.testing.assert_array_equal(read(save(tmp_path / "a.dcm", RGB, PixelPaddingValue=0)), RGB)
    indices, tables = np.array([[0, 1], [2, 1]], np.uint8), {}
    for name in ("Red", "Green", "Blue"):
        tables[f"{name}PaletteColorLookupTableDescriptor"] = [4, 0, 8]
        tables[f"{name}PaletteColorLookupTableData"] = bytes([50, 60, 70, 80])
    elements = {"PhotometricInterpretation": "PALETTE COLOR", "PixelPaddingValue": 1, **tables}
    pixels = read(save(tmp_path / "b.dcm", indices, **elements))
    np.testing.assert_array_equal(pixels[..., 0], [[50, 60], [70, 60]])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("value", [0.0, np.nan])
def test_floats_have_padding_of_their_own_which_may_be_nan(tmp_path, dtype, value):
    maps = MAPS.astype(dtype)
    maps[0, 0] = value
    keyword = "FloatPixelPaddingValue" if dtype == np.float32 else "DoubleFloatPixelPaddingValue"
    elements = {keyword: value, "PhotometricInterpretation": "MONOCHROME1"}
    decoded = read_frame(floats(tmp_path / "a.dcm", maps, **elements), window=(0.0, 1.0))
    expected = 255 - mapped(MAPS, 0, 1)
    expected[0, 0] = 0
    np.testing.assert_array_equal(decoded.pixels, expected)
    assert decoded.value_range == (0.25, 1.0)


def test_a_range_of_float_padding(tmp_path):
    limits = {"FloatPixelPaddingValue": 0.6, "FloatPixelPaddingRangeLimit": 0.2}
    decoded = read_frame(floats(tmp_path / "a.dcm", MAPS, **limits), window=(-1.0, 1.0))
    assert decoded.pixels[..., 0].tolist() == [[128, 0], [0, 255]]


def test_the_padding_of_a_mask_is_a_value_as_any_other(tmp_path):
    path = save(tmp_path / "a.dcm", STORED, PixelPaddingValue=0)
    np.testing.assert_array_equal(read_frame_values(path), STORED)


def test_the_inspection_counts_no_padding_among_the_values(tmp_path):
    (tmp_path / "A").mkdir()
    for name in range(2):
        signed = np.array([[-2000, 0, 100 + name, 1000]], np.int16).repeat(4, axis=0)
        elements = {"BitsStored": 16, "HighBit": 15, "PixelPaddingValue": -2000}
        save(tmp_path / "A" / f"{name}.dcm", signed, **elements)
    data = default_config().data
    data.dir = str(tmp_path)
    (said,) = [found.sentence for found in inspect(data).findings if "8 bits" in found.sentence]
    assert said.startswith("The images of more than 8 bits hold values from 0 to 1000, but")
