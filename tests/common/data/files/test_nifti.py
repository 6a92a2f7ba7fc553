"""Specification of `nifti`: slices of volumes all lie the same way, or are refused.

Turned and scaled volumes are made by nibabel; what they are to look like is plain indexing.
"""

import gzip
import io
import itertools
import random
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nibabel
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt

from common.config.defaults import default_config
from common.data.files import nifti
from common.data.files.image import PLANES, Reading
from common.data.files.nifti import (
    MAX_SLICES,
    MAX_VOXELS,
    read_slice,
    read_slice_values,
    slices_of,
    write_volume,
)
from common.data.files.slices import images_in
from common.data.sources.open import open_source
from common.program.errors import UserError

BUNDLED = Path(nibabel.__file__).parent / "tests" / "data"
# Along axes that go right, forward and up, so that [-1, -1, -1] is right, in front and on top.
BRAIN = np.random.default_rng(0).permutation(5 * 6 * 7).reshape(5, 6, 7).astype(np.int16)
ORIENTATIONS = [
    "".join(codes)
    for axes in itertools.permutations(("LR", "PA", "IS"))
    for codes in itertools.product(*axes)
]


def save(path: Path, values: np.ndarray, affine: np.ndarray | None = None, **header) -> Path:
    image = nibabel.Nifti1Image(values, np.eye(4) if affine is None else affine)
    for field, value in header.items():
        image.header[field] = value
    nibabel.save(image, path)
    return path


def read(path: Path, plane: str = "axial", window: tuple[float, float] | None = None) -> np.ndarray:
    """All slices of a volume, [slice, height, width]."""
    images = slices_of(path, Reading(plane=plane, window=window))
    return np.stack([image.read().pixels[..., 0] for image in images])


def values_of(path: Path, plane: str = "axial") -> np.ndarray:
    images = slices_of(path, Reading(plane=plane))
    return np.stack([image.read_values() for image in images])


def mapped(values: np.ndarray, low: float, high: float) -> np.ndarray:
    return np.rint((np.clip(values, low, high) - low) / (high - low) * 255)


# Orientation


def test_axial_slices_have_the_front_at_the_top_and_the_right_on_the_left(tmp_path):
    slices = values_of(save(tmp_path / "a.nii", BRAIN), "axial")
    assert slices.shape == (7, 6, 5)
    np.testing.assert_array_equal(slices[:, 0, 0], BRAIN[-1, -1, :])  # right and in front
    np.testing.assert_array_equal(slices[:, -1, 0], BRAIN[-1, 0, :])  # right and behind
    np.testing.assert_array_equal(slices[:, 0, -1], BRAIN[0, -1, :])  # left and in front


def test_coronal_slices_have_the_head_at_the_top_and_the_right_on_the_left(tmp_path):
    slices = values_of(save(tmp_path / "a.nii", BRAIN), "coronal")
    assert slices.shape == (6, 7, 5)
    np.testing.assert_array_equal(slices[:, 0, 0], BRAIN[-1, :, -1])  # right and on top
    np.testing.assert_array_equal(slices[:, -1, 0], BRAIN[-1, :, 0])  # right and below
    np.testing.assert_array_equal(slices[:, 0, -1], BRAIN[0, :, -1])  # left and on top


def test_sagittal_slices_have_the_head_at_the_top_and_the_front_on_the_left(tmp_path):
    slices = values_of(save(tmp_path / "a.nii", BRAIN), "sagittal")
    assert slices.shape == (5, 7, 6)
    np.testing.assert_array_equal(slices[:, 0, 0], BRAIN[:, -1, -1])  # in front and on top
    np.testing.assert_array_equal(slices[:, -1, 0], BRAIN[:, -1, 0])  # in front and below
    np.testing.assert_array_equal(slices[:, 0, -1], BRAIN[:, 0, -1])  # behind and on top


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_the_order_of_the_axes_in_the_file_changes_nothing(tmp_path, plane, codes):
    upright = nibabel.Nifti1Image(BRAIN, np.diag([-1.0, -1, 1, 1]))  # as scanners write: LPS
    turned = upright.as_reoriented(
        nibabel.orientations.ornt_transform(axcodes2ornt("LPS"), axcodes2ornt(codes))
    )
    assert "".join(nibabel.aff2axcodes(turned.affine)) == codes
    nibabel.save(turned, tmp_path / "turned.nii")
    expected = save(tmp_path / "upright.nii", np.ascontiguousarray(BRAIN[::-1, ::-1]))
    np.testing.assert_array_equal(
        values_of(tmp_path / "turned.nii", plane), values_of(expected, plane)
    )
    np.testing.assert_array_equal(read(tmp_path / "turned.nii", plane), read(expected, plane))


