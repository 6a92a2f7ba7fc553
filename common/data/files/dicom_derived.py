"""Writing images derived from those of a DICOM file, in the same place of the same patient."""

from collections.abc import Iterator, Sequence
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
from pydicom import Dataset, dcmread, uid
from pydicom.errors import InvalidDicomError

from common.data.files.foreign import explained
from common.data.records import Pixels

# What says how stored numbers are shown; the new ones are shown as they are.
_OF_VALUES = (
    *("WindowCenter", "WindowWidth", "WindowCenterWidthExplanation", "VOILUTFunction"),
    *("VOILUTSequence", "ModalityLUTSequence", "PresentationLUTShape", "PresentationLUTSequence"),
    *("RescaleSlope", "RescaleIntercept", "RescaleType", "RealWorldValueMappingSequence"),
    *("PixelPaddingValue", "PixelPaddingRangeLimit", "PixelValueTransformationSequence"),
    *("SmallestImagePixelValue", "LargestImagePixelValue", "FrameVOILUTSequence"),
    *("RedPaletteColorLookupTableDescriptor", "RedPaletteColorLookupTableData"),
    *("GreenPaletteColorLookupTableDescriptor", "GreenPaletteColorLookupTableData"),
    *("BluePaletteColorLookupTableDescriptor", "BluePaletteColorLookupTableData"),
    *("FloatPixelData", "DoubleFloatPixelData", "ExtendedOffsetTable", "PlanarConfiguration"),
    *("ExtendedOffsetTableLengths", "LossyImageCompressionRatio", "LossyImageCompressionMethod"),
)
_explained = partial(explained, package="pydicom", kind="DICOM", unknown=InvalidDicomError)


def write_derived(file: Path, like: Path, frames: Sequence[Pixels], how: str) -> None:
    """Writes frames as a DICOM file with the patient, study and geometry of another.

    It is a series of its own, the same for all files of a series, and is marked as derived.

    Args:
      file: to write.
      like: the file whose frames they were made of.
      frames: all of them, 0..255, each as large as that file's.
      how: what was done, for people, in at most 64 characters.

    Raises:
      UserError: `like` can't be read, or holds what can't be written.
    """
    with _explained(like):
        dataset = dcmread(like)
        for part in (dataset, *_by_frame(dataset)):
            for keyword in _OF_VALUES:
                if keyword in part:
                    del part[keyword]
        _set_pixels(dataset, np.stack(frames))
        dataset.ImageType = ["DERIVED", "SECONDARY"]
        dataset.SeriesDescription = dataset.DerivationDescription = how
        series = str(dataset.get("SeriesInstanceUID") or like.parent)
        dataset.SeriesInstanceUID = uid.generate_uid(entropy_srcs=[series, how])
        dataset.SOPInstanceUID = uid.generate_uid()
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        swapped = dataset.file_meta.TransferSyntaxUID == uid.ExplicitVRBigEndian
        if not swapped:  # pydicom does not change the order of bytes
            dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
        written = BytesIO()
        dataset.save_as(
            written, enforce_file_format=True, implicit_vr=False, little_endian=not swapped
        )
    file.write_bytes(written.getvalue())


def _by_frame(dataset: Dataset) -> Iterator[Dataset]:
    """Yields what an enhanced file states of all its frames and of each."""
    for keyword in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        yield from dataset.get(keyword) or ()


def _set_pixels(dataset: Dataset, frames: np.ndarray) -> None:
    colours = frames.shape[-1]
    dataset.SamplesPerPixel = colours
    dataset.PhotometricInterpretation = "RGB" if colours == 3 else "MONOCHROME2"
    if colours == 3:
        dataset.PlanarConfiguration = 0
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    pixels = frames.astype(np.uint8).tobytes()
    dataset.PixelData = pixels + b"\0" * (len(pixels) % 2)
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = False
