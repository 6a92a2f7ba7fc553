"""DICOM and NIfTI files, drawn at random."""

import io
import struct
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import SimpleITK
from pydicom import uid
from pydicom.encaps import encapsulate

from tests.dicom_files import dataset
from tests.picture_cases.case import (
    Case,
    Numbers,
    Rng,
    integers,
)


def draw_dicom(rng: Rng) -> Case:
    colour = bool(rng.random() < 0.25)
    allocated = 8 if colour else int(rng.choice([8, 16, 32]))
    signed = not colour and bool(rng.random() < 0.4)
    bits = (
        allocated
        if colour or rng.random() < 0.4
        else int(rng.integers(max(1, allocated - 7), allocated + 1))
    )
    if signed and bits < 2:
        bits = 2
    numbers = integers(rng, bits, 3 if colour else 1, signed)
    numbers = numbers.astype(f"{'i' if signed else 'u'}{allocated // 8}")
    planes = colour and bool(rng.random() < 0.5)
    syntaxes = [uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.RLELossless]
    syntax = uid.UID(str(rng.choice(syntaxes[: 2 if planes or allocated == 32 else 3])))
    made = dataset(numbers if colour else numbers[..., 0])
    made.BitsStored, made.HighBit = bits, bits - 1
    if planes:
        made.PlanarConfiguration = 1
        data = np.ascontiguousarray(np.moveaxis(numbers, -1, 0)).tobytes()
        made.PixelData = data + b"\0" * (len(data) % 2)
    slope, intercept = 1.0, 0.0
    if not colour and rng.random() < 0.4:
        slope, intercept = float(rng.choice([1, 2, 0.5])), float(rng.choice([0, -1024, 7]))
        made.RescaleSlope, made.RescaleIntercept = slope, intercept
    dark = not colour and bool(rng.random() < 0.3)
    if dark:
        made.PhotometricInterpretation = "MONOCHROME1"
    lossless = [uid.JPEG2000Lossless, *([] if signed or bits < 2 else [uid.JPEGLSLossless])]
    if not planes and allocated < 32 and rng.random() < 0.4:
        _encapsulate(made, numbers, bits, uid.UID(str(rng.choice(lossless))))
    elif syntax.is_encapsulated:
        made.compress(syntax, generate_instance_uid=False)
    else:
        made.file_meta.TransferSyntaxUID = syntax
    low = -(2 ** (bits - 1)) if signed else 0
    ends = 2 * low + 2**bits - 1

    def itk(path: Path) -> np.ndarray | None:
        """What ITK reads; it turns the stored numbers of MONOCHROME1 around, which is undone."""
        image = itk_pixels(path)
        if image is None or not dark:
            return image
        return (ends - (image - intercept) / slope) * slope + intercept

    stream = io.BytesIO()
    pydicom.dcmwrite(stream, made, enforce_file_format=True)
    return Case(
        kind=f"DICOM, {bits} of {allocated} bits{' signed' if signed else ''}, slope {slope:g}",
        name="a.dcm",
        content=stream.getvalue(),
        stored=numbers if colour else numbers * slope + intercept,
        white=255 if colour else None,
        shallow=colour,
        dark=dark,
        values=None if colour else numbers,
        seconds={"SimpleITK": itk},
    )


def _encapsulate(made: pydicom.Dataset, numbers: Numbers, bits: int, syntax: uid.UID) -> None:
    """Compresses the pixels without loss, by a codec that knows nothing of DICOM."""
    image = numbers if numbers.shape[-1] == 3 else numbers[..., 0]
    if syntax == uid.JPEGLSLossless:
        frame = imagecodecs.jpegls_encode(image, level=0)
    else:
        frame = imagecodecs.jpeg2k_encode(
            image, level=0, bitspersample=bits, codecformat="j2k", reversible=True, mct=False
        )
    made.PixelData = encapsulate([frame])
    made["PixelData"].VR = "OB"
    made["PixelData"].is_undefined_length = True
    made.file_meta.TransferSyntaxUID = syntax


def itk_pixels(path: Path) -> np.ndarray | None:
    try:
        image = SimpleITK.ReadImage(str(path))
    except RuntimeError:
        return None
    pixels = SimpleITK.GetArrayFromImage(image)
    return pixels[0] if image.GetDimension() == 3 else pixels


_NIFTI_TYPES = {"u1": 2, "i2": 4, "i4": 8, "f4": 16, "f8": 64, "i1": 256, "u2": 512, "u4": 768}


def draw_nifti(rng: Rng) -> Case:
    dtype, order = str(rng.choice(list(_NIFTI_TYPES))), str(rng.choice(["<", ">"]))
    shape = tuple(int(side) for side in rng.integers(2, 8, 3))
    if dtype[0] == "f":
        stored = rng.normal(0, 50, shape).astype(dtype)
        stored = np.rint(stored) if rng.random() < 0.5 else stored
    else:
        ends = np.iinfo(dtype)
        stored = rng.integers(max(ends.min, -999), min(ends.max, 9999), shape).astype(dtype)
    slope, intercept = 1.0, 0.0
    if rng.random() < 0.4:
        slope, intercept = float(rng.choice([2, 0.5])), float(rng.choice([0, -7]))
    axes, signs = rng.permutation(3), rng.choice([-1.0, 1.0], 3)
    affine = np.zeros((3, 4), np.float32)
    affine[axes, range(3)] = signs
    head = bytearray(352)
    struct.pack_into(f"{order}i", head, 0, 348)
    struct.pack_into(f"{order}8h", head, 40, 3, *shape, 1, 1, 1, 1)
    struct.pack_into(f"{order}2h", head, 70, _NIFTI_TYPES[dtype], 8 * stored.itemsize)
    struct.pack_into(f"{order}8f", head, 76, *[1.0] * 8)
    struct.pack_into(f"{order}3f", head, 108, 352, slope, intercept)
    struct.pack_into(f"{order}2h", head, 252, 0, 2)  # no quaternion; what the affine says
    struct.pack_into(f"{order}12f", head, 280, *affine.ravel())
    head[344:348] = b"n+1\0"
    content = bytes(head) + stored.astype(order + dtype).tobytes(order="F")
    # Along axes that go to the left, to the back and up, as DICOM's do, seen from the feet.
    along = np.argsort(axes)
    upright = stored.transpose(along)
    flips = [axis for axis in range(3) if signs[along[axis]] == (1, 1, -1)[axis]]
    upright = np.flip(upright, flips).T * slope + intercept
    index = int(rng.integers(len(upright)))

    def itk(path: Path) -> np.ndarray | None:
        image = SimpleITK.DICOMOrient(SimpleITK.ReadImage(str(path)), "LPS")
        return SimpleITK.GetArrayFromImage(image)[index]

    whole = bool((upright == np.rint(upright)).all())
    return Case(
        kind=f"NIfTI, {dtype}",
        name="a.nii",
        content=content,
        stored=upright[index][..., None],
        index=index,
        fractions=not whole,
        seconds={"SimpleITK": itk},
    )