def test_an_oblique_volume_is_turned_to_the_nearest_axes(tmp_path):
    angle = np.deg2rad(20)
    tilted = np.eye(4)
    tilted[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    path = save(
        tmp_path / "a.nii", np.ascontiguousarray(BRAIN[::-1]), tilted @ np.diag([-1, 1, 1, 1])
    )
    np.testing.assert_array_equal(read(path), read(save(tmp_path / "b.nii", BRAIN)))


def test_pixels_are_voxels_also_where_these_are_not_cubes(tmp_path):
    path = save(tmp_path / "a.nii", BRAIN, np.diag([1.0, 1, 5, 1]))
    assert values_of(path, "sagittal").shape == (5, 7, 6)


@pytest.mark.parametrize("codes", ["RAS", "LPS", "SAL", "PIR"])
def test_the_canonical_orientation_is_nibabel_s(tmp_path, codes):
    image = nibabel.Nifti1Image(
        BRAIN, nibabel.orientations.inv_ornt_aff(axcodes2ornt(codes), (5, 6, 7))
    )
    nibabel.save(image, tmp_path / "a.nii")
    canonical = np.asarray(nibabel.as_closest_canonical(image).dataobj)
    expected = np.transpose(canonical[::-1, ::-1], (2, 1, 0))
    np.testing.assert_array_equal(values_of(tmp_path / "a.nii"), expected)


# Names


def test_slices_are_numbered_from_below_from_behind_and_from_the_left(tmp_path):
    path = save(tmp_path / "a.nii", BRAIN)
    for plane, axis in zip(PLANES, (2, 1, 0), strict=True):
        images = slices_of(path, Reading(plane=plane))
        assert [image.suffix for image in images] == [f"#{i:03}" for i in range(BRAIN.shape[axis])]
        for index, image in enumerate(images):
            assert set(image.read_values().ravel()) == set(BRAIN.take(index, axis).ravel())
        assert images[0].read_group() == ""


def test_the_order_of_more_than_a_thousand_names_is_that_of_the_slices(tmp_path):
    path = save(tmp_path / "a.nii", np.zeros((2, 2, 1001), np.uint8))
    suffixes = [image.suffix for image in slices_of(path, Reading())]
    assert suffixes[0] == "#0000"
    assert suffixes == sorted(suffixes)


def test_a_volume_of_one_slice_and_a_plane_without_a_third_axis_are_one_slice(tmp_path):
    for name, shape in (("a.nii", (5, 6, 1)), ("b.nii", (5, 6)), ("c.nii", (5, 6, 1, 1, 1))):
        (image,) = slices_of(save(tmp_path / name, BRAIN[..., 0].reshape(shape)), Reading())
        assert image.suffix == "#000"
        np.testing.assert_array_equal(image.read_values(), BRAIN[::-1, ::-1, 0].T)


def test_a_last_axis_of_one_is_no_fourth_dimension(tmp_path):
    path = save(tmp_path / "a.nii", BRAIN[..., None])
    np.testing.assert_array_equal(values_of(path), values_of(save(tmp_path / "b.nii", BRAIN)))


# Values


def test_without_a_window_the_range_of_the_whole_volume_is_shown(tmp_path):
    path = save(tmp_path / "a.nii", BRAIN)
    np.testing.assert_array_equal(read(path), mapped(values_of(path), 0, 209))
    decoded = read_slice(path, 2, "axial")
    assert decoded.window == (0.0, 209.0)
    assert decoded.value_range == (BRAIN[..., 2].min(), BRAIN[..., 2].max())
    assert (decoded.mode, decoded.bits) == ("int16", 16)


def test_the_header_s_display_range_goes_before_that_of_the_volume(tmp_path):
    path = save(tmp_path / "a.nii", BRAIN, cal_min=10, cal_max=60)
    np.testing.assert_array_equal(read(path), mapped(values_of(path), 10, 60))


@pytest.mark.parametrize("cal", [(0, 0), (60, 10), (np.nan, 60), (0, np.inf)])
def test_a_display_range_that_is_none_does_not_count(tmp_path, cal):
    path = save(tmp_path / "a.nii", BRAIN, cal_min=cal[0], cal_max=cal[1])
    assert read_slice(path, 0, "axial").window == (0.0, 209.0)


def test_the_config_s_window_goes_before_the_header_s(tmp_path):
    path = save(tmp_path / "a.nii", BRAIN, cal_min=10, cal_max=60)
    np.testing.assert_array_equal(
        read(path, window=(100.0, 120.0)), mapped(values_of(path), 100, 120)
    )
    assert read_slice(path, 0, "axial", (100.0, 120.0)).window == (100.0, 120.0)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.int64, np.float32, np.float64])
