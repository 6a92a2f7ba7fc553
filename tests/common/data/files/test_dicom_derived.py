"""DICOM files made of others: the pixels that were given, in the place of the source."""

import numpy as np
import pydicom
import pytest

from common.data.files.dicom_derived import write_derived
from common.program.errors import UserError
from tests.dicom_files import BUNDLED, DEEP, read, save

HOW = "Made for a test"
RNG = np.random.default_rng(0)


@pytest.mark.parametrize("name", ["MR_small.dcm", "MR_small_RLE.dcm", "MR_small_bigendian.dcm"])
@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_are_as_given_and_the_rest_as_it_was(name, channels, tmp_path):
    source = BUNDLED / "test_files" / name
    given = pydicom.dcmread(source)
    pixels = RNG.integers(0, 256, (given.Rows, given.Columns, channels), np.uint8)
    write_derived(tmp_path / "x.dcm", source, [pixels], HOW)
    np.testing.assert_array_equal(read(tmp_path / "x.dcm"), pixels)
    made = pydicom.dcmread(tmp_path / "x.dcm")
    for keyword in ("PatientID", "StudyInstanceUID", "FrameOfReferenceUID", "SliceLocation"):
        assert made[keyword].value == given[keyword].value
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        assert made[keyword].value == given[keyword].value
    assert not made.file_meta.TransferSyntaxUID.is_compressed
    assert made.ImageType == ["DERIVED", "SECONDARY"] and made.SeriesDescription == HOW


def test_an_odd_number_of_pixels_is_padded(tmp_path):
    save(tmp_path / "a.dcm", DEEP[:3, :5].copy())
    pixels = RNG.integers(0, 256, (3, 5, 1), np.uint8)
    write_derived(tmp_path / "x.dcm", tmp_path / "a.dcm", [pixels], HOW)
    np.testing.assert_array_equal(read(tmp_path / "x.dcm"), pixels)


def test_what_was_said_of_values_is_not_said_of_others(tmp_path):
    """Neither of the whole nor, in an enhanced file, of a frame."""
    values = pydicom.Dataset()
    values.PixelValueTransformationSequence = [pydicom.Dataset()]
    values.PixelMeasuresSequence = [pydicom.Dataset()]
    inverted = {"PhotometricInterpretation": "MONOCHROME1", "PixelPaddingValue": 0}
    save(
        tmp_path / "a.dcm",
        DEEP,
        SharedFunctionalGroupsSequence=[values],
        RescaleSlope=2,
        RescaleIntercept=-9,
        **inverted,
    )
    pixels = RNG.integers(0, 256, (*DEEP.shape, 1), np.uint8)
    write_derived(tmp_path / "x.dcm", tmp_path / "a.dcm", [pixels], HOW)
    np.testing.assert_array_equal(read(tmp_path / "x.dcm"), pixels)
    (group,) = pydicom.dcmread(tmp_path / "x.dcm").SharedFunctionalGroupsSequence
    assert "PixelMeasuresSequence" in group and "PixelValueTransformationSequence" not in group


def test_a_source_that_is_no_dicom_file_is_refused(tmp_path):
    (tmp_path / "a.dcm").write_bytes(b"no DICOM file, but long enough to be looked at" * 9)
    with pytest.raises(UserError, match="is not a DICOM file"):
        write_derived(
            tmp_path / "x.dcm", tmp_path / "a.dcm", [DEEP[..., None].astype(np.uint8)], HOW
        )
