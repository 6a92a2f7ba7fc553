"""What the grey values of a DICOM file mean, and which range it asks to show."""

import math

import numpy as np
from jaxtyping import Bool, Float, Num
from pydicom import Dataset
from pydicom.multival import MultiValue
from pydicom.pixels import apply_modality_lut

from common.data.files.window import Window

_ATTRIBUTES = (
    *("RescaleSlope", "RescaleIntercept"),
    *("WindowCenter", "WindowWidth", "VOILUTFunction"),
)
# Where an enhanced multi-frame file states them per frame (PS3.3, C.7.6.16.2).
_BY_FRAME = ("PixelValueTransformationSequence", "FrameVOILUTSequence")


def in_units(
    stored: Num[np.ndarray, "rows columns"], dataset: Dataset, frame: int
) -> Float[np.ndarray, "rows columns"]:
    """Applies the modality transform (PS3.3, C.11.1): a table, or slope and intercept.

    The result may hold infinity or NaN.
    """
    if dataset.get("ModalityLUTSequence"):
        return apply_modality_lut(stored, dataset).astype(np.float64)
    slope, intercept = _rescale(_stated(dataset, frame))
    with np.errstate(over="ignore", invalid="ignore"):
        return stored.astype(np.float64) * slope + intercept


def padding_of(
    stored: Num[np.ndarray, "rows columns"], dataset: Dataset
) -> Bool[np.ndarray, "rows columns"] | None:
    """Returns which pixels are padding; None if the file states no padding value.

    They hold PixelPaddingValue, or values between it and PixelPaddingRangeLimit, as stored
    (PS3.3, C.7.5.1.1.2); floats have attributes of their own.
    """
    kind = {"float32": "Float", "float64": "DoubleFloat"}.get(stored.dtype.name, "")
    value = _padding(dataset, f"{kind}PixelPaddingValue", stored.dtype)
    if value is None:
        return None
    if math.isnan(value):
        missing: np.ndarray = np.isnan(stored)
        return missing
    limit = _padding(dataset, f"{kind}PixelPaddingRangeLimit", stored.dtype)
    low, high = sorted((value, value if limit is None or math.isnan(limit) else limit))
    return (stored >= low) & (stored <= high)


def _padding(dataset: Dataset, keyword: str, dtype: np.dtype) -> int | float | None:
    """Returns a stored value. A file may give the bits of a negative one as unsigned."""
    value = dataset.get(keyword)
    if not isinstance(value, int | float):
        return None
    if dtype.kind == "i":
        return (int(value) + 2**15) % 2**16 - 2**15
    return int(value) % 2**16 if dtype.kind == "u" else value


def full_range(dataset: Dataset, frame: int) -> Window:
    """Returns the range of values that the stored bits can represent, in the file's units."""
    if dataset.get("ModalityLUTSequence"):
        return 0.0, 2.0 ** dataset.ModalityLUTSequence[0].LUTDescriptor[2] - 1
    slope, intercept = _rescale(_stated(dataset, frame))
    lowest = -(2.0 ** (dataset.BitsStored - 1)) if dataset.PixelRepresentation else 0.0
    ends = lowest, lowest + 2.0**dataset.BitsStored - 1
    low, high = sorted(end * slope + intercept for end in ends)
    return low, high


def stated_window(dataset: Dataset, frame: int) -> Window | None:
    """Returns the first window that the file states; None if there is none or it is empty."""
    stated = _stated(dataset, frame)
    centre, width = _number(stated, "WindowCenter"), _number(stated, "WindowWidth")
    exact = stated.get("VOILUTFunction") in ("LINEAR_EXACT", "SIGMOID")
    low = centre - width / 2
    # Fraction maps have widths up to 1, where the formula for whole numbers does not apply.
    high = low + (width if exact or width <= 1 else width - 1)
    return (low, high) if math.isfinite(high - low) and low < high else None


def _stated(dataset: Dataset, frame: int) -> Dataset:
    """Returns the attributes of a frame: its own, else the shared ones, else the file's."""
    shared = (dataset.get("SharedFunctionalGroupsSequence") or [])[:1]
    own = (dataset.get("PerFrameFunctionalGroupsSequence") or [])[frame : frame + 1]
    groups = [
        item for group in (*shared, *own) for name in _BY_FRAME for item in group.get(name) or []
    ]
    stated = Dataset()
    for owner in (dataset, *groups):
        for keyword in _ATTRIBUTES:
            if keyword in owner:
                stated[keyword] = owner[keyword]
    return stated


def _rescale(stated: Dataset) -> tuple[float, float]:
    """Returns slope and intercept; a slope of 0, which would erase the image, counts as 1."""
    slope, intercept = _number(stated, "RescaleSlope"), _number(stated, "RescaleIntercept")
    return (
        slope if math.isfinite(slope) and slope else 1.0,
        intercept if math.isfinite(intercept) else 0.0,
    )


def _number(stated: Dataset, keyword: str) -> float:
    """Returns the first value of an attribute, NaN if it has none."""
    value = stated.get(keyword)
    if isinstance(value, MultiValue):
        value = value[0] if value else None
    return math.nan if value in (None, "") else float(value)
