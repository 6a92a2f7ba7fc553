"""Specification of where the files of a pair lie: a mask is on its image, or it is refused.

The arrays are turned by nibabel; the right overlap is known from how they were made.
"""

import logging
import re
import shutil

import nibabel
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt
from PIL import Image

from common.config.defaults import default_config
from common.data.files.grids import Grid
from common.data.files.image import PLANES
from common.data.sources.open import open_source
from common.program.errors import UserError
from tests.dicom_files import GREY, save
from tests.volume_files import (
    AFFINES,
    BRAIN,
    MASK,
    ORIENTATIONS,
    PAIRINGS,
    RANDOM,
    SCANNER,
    affine_of,
    changed,
    dice,
    pair,
    placed,
    records,
    refusal,
    rotation,
    volume,
)

# Two headers that say where


@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_the_codes_of_a_grid_are_nibabel_s(codes):
    for turned in (np.eye(4), rotation(20, -15, 25)):
        affine = turned @ affine_of(codes) @ np.diag([0.5, 2, 9, 1])
        assert Grid(affine, (4, 5, 6)).codes == "".join(nibabel.aff2axcodes(affine)) + "+"


def test_headers_that_say_different_places_are_refused_with_both_orientations(tmp_path):
    values = RANDOM.permutation(20 * 30 * 4).reshape(20, 30, 4).astype(np.int16)
    image = {"values": values, "affine": np.diag([-1.0, -1, 1, 1])}
    mask = {"values": (values > 70).astype(np.uint8), "affine": np.eye(4)}
    assert refusal(pair(tmp_path, image, mask)) == (
        "DIR/images/p.nii (LPS+, 20x30x4 voxels) and DIR/masks/p.nii (RAS+, 20x30x4 voxels) have"
        " different grids by their headers: 0 % of the first is in the second; resample the second"
        " onto the first or, if only its header is wrong, give it the first one's, as in"
        " docs/own_data.md."
    )


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_headers_that_are_no_numbers_are_damaged(tmp_path, value):
    affine = np.eye(4)
    affine[0, 3] = value
    assert "not finite" in refusal(pair(tmp_path, {"affine": affine}, {"affine": affine}))


@pytest.mark.parametrize("plane", PLANES)
def test_equal_headers_pair_voxel_by_voxel(tmp_path, plane):
    assert dice(pair(tmp_path, {}, {}), plane=plane) == 1


def test_a_mask_that_is_elsewhere_in_its_array_stays_there(tmp_path):
    bright = np.zeros((4, 5, 6), np.int16)
    bright[1:3, 1:3, 1:3] = 200
    moved = (np.roll(bright, 1, axis=0) > 0).astype(np.uint8)
    assert dice(pair(tmp_path, {"values": bright}, {"values": moved})) == 0.5


@pytest.mark.parametrize(("image", "mask"), PAIRINGS)
def test_the_order_of_the_axes_in_either_file_changes_nothing(tmp_path, image, mask):
    plane = PLANES[PAIRINGS.index((image, mask)) % 3]
    assert dice(pair(tmp_path, {"codes": image}, {"codes": mask}), plane=plane) == 1


@pytest.mark.parametrize("kind", AFFINES)
@pytest.mark.parametrize("codes", ["RAS", "PIR", "SLA", "ALI", "IPL", "LSP"])
def test_axes_may_be_exchanged_in_any_volume(tmp_path, kind, codes):
    affine = AFFINES[kind]
    # Turned by its own axes, whatever these are called.
    turned = nibabel.Nifti1Image(MASK, affine).as_reoriented(axcodes2ornt(codes))
    folder = pair(tmp_path, {"affine": affine}, {})
    nibabel.save(turned, folder / "masks" / "p.nii")
    assert dice(folder) == 1


@pytest.mark.parametrize("voxels", [0.05, -0.09])
def test_headers_may_be_rounded(tmp_path, voxels):
    folder = pair(tmp_path, {}, {"affine": changed(SCANNER, voxels, -voxels, voxels)})
    assert dice(folder) == 1