@pytest.mark.parametrize("kind", ["little", "big", "nifti2", "gz"])
def test_every_way_of_storing_numbers_reads_alike(tmp_path, dtype, kind):
    image_class = nibabel.Nifti2Image if kind == "nifti2" else nibabel.Nifti1Image
    header = image_class.header_class(endianness=">" if kind == "big" else "<")
    header.set_data_dtype(np.dtype(dtype))
    path = tmp_path / ("a.nii.gz" if kind == "gz" else "a.nii")
    nibabel.save(image_class(BRAIN.astype(dtype), np.eye(4), header), path)
    np.testing.assert_array_equal(values_of(path), np.transpose(BRAIN[::-1, ::-1], (2, 1, 0)))
    assert read_slice(path, 0, "axial").mode == np.dtype(dtype).name


def scaled(path: Path, slope: float, intercept: float) -> Path:
    content = bytearray(nibabel.Nifti1Image(BRAIN, np.eye(4)).to_bytes())
    content[112:120] = np.array([slope, intercept], np.float32).tobytes()
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("slope", [2.0, -2.0, 0.125])
def test_values_are_scaled_as_the_header_says(tmp_path, slope):
    path = scaled(tmp_path / "a.nii", slope, -100.0)
    values = BRAIN * slope - 100
    decoded = read_slice(path, 3, "axial", (-100.0, 0.0))
    np.testing.assert_array_equal(decoded.pixels[..., 0], mapped(values[::-1, ::-1, 3].T, -100, 0))
    assert decoded.value_range == (values[..., 3].min(), values[..., 3].max())
    assert read_slice(path, 3, "axial").window == (values.min(), values.max())


@pytest.mark.parametrize("slope", [0.0, np.nan])
def test_a_slope_that_is_none_scales_nothing(tmp_path, slope):
    path = scaled(tmp_path / "a.nii", slope, 7.0)  # NIfTI-1: "if scl_slope is nonzero"
    assert read_slice(path, 0, "axial").window == (0.0, 209.0)


@pytest.mark.parametrize("value", [0.0, 7.0, -1e30, 1e300])
def test_a_constant_volume_is_black(tmp_path, value):
    path = save(tmp_path / "a.nii", np.full((3, 4, 2), value))
    np.testing.assert_array_equal(read(path), np.zeros((2, 4, 3)))
    assert read_slice(path, 0, "axial").window[0] == value


# Masks


def test_a_mask_lies_like_its_image(tmp_path):
    affine = np.diag([-1.0, 1, 1, 1])
    image = save(tmp_path / "image.nii", BRAIN, affine)
    mask = save(tmp_path / "mask.nii.gz", (BRAIN > 100).astype(np.uint8), affine)
    for plane in PLANES:
        np.testing.assert_array_equal(values_of(mask, plane), values_of(image, plane) > 100)


def test_a_mask_of_floats_that_are_whole_is_read(tmp_path):
    path = save(tmp_path / "a.nii", (BRAIN % 3).astype(np.float32))
    values = values_of(path)
    assert values.dtype == np.int64
    np.testing.assert_array_equal(np.unique(values), [0, 1, 2])


