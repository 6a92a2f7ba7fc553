"""Specification of `whole_numbers`: masks of floats, in every format."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from common.data.files.dicom import read_frame_values
from common.data.files.image import Reading
from common.data.files.masks import read_values
from common.data.files.nifti import read_slice_values, slices_of
from common.data.files.whole_numbers import whole_numbers
from common.program.errors import UserError
from tests.dicom_files import dataset

BITS = np.array([[0, 1, 1], [0, 0, 1]], np.uint8)


def in_volume(path: Path, values: np.ndarray, dtype: type = np.float32) -> Path:
    """Saves a volume as nibabel does: integers in the file are scaled to all of their range."""
    image = nibabel.Nifti1Image(values, np.eye(4))
    image.header.set_data_dtype(dtype)
    nibabel.save(image, path)
    return path


def in_dicom(path: Path, values: np.ndarray) -> Path:
    made = dataset(np.zeros(values.shape, np.uint16), FloatPixelData=values.tobytes())
    made.BitsAllocated = 32
    del made.PixelData, made.BitsStored, made.HighBit, made.PixelRepresentation
    made.save_as(path, enforce_file_format=True)
    return path


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32])
@pytest.mark.parametrize("largest", [1, 4, 7, 255])
def test_a_volume_of_floats_with_an_integer_header_is_read_as_what_was_saved(
    tmp_path, dtype, largest
):
    values = np.zeros((2, 3, 2))
    values[..., 0], values[0, 0, 1] = BITS, largest  # what rounds the first slice is in the second
    path = in_volume(tmp_path / "a.nii", values, dtype)
    read = [read_slice_values(path, index, "axial") for index in range(2)]
    np.testing.assert_array_equal(read[0], BITS[::-1, ::-1].T)
    assert read[1].max() == largest


def test_a_volume_of_too_few_steps_for_its_range_is_refused(tmp_path):
    values = np.array([[[0], [1]], [[14175], [2]]], float)
    path = in_volume(tmp_path / "a.nii", values, np.int16)  # in steps of 0.2163
    with pytest.raises(
        UserError, match=r"a\.nii holds 1\.08148, 1\.94667 and is not a mask of whole"
    ):
        read_slice_values(path, 0, "axial")


def test_such_a_volume_does_hold_fractions(tmp_path):
    path = in_volume(tmp_path / "a.nii", BITS[..., None].astype(float), np.int16)
    values = nibabel.load(path).get_fdata()
    assert (values != np.rint(values)).any()


@pytest.mark.parametrize("slope", [1 / 255, 0.1, 3.0])
def test_a_header_s_scale_is_rounded_away(tmp_path, slope):
    stored = np.array([[[0], [255]]], np.uint8)
    content = bytearray(nibabel.Nifti1Image(stored, np.eye(4)).to_bytes())
    content[112:120] = np.array([slope, 0], np.float32).tobytes()
    (tmp_path / "a.nii").write_bytes(content)
    if slope == 0.1:
        with pytest.raises(
            UserError, match=r"a\.nii holds 25\.5 and is not a mask of whole numbers"
        ):
            read_slice_values(tmp_path / "a.nii", 0, "axial")
        return
    values = read_slice_values(tmp_path / "a.nii", 0, "axial")
    assert values.tolist() == [[round(255 * slope)], [0]]


def test_a_picture_and_a_dicom_file_of_floats_are_rounded_alike(tmp_path):
    nearly = (BITS * np.float32(1 / 255)) * np.float32(255.0001)
    assert (nearly != BITS).any()
    Image.fromarray(nearly).save(tmp_path / "a.tif")
    for values in (
        read_values(tmp_path / "a.tif"),
        read_frame_values(in_dicom(tmp_path / "a.dcm", nearly)),
    ):
        np.testing.assert_array_equal(values, BITS)
        assert values.dtype == np.int64


FRACTIONS = {
    "of 255": (BITS / 255, r"holds 0\.00392157 and is .* \(times 255 these are whole\)\.$"),
    "of 65535": (BITS * 3 / 65535, r"holds 4\.57771e-05 .* \(times 65535 these are whole\)\.$"),
    "halves": (BITS / 2, r"holds 0\.5 .*; save one whole number per class \(times 2 these"),
    "shares": (np.array([[0.3, 0.25, 1]]), r"holds 0\.25, 0\.3 and .* per class\.$"),
    "many": (np.arange(20.0)[None] + 0.5, r"holds 0\.5, 1\.5, 2\.5, 3\.5, 4\.5, 5\.5, \.\.\. and"),
    "hardly": (np.array([[0, 1.00001]]), r"holds 1\.00001 and"),
    "NaN": (np.array([[0, np.nan]]), "holds nan and is not a mask of whole numbers"),
    "infinity": (np.array([[-np.inf, np.inf]]), "holds -inf, inf and"),
    "beyond": (np.array([[1, 1e300]]), r"holds 1e\+300 and"),
    "a fraction beside": (np.array([[0.5, 1e300]]), r"holds 0\.5, 1e\+300 and"),
}


@pytest.mark.parametrize("kind", FRACTIONS)
def test_what_is_not_whole_is_listed_with_what_to_do(kind):
    values, sentence = FRACTIONS[kind]
    with pytest.raises(UserError, match=sentence):
        whole_numbers(values, Path("a.nii"))


@pytest.mark.parametrize("kind", ["of 255", "shares"])
def test_every_format_refuses_alike(tmp_path, kind):
    values, sentence = FRACTIONS[kind]
    single = np.asarray(values, np.float32)
    Image.fromarray(single).save(tmp_path / "a.tif")
    (volume,) = slices_of(in_volume(tmp_path / "a.nii", single[..., None]), Reading())
    for read in (
        lambda: read_values(tmp_path / "a.tif"),
        lambda: read_frame_values(in_dicom(tmp_path / "a.dcm", single)),
        volume.read_values,
    ):
        with pytest.raises(UserError, match=rf"a\.\w+ {sentence}"):
            read()


@pytest.mark.parametrize(
    ("values", "whole"),
    [
        ([-0.0, 0.0], [0, 0]),
        ([-1.0, 2.0], [-1, 2]),
        ([0.9999999, 1e-9], [1, 0]),
        ([2.0**53 - 1, 0], [2**53 - 1, 0]),
    ],
)
def test_signs_and_large_numbers_stay(values, whole):
    assert whole_numbers(np.array([values]), Path("a.nii")).tolist() == [whole]