@pytest.mark.parametrize(
    ("affine", "told"),
    [
        (changed(SCANNER, 1, 0, 0), "75 % of the first is in the second"),
        (changed(SCANNER, 0, 0, 3), "50 % of"),
        (changed(SCANNER, 0.2, 0, 0), "94 % of"),
        (placed(-1.1, -1.5, 3.0), "100 % of"),
        (placed(1.0, -1.5, 3.0), r"\(RPS\+, 4x5x6 voxels\) .* 25 % of"),
        (rotation(0, 0, 10) @ SCANNER, "% of"),
        (placed(-1.0, -1.5, 3.0, corner=(0, 0, 0)), "0 % of"),
    ],
)
def test_a_mask_on_another_grid_is_refused_with_how_much_of_the_image_it_has(
    tmp_path, affine, told
):
    assert re.search(told, refusal(pair(tmp_path, {}, {"affine": affine})))


def test_a_finer_mask_is_refused(tmp_path):
    fine = {"values": np.zeros((8, 5, 6), np.uint8), "affine": placed(-0.5, -1.5, 3.0)}
    folder = pair(tmp_path, {}, fine)
    assert "(LPS+, 8x5x6 voxels) have different grids" in refusal(folder)
    assert "holds 5 images but" not in refusal(folder, plane="coronal")
    assert "holds 4 images but DIR/masks/p.nii 8" in refusal(folder, plane="sagittal")


def test_targets_are_compared_as_masks_are(tmp_path):
    target = {"values": BRAIN, "codes": "SLA"}
    for record in records(pair(tmp_path / "a", {}, target, "targets")):
        assert record.read_target is not None
        np.testing.assert_array_equal(record.read_target().pixels, record.read().pixels)
    elsewhere = {"values": BRAIN, "affine": np.eye(4)}
    assert "have different grids" in refusal(pair(tmp_path / "b", {}, elsewhere, "targets"))


# How a file is written


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.float32, np.float64])
@pytest.mark.parametrize("name", ["p.nii", "p.nii.gz"])
def test_every_way_of_storing_numbers_pairs_alike(tmp_path, dtype, name):
    image, mask = {"values": BRAIN.astype(dtype)}, {"values": MASK.astype(dtype), "codes": "SPR"}
    assert dice(pair(tmp_path, image, mask, name=name)) == 1


@pytest.mark.parametrize("first", [(2, 0), (0, 1), (1, 1)])
@pytest.mark.parametrize("second", [(2, 0), (0, 1), (1, 1)])
def test_either_form_of_an_orientation_counts(tmp_path, first, second):
    image, mask = ({"sform": sform, "qform": qform} for sform, qform in (first, second))
    folder = pair(tmp_path, image, {**mask, "codes": "ILP"})
    assert dice(folder) == 1
    assert not any(record.doubt for record in records(folder))


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 1), (4, 5, 1, 1)])
def test_a_single_slice_is_a_volume_too(tmp_path, shape):
    image, mask = ({"values": values[..., 0].reshape(shape)} for values in (BRAIN, MASK))
    assert dice(pair(tmp_path / "a", image, mask)) == 1
    elsewhere = {**mask, "affine": changed(SCANNER, 0, 0, 1)}
    assert "have different grids" in refusal(pair(tmp_path / "b", image, elsewhere))


def test_a_last_axis_of_one_does_not_count(tmp_path):
    mask = {"values": MASK[..., None]}
    assert dice(pair(tmp_path, {}, mask)) == 1


def test_pairs_in_an_archive_are_compared_too(tmp_path):
    folder = pair(tmp_path / "scans", {}, {"codes": "PIR"})
    pair(tmp_path / "scans", {}, {"affine": np.eye(4)}, name="q.nii")
    shutil.make_archive(str(tmp_path / "scans"), "zip", folder)
    data = default_config().data
    data.update(dir=str(tmp_path / "scans.zip"), cache_dir=str(tmp_path / "cache"))
    found = {record.id: record for record in open_source(data).splits["train"]}
    mask = found["images/p.nii#000"].read_mask
    assert mask is not None and mask().any()
    mask = found["images/q.nii#000"].read_mask
    with pytest.raises(UserError, match=r"scans\.zip/images/q\.nii \(LPS\+.*have different grids"):
        assert mask is not None and mask()


