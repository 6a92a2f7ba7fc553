"""Specification of what is made of pairs whose volumes lie in any orientation, and what is said.

A second opinion comes from SimpleITK.
"""

import random
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
from nibabel.orientations import axcodes2ornt

from common.config.defaults import default_config
from common.data.files.image import PLANES, Reading
from common.data.files.nifti import slices_of, write_volume
from common.data.prepared.prepared import prepare
from common.inspect.findings import Level
from common.inspect.inspection import inspect
from common.program.errors import UserError
from tests.volume_files import (
    BRAIN,
    MASK,
    ORIENTATIONS,
    PAIRINGS,
    SCANNER,
    dice,
    pair,
    placed,
    records,
    volume,
)


@pytest.mark.parametrize("seed", range(9))
def test_simpleitk_brings_the_mask_to_the_same_voxels(tmp_path, seed):
    rng = np.random.default_rng(seed)
    affine = SCANNER.copy()
    affine[:3, :3] = np.linalg.qr(rng.normal(size=(3, 3)))[0] * rng.uniform(0.5, 4, 3)
    folder = pair(tmp_path, {"affine": affine, "qform": 1}, {})
    turned = nibabel.Nifti1Image(MASK, affine).as_reoriented(axcodes2ornt(PAIRINGS[seed][0]))
    turned.set_qform(turned.affine, 1)
    nibabel.save(turned, folder / "masks" / "p.nii")
    image, mask = (
        SimpleITK.ReadImage(str(folder / kind / "p.nii")) for kind in ("images", "masks")
    )
    onto = SimpleITK.Resample(mask, image, SimpleITK.Transform(), SimpleITK.sitkNearestNeighbor, 99)
    there = SimpleITK.GetArrayFromImage(onto).transpose(2, 1, 0)
    alone = slices_of(volume(tmp_path / "onto.nii", there, affine), Reading())
    for record, expected in zip(records(folder), alone, strict=True):
        assert record.read_mask is not None
        np.testing.assert_array_equal(record.read_mask(), expected.read_values())


# What is made of pairs


@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_a_mask_that_is_written_for_a_volume_is_on_it_when_it_is_read(tmp_path, codes):
    plane, other = random.Random(codes).sample(PLANES, 2)
    like = volume(tmp_path / "images" / "p.nii", BRAIN, SCANNER, codes)
    images = slices_of(like, Reading(plane=plane, window=(0.0, 255.0)))
    masks = [(image.read().pixels[..., 0] > 70).astype(np.uint8) for image in images]
    (tmp_path / "masks").mkdir()
    write_volume(tmp_path / "masks" / "p.nii", like, masks, plane)
    assert dice(tmp_path, plane=other) == 1


def test_a_set_of_pairs_in_all_orientations_is_that_of_upright_pairs(tmp_path):
    mixed = random.Random(1).sample(ORIENTATIONS, 48)
    for name, (image, mask) in enumerate(zip(ORIENTATIONS, mixed, strict=True)):
        values = np.roll(BRAIN, name)
        whole = {"values": values}, {"values": (values > 70).astype(np.uint8)}
        pair(tmp_path / "upright", *whole, name=f"{name:02d}.nii")
        turned = {**whole[0], "codes": image}, {**whole[1], "codes": mask}
        pair(tmp_path / "turned", *turned, name=f"{name:02d}.nii")
    batches = []
    for kind in ("upright", "turned"):
        data = default_config().data
        data.update(dir=str(tmp_path / kind), image_size=8, fit="pad", window="0,119")
        data.update(cache_dir=str(tmp_path / "cache"), splits="100,0,0")
        prepared = prepare(data)
        batches.append(prepared.splits["train"].read(range(48 * 6)))
    for name in ("image", "mask"):
        np.testing.assert_array_equal(batches[0][name], batches[1][name])
    assert batches[0]["mask"].any()


def test_pairs_that_do_not_lie_alike_may_be_left_out(tmp_path):
    pair(tmp_path, {}, {}, name="good.nii")
    pair(tmp_path, {}, {"affine": np.eye(4)}, name="bad.nii")
    data = default_config().data
    data.update(dir=str(tmp_path), image_size=8, cache_dir=str(tmp_path / "cache"))
    with pytest.raises(UserError, match=r"bad\.nii .* have different grids"):
        prepare(data)
    data.on_bad_image = "skip"
    assert len(prepare(data).splits["train"]) == 6


# The inspection


@pytest.fixture
def findings() -> Callable[[Path], list[tuple[Level, str]]]:
    def find(folder: Path) -> list[tuple[Level, str]]:
        data = default_config().data
        data.update(dir=str(folder), image_size=8)
        return [(found.level, found.sentence) for found in inspect(data).findings]

    return find


def test_the_inspection_names_pairs_of_different_grids(tmp_path, findings):
    pair(tmp_path, {}, {}, name="good.nii")
    pair(tmp_path, {}, {"affine": np.eye(4)}, name="bad.nii")
    (said,) = [sentence for level, sentence in findings(tmp_path) if level == Level.MEND]
    assert "6 of 12 images can't be used" in said and "(LPS+" in said and "(RAS+" in said


def test_the_inspection_names_volumes_of_uncertain_orientation(tmp_path, findings):
    pair(tmp_path, {}, {}, name="good.nii")
    pair(tmp_path, {}, {"affine": None}, name="silent.nii")
    (said,) = [sentence for level, sentence in findings(tmp_path) if "is uncertain" in sentence]
    assert said == (
        "The orientation of 1 volume is uncertain: the image's header says LPS+, its partner's"
        " nothing (LAS+ by default), so voxels of equal indices are taken to match"
        " (images/silent.nii)."
    )


def test_the_inspection_looks_at_volumes_without_masks_too(tmp_path, findings):
    for name in ("p.nii", "q.nii"):
        image = nibabel.Nifti1Image(BRAIN, SCANNER)
        image.set_qform(placed(1.0, 1.5, 3.0), 1)
        (tmp_path / "A").mkdir(exist_ok=True)
        nibabel.save(image, tmp_path / "A" / name)
    (said,) = [
        sentence
        for level, sentence in findings(tmp_path)
        if level == Level.LOOK and "uncertain" in sentence
    ]
    assert said.startswith(
        "The orientation of 2 volumes is uncertain: the sform says LPS+ and the qform RAS+"
    )
