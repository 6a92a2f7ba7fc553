"""Reading NIfTI volumes with nibabel: slices as grey pixels or masks, in one orientation."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
from jaxtyping import Float, Real

from common.data.files.foreign import explained
from common.data.files.image import PLANES, FileImage, Reading, Values
from common.data.files.recent import Recent
from common.data.files.whole_numbers import whole_numbers
from common.data.files.window import Window, to_bytes
from common.data.records import Decoded
from common.program.errors import UserError

try:
    import nibabel
    from nibabel.arrayproxy import ArrayProxy
    from nibabel.filebasedimages import ImageFileError
    from nibabel.orientations import apply_orientation, io_orientation, ornt_transform

    from common.data.files.nifti_grid import Turn, doubt_of, grid_of, upright
except ModuleNotFoundError as error:
    raise UserError(
        "NIfTI files are read with nibabel; install it with pip install 'triptych[nifti]'"
    ) from error

MAX_VOXELS = 2**28  # a CT of the whole body has 512 x 512 x 1000
MAX_SLICES = 2**15 - 1  # along an axis: what NIfTI-1 can state

_KEPT_VOLUMES = 4  # two pairs of image and mask: at the end of one, threads work on two
_AXES = dict(zip(PLANES, (2, 1, 0), strict=True))  # the axis across which a plane cuts

_explained = partial(explained, package="nibabel", kind="NIfTI", unknown=ImageFileError)

Volume = Real[np.ndarray, "_i _j _k"]
Plane = Real[np.ndarray, "_height _width"]


@dataclass(frozen=True)
class _Opened:
    """A volume in memory, or memory-mapped if the file is not compressed.

    Attributes:
      stored: the numbers in the file, along its own axes.
      upright: the same along axes that go right, forward and up, by the file's own header.
      slope, intercept: value = slope * stored + intercept.
      window: the range that the header asks to show, else that of the whole volume.
      rounding: how far values may be from those saved: half a step of integers, and float32's.
    """

    stored: Volume
    upright: Volume
    slope: float
    intercept: float
    window: Window
    rounding: float

    def plane(self, name: str, index: int, turn: Turn | None) -> Plane:
        """Returns a slice as it is displayed: one axis points up, the other from right to left."""
        turned = self.upright if turn is None else apply_orientation(self.stored, turn)
        plane: Plane = np.flip(np.moveaxis(turned, _AXES[name], 0)[index]).T
        return plane

    def values(self, stored: Plane) -> Float[np.ndarray, "_height _width"]:
        """Returns the values of stored numbers."""
        return stored.astype(np.float64) * self.slope + self.intercept


def slices_of(path: Path, reading: Reading, turn: Turn | None = None) -> list[FileImage]:
    """Returns the slices of a volume along `reading.plane`; reads only its header.

    "#000" is the lowest axial, the hindmost coronal, the leftmost sagittal slice. A file with a
    damaged header counts as one image: reading it raises, and `config.data.on_bad_image` may
    skip it.

    Args:
      path: a NIfTI file.
      reading: `plane` and `window` are used.
      turn: turns its axes right, forward and up (see `turn_onto`); None goes by its own header.
    """
    try:
        with _explained(path):
            image = _header(path)
            grid = grid_of(image, _shape(image, path))
            axes = (upright(grid) if turn is None else turn)[:, 0]
            count, doubt = grid.shape[list(axes).index(_AXES[reading.plane])], doubt_of(image, grid)
    except UserError:
        count, grid, doubt = 1, None, ""
    width = max(3, len(str(count - 1)))  # names sort in the order of the slices
    return [
        FileImage(
            suffix=f"#{index:0{width}}",
            read=partial(read_slice, path, index, reading.plane, reading.window, turn),
            read_values=partial(read_slice_values, path, index, reading.plane, turn),
            read_grid=lambda: grid,
            doubt=doubt,
        )
        for index in range(count)
    ]


def read_slice(
    path: Path, index: int, plane: str, window: Window | None = None, turn: Turn | None = None
) -> Decoded:
    """Reads a slice of a volume in radiological orientation, whatever the order in the file.

    The patient's right is on the left of axial and coronal slices. Axial slices have the front at
    the top; coronal and sagittal ones the head; sagittal ones the front on the left. An oblique
    volume is turned by quarter turns only, to the nearest of these. Pixels are voxels: if these are
    not square, the picture is distorted.

    Args:
      path: a NIfTI-1 or -2 volume in a single file, compressed or not, of three dimensions.
      index: of the slice, counted from inferior, posterior or left.
      plane: "axial", "coronal" or "sagittal".
      window: (low, high) shown as 0 and 255, else the header's cal_min and cal_max, else the range
        of the whole volume. A constant volume is black.
      turn: as in `slices_of`.

    Raises:
      UserError: the file is missing, damaged, too large, not a volume of numbers, or holds NaN or
        infinity.
    """
    with _explained(path):
        volume = _opened(path)
        stored = volume.plane(plane, index, turn)
        values = volume.values(stored)[..., None]
        return Decoded(
            pixels=to_bytes(values, window or volume.window),
            mode=stored.dtype.name,
            bits=8 * stored.itemsize,
            window=window or volume.window,
            value_range=(float(values.min()), float(values.max())),
        )


def read_slice_values(path: Path, index: int, plane: str, turn: Turn | None = None) -> Values:
    """Reads a slice as a mask, in the orientation of `read_slice`.

    Raises:
      UserError: as `read_slice` does, or the slice holds fractions.
    """
    with _explained(path):
        volume = _opened(path)
        stored = volume.plane(plane, index, turn)
        if (volume.slope, volume.intercept) == (1, 0) and np.can_cast(stored.dtype, np.int64):
            return stored.astype(np.int64)
        return whole_numbers(volume.values(stored), path, volume.rounding)


def write_volume(
    file: Path, like: Path, slices: Sequence[np.ndarray], plane: str = "axial"
) -> None:
    """Writes slices, in the orientation of `read_slice`, as a volume in the space of another.

    It has the other's shape, affine, axes and header, and the slices' dtype.

    Args:
      file: ending in .nii or .nii.gz.
      like: the volume whose slices they belong to.
      slices: all of them, in order.
      plane: of the slices.

    Raises:
      UserError: `like` can't be read.
    """
    with _explained(like):
        image = _header(like)
        orientation, shape = io_orientation(image.affine), image.shape
    volume = np.moveaxis(np.stack([np.flip(cut.T) for cut in slices]), 0, _AXES[plane])
    there = ornt_transform(io_orientation(np.eye(4)), orientation)
    stored = apply_orientation(volume, there).reshape(shape, order="F")
    header = image.header.copy()
    header.set_data_dtype(stored.dtype)
    header["cal_min"] = header["cal_max"] = 0
    written = type(image)(stored, image.affine, header)
    nibabel.save(written, file)


def _header(path: Path) -> nibabel.Nifti1Image:
    image = nibabel.load(path)
    if not isinstance(image, nibabel.Nifti1Image):
        raise UserError(f"{path} is a {type(image).__name__}, not a volume; remove it.")
    return image


def _shape(image: nibabel.Nifti1Image, path: Path) -> tuple[int, int, int]:
    """Returns the shape of a volume without axes of length one, after checking size and type."""
    shape = list(image.shape)
    while len(shape) > 3 and shape[-1] == 1:
        shape.pop()
    stated = " x ".join(map(str, image.shape))
    if len(shape) > 3:
        raise UserError(
            f"{path} has {len(shape)} dimensions ({stated}); save each of its volumes as a file of"
            " its own."
        )
    if len(shape) < 2 or min(shape) < 1:
        raise UserError(f"{path} holds no volume (its shape is {stated or 'empty'}); remove it.")
    if max(shape) > MAX_SLICES or math.prod(shape) > MAX_VOXELS:
        raise UserError(
            f"{path} states {stated} voxels; a volume may have {MAX_VOXELS:,}, up to"
            f" {MAX_SLICES:,} along an axis; cut or shrink it."
        )
    if image.get_data_dtype().kind not in "iuf":
        raise UserError(
            f"{path} holds {image.get_data_dtype()} voxels rather than one number each; save its"
            " channels as files of their own."
        )
    return shape[0], shape[1], shape[2] if len(shape) == 3 else 1


def _open(path: Path) -> _Opened:
    image = _header(path)
    shape, proxy = _shape(image, path), cast(ArrayProxy, image.dataobj)
    stored = proxy.get_unscaled().reshape(shape, order="F")
    slope, intercept = float(proxy.slope), float(proxy.inter)
    ends = (slope * float(stored.min()) + intercept, slope * float(stored.max()) + intercept)
    low, high = min(ends), max(ends)
    if not math.isfinite(high - low):
        raise UserError(
            f"{path} holds values that are not numbers (NaN or infinity); save it with 0"
            " instead, or remove it."
        )
    shown = float(image.header["cal_min"]), float(image.header["cal_max"])
    if not (math.isfinite(shown[1] - shown[0]) and shown[0] < shown[1]):
        shown = low, high if low < high else low + max(1.0, abs(low))
    turned = apply_orientation(stored, upright(grid_of(image, shape)))
    step = abs(slope) if stored.dtype.kind in "iu" and slope != 1 else 0.0
    rounding = max(step / 2, 1e-6 * max(abs(low), abs(high)))
    return _Opened(stored, turned, slope, intercept, shown, rounding)


_opened = Recent(_open, _KEPT_VOLUMES)