# Headers that say nothing, or two things


@pytest.mark.parametrize("silent", ["image", "mask"])
@pytest.mark.parametrize("codes", ["LPS", "RAS", "SPR", "AIL"])
def test_where_one_header_says_nothing_equal_indices_belong_together(
    tmp_path, caplog, silent, codes
):
    steps = affine_of(codes)
    affines = {"image": steps, "mask": steps, silent: None}
    image, mask = ({"affine": affines[side]} for side in ("image", "mask"))
    folder = pair(tmp_path, image, mask)
    with caplog.at_level(logging.WARNING, "triptych"):
        assert dice(folder) == 1
    doubts = {record.doubt for record in records(folder)}
    said = {"image": codes + "+", "mask": codes + "+", silent: "nothing (LAS+ by default)"}
    assert doubts == {
        f"the image's header says {said['image']}, its partner's {said['mask']}, so voxels of"
        " equal indices are taken to match"
    }
    assert re.search(rf"Of \d pairs {re.escape(doubts.pop())}", caplog.text)


def test_two_headers_that_say_nothing_leave_no_doubt_of_the_pair(tmp_path):
    folder = pair(tmp_path, {"affine": None}, {"affine": None})
    assert dice(folder) == 1
    assert not any(record.doubt for record in records(folder))


@pytest.mark.parametrize("affine", [None, SCANNER])
def test_volumes_of_two_shapes_can_not_be_paired_by_index(tmp_path, affine):
    mask = {"values": MASK.transpose(1, 0, 2), "affine": None}
    told = refusal(pair(tmp_path, {"affine": affine}, mask))
    assert "DIR/masks/p.nii (nothing (LAS+ by default), 5x4x6 voxels) have different grids" in told


def test_two_orientations_in_a_header_raise_a_doubt_and_the_sform_counts(tmp_path):
    image = nibabel.Nifti1Image(BRAIN, SCANNER)
    image.set_qform(placed(1.0, 1.5, 3.0), 1)
    folder = pair(tmp_path, {}, {"codes": "RAS"})
    nibabel.save(image, folder / "images" / "p.nii")
    assert dice(folder) == 1
    assert {record.doubt for record in records(folder)} == {
        "the sform says LPS+ and the qform RAS+, so the sform is used"
    }
    shutil.copy(folder / "images" / "p.nii", folder / "masks" / "p.nii")
    assert {record.doubt for record in records(folder)} == {
        "the sform says LPS+ and the qform RAS+, so the sform is used; in its partner the sform"
        " says LPS+ and the qform RAS+, so the sform is used"
    }
    volume(folder / "masks" / "p.nii", MASK, SCANNER)
    image.header["quatern_b"] = 5
    nibabel.save(image, folder / "images" / "p.nii")
    assert {record.doubt for record in records(folder)} == {
        "the sform says LPS+ and the qform is invalid, so the sform is used"
    }


# Files that are not turned


@pytest.mark.parametrize("flat", ["images", "masks"])
def test_a_volume_and_a_picture_can_not_be_paired(tmp_path, flat):
    folder = pair(tmp_path, {"values": BRAIN[..., :1]}, {"values": MASK[..., :1]})
    (folder / flat / "p.nii").unlink()
    Image.fromarray(MASK[..., 0]).save(folder / flat / "p.png")
    sides = [f"DIR/{flat}/p.png", f"DIR/{'masks' if flat == 'images' else 'images'}/p.nii"]
    assert refusal(folder) == (
        f"{sides[1]} is turned as its header says and {sides[0]} is not, so their alignment is"
        " unknown; save both as NIfTI with one header, or both as pictures."
    )


def test_a_volume_and_a_dicom_file_can_not_be_paired(tmp_path):
    folder = pair(tmp_path, {}, {})
    (folder / "images" / "p.nii").unlink()
    save(folder / "images" / "p.dcm", GREY)
    assert "DIR/images/p.dcm is not, so their alignment is unknown" in refusal(folder)
