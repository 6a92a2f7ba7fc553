"""Reading DICOM files with pydicom: frames as grey or RGB pixels, masks, and groups."""

import math
import zlib
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Num

from common.data.files.foreign import explained, printable
from common.data.files.grids import Grid
from common.data.files.image import FileImage, Reading, Values
from common.data.files.recent import Recent
from common.data.files.stored import MAX_PIXELS
from common.data.files.whole_numbers import whole_numbers
from common.data.files.window import Window, to_bytes
from common.data.records import Decoded
from common.program.errors import GroupError, UserError

try:
    from pydicom import Dataset, dcmread, uid
    from pydicom.datadict import tag_for_keyword
    from pydicom.errors import InvalidDicomError
    from pydicom.filereader import read_file_meta_info
    from pydicom.pixels import apply_color_lut, get_decoder

    from common.data.files.dicom_display import full_range, in_units, padding_of, stated_window
    from common.data.files.dicom_grid import GRID_TAGS, grid_of
except ModuleNotFoundError as error:
    raise UserError(
        "DICOM files are read with pydicom; install it with pip install 'triptych[dicom]'"
    ) from error

MAX_FRAMES = 2**16  # of one file
MAX_INFLATED = 2**28  # bytes of a deflated file, which may grow a thousandfold

_KEPT_FILES = 2  # kept as on disk, not decoded
_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_explained = partial(explained, package="pydicom", kind="DICOM", unknown=InvalidDicomError)

Stored = Num[np.ndarray, "_rows _columns *_samples"]


def frames_of(path: Path, reading: Reading) -> list[FileImage]:
    """Returns the frames of a DICOM file; reads only its header.

    A single frame has the suffix "", several have "#000", "#001" and so on. A file with a damaged
    header counts as one image: reading it raises, and `config.data.on_bad_image` may skip it.

    Raises:
      GroupError: `reading.group_tag` is not a DICOM attribute.
    """
    if not reading.group_tag or tag_for_keyword(reading.group_tag) is None:
        raise GroupError(
            f"config.data.group names '{reading.group_tag}', which is not a DICOM attribute; write"
            " its keyword, as in --config.data.group=dicom:StudyInstanceUID"
        )
    try:
        frames, group = _summary(path, reading.group_tag)
    except UserError:
        frames, group = 1, ""
    width = max(3, len(str(frames - 1)))  # names sort in the order of the frames
    return [
        FileImage(
            suffix="" if frames == 1 else f"#{frame:0{width}}",
            read=partial(read_frame, path, frame, reading.window),
            read_values=partial(read_frame_values, path, frame),
            read_group=partial(str, group),
            read_grid=partial(_read_grid, path, frame),
        )
        for frame in range(frames)
    ]


def read_frame(path: Path, frame: int = 0, window: Window | None = None) -> Decoded:
    """Reads a frame as 1 channel (grey) or 3 (RGB, also of YBR and palettes).

    Grey values are rescaled by the file's modality transform (PS3.3, C.11.1) and then mapped
    linearly: `window` to 0..255, else the file's first window, else the range of its stored bits.
    A centre c and a width w mean c - w/2 to c + w/2 - 1 (PS3.3, C.11.2.1.2.1), or to c + w/2 if the
    file says LINEAR_EXACT; its VOI tables and sigmoids are not applied, since generated images
    could not be mapped back. MONOCHROME1 is inverted: its window starts with the high end. Grey
    pixels that the file declares padding (PS3.3, C.7.5.1.1.2) are black and have no value.
    Colours are mapped from all their bits, whatever the window.

    Args:
      path: a DICOM file (PS3.10), with any ending.
      frame: counted from 0.
      window: (low, high) in the file's own units, after the rescale.

    Raises:
      UserError: the file is missing, damaged, without pixels, too large, compressed in a way that
        is not supported, or of more than 16 bits with no window in it or in `window`.
    """
    with _explained(path):
        dataset = _opened(path)
        stored = _stored(dataset, frame, path)
        mode, bits = str(dataset.PhotometricInterpretation), _bits(stored, dataset)
        if mode == "PALETTE COLOR":
            stored = _looked_up(stored, dataset, path)
            bits = 8 * stored.itemsize
        if stored.ndim == 3:
            return _colour(stored, mode, bits)
        return _grey(stored, dataset, frame, window, path)


def read_frame_values(path: Path, frame: int = 0) -> Values:
    """Reads a frame as a mask: the stored numbers, neither rescaled nor windowed.

    Floats that are whole to a millionth are rounded; padding is a value like any other.

    Raises:
      UserError: as `read_frame` does, or the frame holds fractions or colours.
    """
    with _explained(path):
        stored = _stored(_opened(path), frame, path)
        if stored.dtype.kind == "f":
            return whole_numbers(stored, path)
        if stored.ndim == 3:
            if (stored != stored[..., :1]).any():
                raise UserError(f"{path} is a colour mask; save it with one number per class.")
            stored = stored[..., 0]
        return stored.astype(np.int64)


def _summary(path: Path, group_tag: str) -> tuple[int, str]:
    """Returns the number of frames and their group, from the header."""
    with _explained(path):
        _check_inflated(path)
        wanted = ["NumberOfFrames", group_tag]
        header = dcmread(path, stop_before_pixels=True, specific_tags=wanted)
        return _num_frames(header, path), str(header.get(group_tag) or "").strip()


def _open_header(path: Path) -> Dataset:
    _check_inflated(path)
    return dcmread(path, stop_before_pixels=True, specific_tags=list(GRID_TAGS))