@pytest.mark.parametrize("value", [0.5, 1e300])
def test_a_mask_of_fractions_is_refused(tmp_path, value):
    path = save(tmp_path / "a.nii", np.full((2, 2, 2), value))
    with pytest.raises(UserError, match=r"a\.nii holds .* and is not a mask of whole numbers"):
        read_slice_values(path, 0, "axial")


# A volume is decoded once


@pytest.fixture
def opened(monkeypatch) -> list[Path]:
    """The volumes that were decoded."""
    paths: list[Path] = []
    monkeypatch.setattr(
        nifti._opened, "_open", lambda path: paths.append(path) or nifti._open(path)
    )
    return paths


def test_several_threads_share_one_volume(tmp_path, opened):
    path = save(tmp_path / "a.nii.gz", BRAIN)
    images = [image for plane in PLANES for image in slices_of(path, Reading(plane=plane))]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda image: (image.read(), image.read_values()), images))
    assert opened == [path]


def test_a_few_volumes_are_kept_and_not_more(tmp_path, opened):
    paths = [save(tmp_path / f"{name}.nii.gz", BRAIN) for name in range(6)]
    for path in (*paths, paths[-1], paths[-4], paths[0]):
        read_slice(path, 0, "axial")
    assert opened == [*paths, paths[0]]


def test_a_volume_that_changes_is_decoded_anew(tmp_path):
    path = save(tmp_path / "a.nii.gz", BRAIN)
    before = values_of(path)
    save(path, BRAIN + 1000)
    np.testing.assert_array_equal(values_of(path), before + 1000)


def test_a_damaged_volume_is_tried_once(tmp_path, opened):
    path = save(tmp_path / "a.nii.gz", np.random.default_rng(0).random((20, 20, 9)))
    path.write_bytes(path.read_bytes()[:-2000])
    images = slices_of(path, Reading())
    assert len(images) == 9
    for image in images:
        with pytest.raises(UserError, match=r"a\.nii\.gz is damaged"):
            image.read()
    assert len(opened) == 1


def test_volumes_are_a_source(tmp_path):
    folder = tmp_path / "scans"
    (folder / "A").mkdir(parents=True)
    save(folder / "A" / "p1.nii.gz", BRAIN)
    save(folder / "A" / "p2.NII", BRAIN)
    config = default_config().data
    config.dir, config.plane, config.window = str(folder), "coronal", "0,100"
    records = open_source(config).splits["train"]
    assert [record.id for record in records] == [
        f"A/{name}#{index:03}" for name in ("p1.nii.gz", "p2.NII") for index in range(6)
    ]
    for index, record in enumerate(records):
        assert record.read().window == (0.0, 100.0)
        expected = mapped(BRAIN[::-1, index % 6, ::-1].T, 0, 100)
        np.testing.assert_array_equal(record.read().pixels[..., 0], expected)


# nibabel's own files

REFUSED = {
    "example4d.nii.gz": r"has 4 dimensions \(128 x 96 x 24 x 2\)",
    "example_nifti2.nii.gz": r"has 4 dimensions \(32 x 20 x 12 x 2\)",
    "functional.nii": r"has 4 dimensions \(17 x 21 x 3 x 20\)",
    "resampled_anat_moved.nii": "not numbers",
    "row_major.dconn.nii": "is a Cifti2Image, not a volume",
    "analyze.hdr": "not a volume",
    "nifti1.hdr": "not a volume",
    "nifti2.hdr": "not a volume",
    "minc1_4d.mnc": "not a volume",
    "complex.trk": "is not a NIfTI file",
    "0.dcm": "is not a NIfTI file",
}
DECODED = ("anatomical.nii", "reoriented_anat_moved.nii", "standard.nii.gz")


def test_all_of_the_bundled_nifti_files_are_looked_at():
    assert {path.name for path in BUNDLED.glob("*.nii*")} <= {*REFUSED, *DECODED}


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("name", DECODED)
def test_a_bundled_volume_looks_as_nibabel_reads_it(name, plane):
    canonical = nibabel.as_closest_canonical(nibabel.load(BUNDLED / name)).get_fdata()
    axes = {"axial": (2, 1, 0), "coronal": (1, 2, 0), "sagittal": (0, 2, 1)}[plane]
    expected = np.flip(np.transpose(canonical, axes), (1, 2))
    slices = read(BUNDLED / name, plane)
    shown = mapped(expected, canonical.min(), canonical.max())
    np.testing.assert_allclose(slices.astype(float), shown, atol=1)


