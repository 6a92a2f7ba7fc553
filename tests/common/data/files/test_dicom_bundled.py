"""The files that pydicom brings look as pydicom or Pillow show them, or are refused by name."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.pixels import apply_modality_lut, apply_windowing, pixel_array

from common.data.files.dicom import frames_of, read_frame_values
from common.data.files.image import Reading
from common.program.errors import UserError
from tests.dicom_files import BUNDLED, mapped

NOT_IMAGES = (
    # without pixels
    *("charset_files/chrJapMulti.dcm", "charset_files/chrJapMultiExplicitIR6.dcm"),
    *("charset_files/chrKoreanMulti.dcm", "charset_files/chrSQEncoding.dcm"),
    *("charset_files/chrSQEncoding1.dcm", "palettes/fall.dcm", "palettes/hotiron.dcm"),
    *("palettes/hotmetalblue.dcm", "palettes/pet.dcm", "palettes/pet20step.dcm"),
    *("palettes/spring.dcm", "palettes/summer.dcm", "palettes/winter.dcm"),
    *("test_files/UN_sequence.dcm", "test_files/dicomdirtests/DICOMDIR"),
    *("test_files/dicomdirtests/DICOMDIR-bigEnd", "test_files/dicomdirtests/DICOMDIR-empty.dcm"),
    "test_files/dicomdirtests/DICOMDIR-implicit",
    "test_files/dicomdirtests/DICOMDIR-nooffset",
    "test_files/dicomdirtests/DICOMDIR-nopatient",
    "test_files/dicomdirtests/DICOMDIR-reordered",
    *("test_files/empty_charset_LEI.dcm", "test_files/no_meta_group_length.dcm"),
    *("test_files/priv_SQ.dcm", "test_files/reportsi.dcm"),
    *("test_files/reportsi_with_empty_number_tags.dcm", "test_files/rtplan.dcm"),
    *("test_files/rtplan_truncated.dcm", "test_files/test-SR.dcm", "test_files/waveform_ecg.dcm"),
)
REFUSED = {
    **dict.fromkeys(NOT_IMAGES, "holds no pixels"),
    # without the marker DICM
    "test_files/ExplVR_BigEndNoMeta.dcm": "is not a DICOM file",
    "test_files/ExplVR_LitEndNoMeta.dcm": "is not a DICOM file",
    "test_files/crayons.icc": "is not a DICOM file",
    "test_files/no_meta.dcm": "is not a DICOM file",
    "test_files/rtplan.dump": "is not a DICOM file",
    "test_files/rtstruct.dcm": "is not a DICOM file",
    "test_files/rtstruct.dump": "is not a DICOM file",
    "test_files/zipMR.gz": "is not a DICOM file",
    # damaged on purpose
    "test_files/JPEG2000-embedded-sequence-delimiter.dcm": r"header says \(1024, 256, 1\)",
    "test_files/MR_truncated.dcm": "less than expected",
    "test_files/badVR.dcm": "is damaged .*'1A'",
    "test_files/meta_missing_tsyntax.dcm": "no transfer syntax",
    "test_files/nested_priv_SQ.dcm": "is damaged .*'Rows'",
    # 32 bits without a window
    "test_files/rtdose.dcm": "no window",
    "test_files/rtdose_1frame.dcm": "no window",
    "test_files/rtdose_expb.dcm": "no window",
    "test_files/rtdose_expb_1frame.dcm": "no window",
    "test_files/rtdose_rle.dcm": "no window",
    "test_files/rtdose_rle_1frame.dcm": "no window",
}
DECODED = sorted(
    name
    for path in BUNDLED.rglob("*")
    if path.is_file()
    and path.suffix not in (".py", ".pyc", ".txt", ".json", ".md")
    and "TINY_ALPHA" not in path.parts  # 50 like one another, without pixels
    and (name := path.relative_to(BUNDLED).as_posix()) not in REFUSED
)
# What Pillow can decode; the others have a twin that says what they are to look like, or none.
TWINS = {
    "MR_small_jpeg_ls_lossless.dcm": "MR_small.dcm",
    "SC_rgb_jpeg_gdcm.dcm": "SC_rgb_rle.dcm",
}
ALONE = (
    *("GDCMJ2K_TextGBR.dcm", "JPEG-lossy.dcm", "JPGExtended.dcm", "JPEGLSNearLossless_08.dcm"),
    *("JPEGLSNearLossless_16.dcm", "SC_rgb_jls_lossy_line.dcm", "SC_rgb_jls_lossy_sample.dcm"),
)


def test_there_are_as_many_bundled_files_as_were_looked_at():
    assert len(DECODED) == 96
    assert all((BUNDLED / name).is_file() for name in REFUSED)


@pytest.mark.parametrize("name", REFUSED)
def test_a_bundled_file_that_is_no_image_is_refused(name):
    (first, *_) = frames_of(BUNDLED / name, Reading())
    with pytest.raises(UserError, match=f"{Path(name).name} .*{REFUSED[name]}"):
        first.read()


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")  # of pydicom's own reading below
@pytest.mark.parametrize("name", DECODED)
def test_a_bundled_file_looks_as_pydicom_shows_it(name):
    path = BUNDLED / name
    header = pydicom.dcmread(
        BUNDLED / "test_files" / TWINS[path.name] if path.name in TWINS else path
    )
    images = frames_of(path, Reading())
    assert len(images) == int(header.get("NumberOfFrames", 1))
    for frame in {0, len(images) - 1}:
        decoded = images[frame].read()
        assert decoded.pixels.shape[:2] == (header.Rows, header.Columns)
        assert decoded.pixels.max() > decoded.pixels.min() or "dicomdirtests" in name
        if path.name not in ALONE:
            difference = np.abs(decoded.pixels.astype(int) - shown_by_pydicom(header, frame))
            assert difference.max() <= 1


def shown_by_pydicom(header: Dataset, frame: int) -> np.ndarray:
    syntax = header.file_meta.TransferSyntaxUID
    jpegs = (*uid.JPEGTransferSyntaxes, *uid.JPEG2000TransferSyntaxes)
    plugin = "pillow" if syntax in jpegs else ""
    stored = pixel_array(header, index=frame, decoding_plugin=plugin)
    if header.PhotometricInterpretation == "PALETTE COLOR":
        return pydicom.pixels.apply_color_lut(stored, header)[..., :3] // 257
    if stored.ndim == 3:
        return stored.astype(float) * (255 / (2**header.BitsStored - 1))
    values = apply_modality_lut(stored, header)
    if "WindowWidth" in header:
        values = apply_windowing(values, header)
    low = -(2 ** (header.BitsStored - 1)) if header.PixelRepresentation else 0
    ends = np.array([low, low + 2**header.BitsStored - 1], float)
    low, high = sorted(ends * header.get("RescaleSlope", 1) + header.get("RescaleIntercept", 0))
    shown = (values - low) / (high - low) * 255
    return (255 - shown if header.PhotometricInterpretation == "MONOCHROME1" else shown)[..., None]


def test_jpeg_of_12_bits_that_ends_early_is_read_like_its_whole_twin():
    whole, early = (BUNDLED / "test_files" / name for name in ("JPGExtended.dcm", "JPEG-lossy.dcm"))
    np.testing.assert_array_equal(read_frame_values(whole), read_frame_values(early))


def test_a_dose_is_read_with_a_window():
    path = BUNDLED / "test_files" / "rtdose.dcm"
    images = frames_of(path, Reading(window=(795000.0, 1254000.0)))
    assert len(images) == 15
    stored = pixel_array(pydicom.dcmread(path))
    for frame, image in enumerate(images):
        np.testing.assert_array_equal(image.read().pixels, mapped(stored[frame], 795000, 1254000))
