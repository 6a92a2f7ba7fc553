"""Specification of pairs of DICOM files: frames that state a plane have to be in the same one."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from common.config.defaults import default_config
from common.data.files.dicom import frames_of
from common.data.files.image import Reading
from common.data.records import Record
from common.data.sources.open import open_source
from common.program.errors import UserError
from tests.dicom_files import GREY, dataset, save

MASK = (GREY > 2000).astype(np.uint8)
AXIAL = {
    "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
    "ImagePositionPatient": [-100, -80, 40],
    "PixelSpacing": [0.5, 0.7],
    "SliceThickness": 3,
}
FRAMES = [{**AXIAL, "ImagePositionPatient": [-100, -80, 40 + 3 * frame]} for frame in range(3)]
PER_FRAME = {
    "ImageOrientationPatient": "PlaneOrientationSequence",
    "ImagePositionPatient": "PlanePositionSequence",
    "PixelSpacing": "PixelMeasuresSequence",
    "SliceThickness": "PixelMeasuresSequence",
}


def groups(plane: dict) -> Dataset:
    """The functional groups of an enhanced file that state a plane."""
    made = Dataset()
    for keyword, value in plane.items():
        name = PER_FRAME[keyword]
        if name not in made:
            setattr(made, name, Sequence([Dataset()]))
        setattr(made[name][0], keyword, value)
    return made


def enhanced(path: Path, stored: np.ndarray, planes: list[dict], shared: dict) -> Path:
    elements = {
        "Rows": stored.shape[0],
        "NumberOfFrames": len(planes),
        "PerFrameFunctionalGroupsSequence": Sequence([groups(plane) for plane in planes]),
        "SharedFunctionalGroupsSequence": Sequence([groups(shared)]),
    }
    return save(path, np.concatenate([stored] * len(planes)), **elements)


@pytest.fixture
def folder(tmp_path) -> Path:
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    return tmp_path


def records(folder: Path) -> list[Record]:
    data = default_config().data
    data.dir = str(folder)
    return list(open_source(data).splits["train"])


def masks(folder: Path) -> list[np.ndarray]:
    return [record.read_mask() for record in records(folder) if record.read_mask]


@pytest.mark.parametrize(
    "plane",
    [
        AXIAL,
        {},
        {**AXIAL, "ImagePositionPatient": [-100.01, -80, 40.1]},
        {**AXIAL, "SliceThickness": 1},
        {"ImageOrientationPatient": [0, 1, 0, 1, 0, 0]},
        {**AXIAL, "PixelSpacing": None},
        {**AXIAL, "PixelSpacing": [0, 0]},
        {**AXIAL, "ImageOrientationPatient": [1, 0, 0, 1, 0, 0]},
        {**AXIAL, "ImagePositionPatient": ["nan", 0, 0]},
    ],
    ids=["equal", "none", "rounded", "thinner", "no position", "no spacing", "0", "a line", "NaN"],
)
@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")  # of writing such values
def test_frames_of_one_plane_or_of_none_are_paired(folder, plane):
    save(folder / "images" / "a.dcm", GREY, **AXIAL, PhotometricInterpretation="MONOCHROME1")
    save(folder / "masks" / "a.dcm", MASK, **plane)
    np.testing.assert_array_equal(masks(folder), [MASK])


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (
            {"ImageOrientationPatient": [-1, 0, 0, 0, -1, 0]},
            r"\(RAS\+, 8x5x1 voxels\) have different grids",
        ),
        (
            {"ImageOrientationPatient": [0, 1, 0, 1, 0, 0]},
            r"\(PLI\+, 8x5x1 voxels\) have different grids",
        ),
        (
            {"ImagePositionPatient": [-100, -80, 43]},
            r"\(LPS\+, 8x5x1 voxels\) have different grids .* 0 % of",
        ),
        (
            {"ImagePositionPatient": [-96.5, -80, 40]},
            r"have different grids by their headers: 38 % of",
        ),
        ({"PixelSpacing": [0.7, 0.5]}, "have different grids"),
    ],
)
def test_frames_of_two_planes_are_refused(folder, changed, told):
    save(folder / "images" / "a.dcm", GREY, **AXIAL)
    save(folder / "masks" / "a.dcm", MASK, **{**AXIAL, **changed})
    with pytest.raises(UserError, match=rf"images/a\.dcm \(LPS\+, .*masks/a\.dcm .*{told}"):
        masks(folder)


def test_a_mask_of_another_size_is_refused(folder):
    save(folder / "images" / "a.dcm", GREY, **AXIAL)
    save(folder / "masks" / "a.dcm", MASK[:-1], **AXIAL)
    with pytest.raises(UserError, match=r"\(LPS\+, 8x4x1 voxels\) have different grids"):
        masks(folder)


def test_frames_of_enhanced_files_are_compared_one_by_one(folder):
    shared = {name: AXIAL[name] for name in ("PixelSpacing", "ImageOrientationPatient")}
    planes = [{"ImagePositionPatient": plane["ImagePositionPatient"]} for plane in FRAMES]
    enhanced(folder / "images" / "a.dcm", GREY, FRAMES, {})
    enhanced(folder / "masks" / "a.dcm", MASK.astype(np.uint16), planes, shared)
    np.testing.assert_array_equal(masks(folder), [MASK] * 3)
    enhanced(folder / "masks" / "a.dcm", MASK.astype(np.uint16), planes[::-1], shared)
    for record in records(folder):  # the one in the middle, too: the file is not to be trusted
        with pytest.raises(UserError, match="have different grids"):
            assert record.read_mask and record.read_mask()


def test_a_picture_of_a_frame_may_be_its_mask(folder):
    save(folder / "images" / "a.dcm", GREY, **AXIAL)
    Image.fromarray(MASK).save(folder / "masks" / "a.png")
    np.testing.assert_array_equal(masks(folder), [MASK])


def test_the_grid_of_a_frame_is_that_of_the_standard(tmp_path):
    angle = np.deg2rad(30)
    across, down = (np.cos(angle), np.sin(angle), 0), (0, 0, -1)  # coronal, turned
    plane = {"ImageOrientationPatient": [f"{x:.9f}" for x in (*across, *down)]}
    (frame,) = frames_of(save(tmp_path / "a.dcm", GREY, **{**AXIAL, **plane}), Reading())
    grid = frame.read_grid()
    assert grid is not None and grid.shape == (8, 5, 1) and grid.stated
    column, row = 6, 3
    # PS3.3, equation C.7.6.2.1-1, with x and y to the right and forward.
    place = np.array([-100, -80, 40]) + column * 0.7 * np.array(across) + row * 0.5 * np.array(down)
    expected = place * [-1, -1, 1]
    np.testing.assert_allclose((grid.affine @ [column, row, 0, 1])[:3], expected, atol=1e-6)


@pytest.mark.parametrize("value", ["left", None, [1, 2]])
def test_a_header_without_a_plane_that_can_be_read_states_none(tmp_path, value):
    made = dataset(GREY, **AXIAL)
    del made.ImagePositionPatient
    if value is not None:
        made.add_new("ImagePositionPatient", "LO", value if isinstance(value, str) else ["1", "2"])
    made.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    (frame,) = frames_of(tmp_path / "a.dcm", Reading())
    assert frame.read_grid() is None
    assert frame.read().pixels.shape == (5, 8, 1)


def test_a_file_that_can_not_be_read_says_so_itself(folder):
    save(folder / "images" / "a.dcm", GREY, **AXIAL)
    (folder / "masks" / "a.dcm").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"masks/a\.dcm is not a DICOM file"):
        masks(folder)