_header = Recent(_open_header, _KEPT_FILES)


def _read_grid(path: Path, frame: int) -> Grid | None:
    """Returns a frame's grid; None also if the header can't be read, which reading reports."""
    try:
        with _explained(path):
            return grid_of(_header(path), frame)
    except UserError:
        return None


def _num_frames(header: Dataset, path: Path) -> int:
    frames = int(header.get("NumberOfFrames") or 1)
    if not 1 <= frames <= MAX_FRAMES:
        raise UserError(
            f"{path} states {frames:,} frames; a file may have 1 to {MAX_FRAMES:,}; split it."
        )
    return frames


def _open(path: Path) -> Dataset:
    """Reads a file into memory and checks it before any pixel is decoded."""
    _check_inflated(path)
    dataset = dcmread(path)
    if not any(keyword in dataset for keyword in _PIXELS):
        kind = dataset.get("SOPClassUID") or dataset.file_meta.get("MediaStorageSOPClassUID")
        what = f" (it is a {printable(kind.name)})" if kind else ""
        raise UserError(
            f"{path} holds no pixels{what}; remove it, or export it again if it was truncated."
        )
    if "TransferSyntaxUID" not in dataset.file_meta:
        raise UserError(
            f"{path} does not say how its pixels are encoded (it has no transfer syntax); export it"
            " again."
        )
    _num_frames(dataset, path)
    pixels = int(dataset.Rows) * int(dataset.Columns)
    if not 0 < pixels <= MAX_PIXELS:
        raise UserError(
            f"{path} states {dataset.Columns:,} x {dataset.Rows:,} pixels; an image may"
            f" have 1 to {MAX_PIXELS:,}; cut it into parts or shrink it."
        )
    return dataset


_opened = Recent(_open, _KEPT_FILES)


def _check_inflated(path: Path) -> None:
    """Refuses a small file that would inflate to gigabytes."""
    meta = read_file_meta_info(path)
    if meta.get("TransferSyntaxUID") != uid.DeflatedExplicitVRLittleEndian:
        return
    behind_meta = 144 + meta.FileMetaInformationGroupLength  # preamble, marker, group length
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    inflater.decompress(path.read_bytes()[behind_meta:], MAX_INFLATED)
    if inflater.unconsumed_tail:
        raise UserError(
            f"{path} unpacks to more than {MAX_INFLATED:,} bytes; save it in another transfer"
            " syntax."
        )


def _stored(dataset: Dataset, frame: int, path: Path) -> Stored:
    """Decodes a frame: the stored integers (or floats), colours as RGB."""
    syntax = dataset.file_meta.TransferSyntaxUID
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError as error:
        raise UserError(
            f"{path} is compressed as {printable(syntax.name)}, which is not supported; convert"
            " it, e.g. with gdcmconv --raw."
        ) from error
    plugin = ""
    if syntax.is_encapsulated:
        from common.data.files.dicom_codecs import plugin_for

        plugin = plugin_for(syntax)
    stored, properties = decoder.as_array(dataset, index=frame, decoding_plugin=plugin)
    space = properties["photometric_interpretation"]
    if stored.ndim == 3 and space != "RGB":
        raise UserError(
            f"{path} has colours in {space}, which is not supported; convert it to RGB."
        )
    return stored


def _bits(stored: Stored, dataset: Dataset) -> int:
    return 8 * stored.itemsize if stored.dtype.kind == "f" else int(dataset.BitsStored)


def _looked_up(stored: Stored, dataset: Dataset, path: Path) -> Stored:
    """Returns the colours of indices into the file's palette."""
    colours = apply_color_lut(stored, dataset)[..., :3]
    if stored.max() > np.iinfo(colours.dtype).max:  # pydicom lets such indices overflow
        raise UserError(f"{path} has an unsupported palette; convert it to RGB.")
    return colours


def _grey(
    stored: Stored, dataset: Dataset, frame: int, window: Window | None, path: Path
) -> Decoded:
    mode, bits = str(dataset.PhotometricInterpretation), _bits(stored, dataset)
    values, padding = in_units(stored, dataset, frame), padding_of(stored, dataset)
    kept = values if padding is None else values[~padding]
    low, high = (float(kept.min()), float(kept.max())) if kept.size else (0.0, 0.0)
    if not math.isfinite(high - low):
        raise UserError(f"{path} holds values that are not numbers; replace or remove it.")
    shown = window or stated_window(dataset, frame)
    if shown is None and bits > 16:
        raise UserError(
            f"{path} holds values of {bits} bits, from {low:g} to {high:g}, and no window; set"
            f" the range shown from black to white, e.g. --config.data.window={low:g},{high:g}"
        )
    shown = shown or full_range(dataset, frame)
    if padding is not None:
        values[padding] = shown[0]  # padding may be NaN
    pixels = to_bytes(values[..., None], shown)
    if mode == "MONOCHROME1":
        pixels, shown = 255 - pixels, shown[::-1]
    if padding is not None:
        pixels[padding] = 0
    found = (low, high) if kept.size else (min(shown), min(shown))
    return Decoded(pixels, mode, max(bits, 8), shown, found)


def _colour(stored: Stored, mode: str, bits: int) -> Decoded:
    top = 2**bits - 1
    pixels = np.rint(stored.clip(0, top) * (255 / top)).astype(np.uint8)
    shown, found = (0.0, float(top)), (float(stored.min()), float(stored.max()))
    return Decoded(pixels, mode, max(bits, 8), shown, found)
