"""Pairs of NIfTI volumes for tests, and what is to be seen of them."""

import itertools
import random
from pathlib import Path

import nibabel
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

from common.config.defaults import default_config
from common.data.records import Record
from common.data.sources.open import open_source
from common.program.errors import UserError

RANDOM = np.random.default_rng(0)
BRAIN = RANDOM.permutation(4 * 5 * 6).reshape(4, 5, 6).astype(np.int16)
MASK = (BRAIN > 70).astype(np.uint8)
ORIENTATIONS = [
    "".join(codes)
    for axes in itertools.permutations(("LR", "PA", "IS"))
    for codes in itertools.product(*axes)
]
PAIRINGS = random.Random(0).sample(list(itertools.product(ORIENTATIONS, ORIENTATIONS)), 48)


def rotation(*degrees: float) -> np.ndarray:
    """Turns about the three axes, one after the other."""
    turned = np.eye(4)
    for axis, angle in enumerate(np.deg2rad(degrees)):
        first, second = [i for i in range(3) if i != axis]
        once = np.eye(4)
        once[[first, second], [first, second]] = np.cos(angle)
        once[first, second], once[second, first] = -np.sin(angle), np.sin(angle)
        turned = once @ turned
    return turned


def placed(*steps: float, corner: tuple[float, float, float] = (-90, -126, -72)) -> np.ndarray:
    affine = np.diag([*steps, 1.0])
    affine[:3, 3] = corner
    return affine


SCANNER = placed(-1.0, -1.5, 3.0)  # LAS would be a default; scanners write LPS
AFFINES = {
    "upright": SCANNER,
    "oblique": rotation(20, -15, 35) @ SCANNER,
    "nearly as much one axis as the other": rotation(45, 45, 45) @ SCANNER,
    "exactly as much": rotation(0, 0, 45) @ placed(2, 2, 2),
    "left-handed": placed(-1.0, 1.5, 3.0),
    "sheared": np.array([[1, 0.3, 0, 5], [0, 1, 0.2, 6], [0, 0, 2, 7], [0, 0, 0, 1]]),
}


def affine_of(codes: str) -> np.ndarray:
    """An affine whose axes go where the codes say."""
    affine = np.eye(4)
    for axis, code in enumerate(codes):
        row = next(row for row, pair in enumerate(("LR", "PA", "IS")) if code in pair)
        affine[:3, axis] = 0
        affine[row, axis] = 1 if code in "RAS" else -1
    return affine


def volume(
    path: Path, values: np.ndarray, affine: np.ndarray | None, codes: str = "", sform=2, qform=0
) -> Path:
    """Saves a volume, its axes in the order of the codes; an affine of None states nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(values, affine)
    if affine is not None:
        image.set_sform(affine, sform)
        image.set_qform(affine, qform)
    if codes:
        image = image.as_reoriented(
            ornt_transform(io_orientation(image.affine), axcodes2ornt(codes))
        )
    nibabel.save(image, path)
    return path


def pair(folder: Path, image: dict, mask: dict, kind: str = "masks", name: str = "p.nii") -> Path:
    volume(folder / "images" / name, **{"values": BRAIN, "affine": SCANNER, **image})
    volume(folder / kind / name, **{"values": MASK, "affine": SCANNER, **mask})
    return folder


def records(folder: Path, **settings) -> list[Record]:
    data = default_config().data
    data.update(dir=str(folder), window="0,255", **settings)
    return list(open_source(data).splits["train"])


def dice(folder: Path, **settings) -> float:
    """The overlap of the masks with what they were made of: the bright voxels of the images."""
    both = total = 0
    for record in records(folder, **settings):
        assert record.read_mask is not None
        mask, bright = record.read_mask() == 1, record.read().pixels[..., 0] > 70
        both, total = both + (mask & bright).sum(), total + mask.sum() + bright.sum()
    return float(2 * both / total)


def refusal(folder: Path, **settings) -> str:
    first = records(folder, **settings)[0]
    with pytest.raises(UserError) as caught:
        (first.read_mask or first.read_target)()
    return str(caught.value).replace(str(folder), "DIR")


def changed(affine: np.ndarray, *moved: float) -> np.ndarray:
    """An affine after a shift by so many voxels."""
    shift = np.eye(4)
    shift[:3, 3] = moved
    return affine @ shift
