"""DICOM files for tests, and what is to be seen of them."""

from pathlib import Path

import numpy as np
import pydicom
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate

from common.data.files.dicom import read_frame

BUNDLED = Path(pydicom.__file__).parent / "data"
GREY = np.arange(0, 4000, 100, np.uint16).reshape(5, 8)  # 12 bits
DEEP = (np.arange(64 * 48) * 17 % 4096).astype(np.uint16).reshape(48, 64)
HOUNSFIELD = np.array([[-1024, -1000, 0, 40, 100, 1023]], np.int16)
RGB = np.arange(0, 216, 3, np.uint8).reshape(4, 6, 3)


def dataset(stored: np.ndarray | None = None, **elements) -> Dataset:
    """A secondary capture; `stored` is one frame, and the elements add to it or replace."""
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID = uid.SecondaryCaptureImageStorage
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID = "1.2.3"
    made.PatientID = "P1"
    if stored is not None:
        colour = stored.ndim == 3
        made.Rows, made.Columns = stored.shape[:2]
        made.SamplesPerPixel = 3 if colour else 1
        made.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
        if colour:
            made.PlanarConfiguration = 0
        made.BitsAllocated = 8 * stored.itemsize
        made.BitsStored = 12 if stored.itemsize == 2 else 8 * stored.itemsize
        made.HighBit = made.BitsStored - 1
        made.PixelRepresentation = int(stored.dtype.kind == "i")
        made.PixelData = stored.tobytes() + b"\0" * (stored.nbytes % 2)
    for keyword, value in elements.items():
        setattr(made, keyword, value)
    return made


def save(path: Path, stored: np.ndarray | None = None, **elements) -> Path:
    dataset(stored, **elements).save_as(path, enforce_file_format=True)
    return path


def save_encapsulated(
    path: Path, syntax: str, *frames: bytes, like: np.ndarray, **elements
) -> Path:
    made = dataset(
        like, PixelData=encapsulate(list(frames)), NumberOfFrames=len(frames), **elements
    )
    made["PixelData"].VR = "OB"
    made["PixelData"].is_undefined_length = True
    made.file_meta.TransferSyntaxUID = uid.UID(syntax)
    made.save_as(path, enforce_file_format=True)
    return path


def read(path: Path, frame: int = 0, window: tuple[float, float] | None = None) -> np.ndarray:
    return read_frame(path, frame, window).pixels


def mapped(values: np.ndarray, low: float, high: float) -> np.ndarray:
    return np.rint((np.clip(values, low, high) - low) / (high - low) * 255)[..., None]


def damaged(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path