@pytest.mark.parametrize("name", REFUSED)
def test_a_bundled_file_that_is_no_volume_of_numbers_is_refused(name):
    image, *_ = slices_of(BUNDLED / name, Reading())
    with pytest.raises(UserError, match=f"{name} .*{REFUSED[name]}"):
        image.read()


# Damaged files


def damaged(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def whole() -> bytes:
    return nibabel.Nifti1Image(BRAIN, np.diag([2.0, 2, 3, 1])).to_bytes()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("window", [None, (0.0, 1.0)])
def test_a_value_that_is_no_number_is_refused(tmp_path, value, window):
    values = BRAIN.astype(np.float32)
    values[1, 2, 3] = value
    path = save(tmp_path / "a.nii", values)
    with pytest.raises(UserError, match=r"a\.nii holds values that are not numbers"):
        read_slice(path, 0, "axial", window)


def test_values_that_a_slope_makes_infinite_are_refused(tmp_path):
    content = bytearray(nibabel.Nifti1Image(np.full((2, 2, 2), 1e308), np.eye(4)).to_bytes())
    content[112:116] = np.float32(1e30).tobytes()  # scl_slope
    with pytest.raises(UserError, match=r"a\.nii holds values that are not numbers"):
        read_slice(damaged(tmp_path / "a.nii", bytes(content)), 0, "axial")


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (np.zeros((2, 2, 2, 3), np.int16), r"has 4 dimensions \(2 x 2 x 2 x 3\); save each"),
        (np.zeros((2, 2, 2, 1, 3), np.int16), "has 5 dimensions"),
        (np.zeros((2, 2, 2), np.complex64), "holds complex64 voxels rather than one number each"),
        (np.zeros((2, 2, 2), [("R", "u1"), ("G", "u1"), ("B", "u1")]), "one number each; save its"),
        (np.zeros(5, np.int16), r"holds no volume \(its shape is 5\)"),
    ],
    ids=lambda value: str(getattr(value, "shape", "")),
)
def test_what_is_no_volume_of_single_numbers_is_refused(tmp_path, values, sentence):
    (image,) = slices_of(save(tmp_path / "a.nii", values), Reading())
    with pytest.raises(UserError, match=rf"a\.nii .*{sentence}"):
        image.read()


@pytest.mark.parametrize(
    "shape", [(32767, 32767, 32767), (1024, 1024, 257), (1, 1, -5), (0, 4, 4), (2**28, 1, 1)]
)
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_a_header_that_states_a_huge_or_empty_volume_is_refused(tmp_path, shape, name):
    image_class = nibabel.Nifti2Image if max(shape) > MAX_SLICES else nibabel.Nifti1Image
    content = bytearray(image_class(np.zeros((2, 2, 2), np.int16), np.eye(4)).to_bytes())
    header = image_class.header_class.from_fileobj(io.BytesIO(content), check=False)
    header["dim"][1:4] = shape
    content[: len(header.binaryblock)] = header.binaryblock
    packed = gzip.compress(bytes(content)) if name.endswith("gz") else bytes(content)
    (image,) = slices_of(damaged(tmp_path / name, packed), Reading())
    sentence = rf"a\.nii\S* (states .* may have {MAX_VOXELS:,}|holds no volume)"
    with pytest.raises(UserError, match=sentence):
        image.read()


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_a_file_cut_off_anywhere_is_refused(tmp_path, name):
    content = gzip.compress(whole()) if name.endswith("gz") else whole()
    for length in range(0, len(content) - 12, 7):
        path = damaged(tmp_path / f"{length}-{name}", content[:length])
        for image in slices_of(path, Reading())[:1]:
            with pytest.raises(UserError, match=rf"{name} is (damaged|empty|not a NIfTI)"):
                image.read()


@pytest.mark.parametrize("seed", range(60))
def test_flipped_bytes_of_the_header_give_slices_or_a_sentence(tmp_path, seed):
    draw, content = random.Random(seed), bytearray(whole())
    for _ in range(draw.choice([1, 4, 16])):
        content[draw.randrange(352)] = draw.choice([0, 255, draw.randrange(256)])
    images = slices_of(damaged(tmp_path / "a.nii", bytes(content)), Reading())
    for image in images[:2]:
        try:
            image.read()
        except UserError as error:
            assert "a.nii" in str(error)
            assert str(error).isprintable()


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello",
        b"\0" * 1000,
        b"\x89PNG\r\n\x1a\n" + b"\0" * 500,
        gzip.compress(b"", mtime=0),  # a time would enter the test's name
        gzip.compress(b"hello" * 100, mtime=0),
        *(random.Random(seed).randbytes(1000) for seed in range(5)),
        whole()[:348].replace(b"n+1", b"ni1"),
    ],
)
def test_bytes_that_are_no_nifti_file_are_refused(tmp_path, name, content):
    image, *_ = slices_of(damaged(tmp_path / name, content), Reading())
    with pytest.raises(UserError, match=rf"{name} is (damaged|empty|not a NIfTI|a )"):
        image.read()


@pytest.mark.parametrize("matrix", [np.zeros((3, 3)), np.full((3, 3), np.nan)])
def test_axes_that_point_nowhere_are_refused(tmp_path, matrix):
    content = bytearray(whole())
    rows = np.zeros((3, 4), np.float32)
    rows[:, :3] = matrix
    content[280:328] = rows.tobytes()  # srow_x, srow_y, srow_z
    image, *_ = slices_of(damaged(tmp_path / "a.nii", bytes(content)), Reading())
    with pytest.raises(UserError, match=r"a\.nii is damaged"):
        image.read()


def test_a_missing_file_is_named(tmp_path):
    (image,) = slices_of(tmp_path / "gone.nii", Reading())
    with pytest.raises(UserError, match=r"gone\.nii can't be opened: No such file"):
        image.read()


# Silence, and what is not installed


def test_remarks_do_not_escape_from_any_thread(tmp_path, capfd):
    content = bytearray(whole())
    content[76:80] = np.float32(5).tobytes()  # pixdim[0], which nibabel sets to 1 and says so
    odd = damaged(tmp_path / "a.nii", bytes(content))
    escaped = []

    def work() -> None:
        try:
            for _ in range(5):
                slices_of(odd, Reading())[0].read()
        except Exception as error:
            escaped.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not escaped
    assert capfd.readouterr().err == ""


def test_without_nibabel_a_sentence_says_how_to_install_it(tmp_path, monkeypatch):
    path = save(tmp_path / "a.nii", BRAIN)
    monkeypatch.setitem(sys.modules, "nibabel", None)
    monkeypatch.delitem(sys.modules, "common.data.files.nifti")
    with pytest.raises(UserError, match=r"with nibabel; install it with pip install 'triptych\[n"):
        images_in(path, Reading())


# Writing


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("orientation", ORIENTATIONS[::7])
def test_a_volume_of_slices_lies_as_the_one_that_they_were_cut_from(tmp_path, plane, orientation):
    turn = nibabel.orientations.ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(orientation))
    like = nibabel.Nifti1Image(BRAIN, np.diag([2.0, 3.0, 4.0, 1.0])).as_reoriented(turn)
    nibabel.save(like, tmp_path / "like.nii")
    slices = list(values_of(tmp_path / "like.nii", plane).astype(np.int16))
    write_volume(tmp_path / "copy.nii.gz", tmp_path / "like.nii", slices, plane)
    copy = nibabel.load(tmp_path / "copy.nii.gz")
    np.testing.assert_array_equal(np.asarray(copy.dataobj), np.asarray(like.dataobj))
    np.testing.assert_array_equal(copy.affine, like.affine)


def test_a_written_mask_keeps_neither_window_nor_scale_of_its_image(tmp_path):
    like = save(tmp_path / "like.nii", BRAIN, cal_min=10, cal_max=90, scl_slope=2, scl_inter=-7)
    masks = [np.eye(6, 5, dtype=np.uint8)] * 7
    write_volume(tmp_path / "mask.nii", like, masks)
    mask = nibabel.load(tmp_path / "mask.nii")
    assert mask.get_data_dtype() == np.uint8 and mask.header["cal_max"] == 0
    assert set(np.unique(mask.get_fdata())) == {0.0, 1.0}
    np.testing.assert_array_equal(values_of(tmp_path / "mask.nii"), masks)
