"""Reading a picture with Pillow: all its bits and its own numbers, or with another reader.

Pillow reads every ordinary picture, but reduces some to 8 bits. The header tells which, before the
pixels are decoded.
"""

import io
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Num
from PIL import Image, ImageFile, TiffImagePlugin, UnidentifiedImageError

from common.data.files.stored import Stored, check_size, highest, orientation_of, several, upright
from common.program.errors import UserError

# Only these are opened: Pillow would run Ghostscript on an EPS file.
FORMATS = ("BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")

_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_DEEP = ("I", "I;16", "I;16L", "I;16B", "I;16N", "F")  # Pillow's modes of more than 8 bits
_SUB_BYTE = {"L;2": 2, "L;4": 4}  # raw modes of PNG that Pillow scales to 0..255
_START_OF_J2K = b"\xff\x4f\xff\x51"  # the markers SOC and SIZ
_IMAGEJ_STACK = re.compile(r"^ImageJ=.*?^images=(\d+)$", re.MULTILINE | re.DOTALL)
_SYCC = struct.pack(">I", 18)


def load(path: Path, content: bytes | None = None) -> Image.Image | Stored:
    """Reads a picture as Pillow shows it, or its stored numbers where Pillow would change them.

    Raises:
      UserError: it is an animation or stack, too large, or stored in an unsupported way.
      Exception: it is damaged; Pillow's readers raise almost anything.
    """
    source = path if content is None else io.BytesIO(content)
    try:
        with Image.open(source, formats=FORMATS) as image:
            check_size(*image.size, path)
            frames = getattr(image, "n_frames", 1)
            # Cameras write MPO files, named .jpg: frames after the first are previews of it.
            if frames > 1 and image.format != "MPO":
                raise several(path, frames)
            read = _READERS.get(str(image.format))
            stored = read(image, path, content) if read else None
            if stored is None:
                image.load()
            return stored or image
    except UnidentifiedImageError:
        if _start_of(path, content, 4) not in _TIFF_MAGIC:
            raise
    return _whole_tiff(path, content)


def _start_of(path: Path, content: bytes | None, length: int) -> bytes:
    if content is not None:
        return content[:length]
    with path.open("rb") as stream:
        return stream.read(length)


def _all_of(path: Path, content: bytes | None) -> bytes:
    return path.read_bytes() if content is None else content


def _loaded(image: Image.Image) -> Num[np.ndarray, "_height _width _channels"]:
    """Returns the pixels that Pillow decodes, upright, in this machine's byte order."""
    image.load()
    values = upright(np.array(image), orientation_of(image))
    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    return values if values.ndim == 3 else values[..., None]


def _raw_mode(image: ImageFile.ImageFile) -> str:
    """Returns the raw mode of the pixels in the file, which Pillow drops on loading."""
    args = image.tile[0].args if image.tile else ""
    return str(args[0] if isinstance(args, tuple) and args else args)


def _png(image: ImageFile.ImageFile, path: Path, content: bytes | None) -> Stored | None:
    raw = _raw_mode(image)
    if raw == "I;16B" or raw in _SUB_BYTE:
        bits = _SUB_BYTE.get(raw, 16)
        values = _loaded(image)
        if bits < 8:
            values = values // (255 // (2**bits - 1))
        transparent = image.info.get("transparency")
        one = transparent if isinstance(transparent, int) else None
        return Stored(values, image.mode, bits, highest(bits), transparent=one)
    if not raw.endswith(";16B"):
        return None
    from common.data.files.whole_depth import decode_png

    image.load()  # raises if damaged, and reads the orientation
    values = upright(decode_png(_all_of(path, content)), orientation_of(image))
    alpha: Literal["", "straight"] = "straight" if values.shape[-1] in (2, 4) else ""
    return Stored(values, raw, 16, highest(16), alpha=alpha)


def _pnm(image: ImageFile.ImageFile, path: Path, content: bytes | None) -> Stored | None:
    """Reads numbers with a maximum other than 255, which Pillow scales to 255 or 65535."""
    if image.mode in ("1", "F"):
        return None if image.mode == "1" else Stored(_loaded(image), "F", 32, None)
    decoder, _, offset, args = image.tile[0]
    rawmode, white = args[:2] if isinstance(args, tuple) else (args, 0)
    white = int(white) or (65535 if rawmode == "I;16B" else 255)
    if white == 255:
        return None
    (width, height), channels = image.size, 3 if image.mode == "RGB" else 1
    data = _all_of(path, content)
    if decoder == "ppm_plain":
        # Read as a grey image three times as wide, colours keep 16 bits. Scaling keeps all numbers
        # distinct, so it can be undone.
        text = f"P2 {channels * width} {height} {white}\n".encode() + data[offset:]
        with Image.open(io.BytesIO(text), formats=("PPM",)) as wide:
            values = np.rint(_loaded(wide) * (white / (65535 if white > 255 else 255)))
    else:
        values = np.frombuffer(
            data, ">u2" if white > 255 else np.uint8, width * height * channels, offset
        )
    if values.max() > white:
        raise UserError(
            f"{path} holds {values.max():g}, more than its stated maximum {white}; save it again."
        )
    values = values.reshape(height, width, channels).astype(np.uint16)
    return Stored(values, image.mode, white.bit_length(), white)


def _bmp(image: ImageFile.ImageFile, path: Path, content: bytes | None) -> Stored | None:
    """Unpacks indices of 1 or 4 bits whose palette is a grey scale.

    Pillow drops such a palette and then takes the indices for bytes. If the palette is not a grey
    scale, as after changing its first colour, it unpacks them.
    """
    start = _start_of(path, content, 30)
    (header,) = struct.unpack_from("<I", start, 14)
    (bits,) = struct.unpack_from("<H", start, 24 if header == 12 else 28)
    if image.mode not in ("L", "1") or bits == (8 if image.mode == "L" else 1):
        return None
    data = bytearray(_all_of(path, content))
    data[14 + header] ^= 1
    with Image.open(io.BytesIO(data), formats=("BMP",)) as indices:
        values = _loaded(indices)
    return Stored(values, image.mode, bits, 255 if image.mode == "L" else 1)


def _jpeg2000(image: ImageFile.ImageFile, path: Path, content: bytes | None) -> Stored | None:
    """Undoes Pillow's shift to 8 or 16 bits, which drops bits of colours beyond 8."""
    data = _all_of(path, content)
    start = data.index(_START_OF_J2K)
    right, bottom, left, top, components = struct.unpack_from(">4I16xH", data, start + 8)
    depths = {data[start + 42 + 3 * index] for index in range(components)}
    signed, bits = any(depth > 127 for depth in depths), max(depth % 128 for depth in depths) + 1
    if (right - left, bottom - top) != image.size:
        raise UserError(f"{path} states two sizes; replace or remove it.")
    if depths == {7}:
        return None
    boxes = data[:start]
    special = image.mode in ("P", "PA", "CMYK") or b"pclr" in boxes
    if special or len(depths) > 1 or b"colr\1\0\0" + _SYCC in boxes:
        raise UserError(
            f"{path} stores its colours in a way that is not supported at {bits} bits (a palette,"
            " CMYK, YCC or several depths); convert it to RGB or grey."
        )
    # (Pillow takes a JP2 file of 9 bits for one of 8)
    if bits > 8 and (bits > 16 or image.mode != "I;16"):
        from common.data.files.whole_depth import decode_jpeg2000

        values = decode_jpeg2000(data)
    else:
        values = _loaded(image).astype(np.int64) >> ((8 if bits <= 8 else 16) - bits)
        values = (values - signed * 2 ** (bits - 1)).astype(np.int16 if signed else np.uint16)
    alpha: Literal["", "straight"] = "straight" if components in (2, 4) else ""
    return Stored(values, image.mode, bits, highest(bits, signed), alpha=alpha)


def _tiff(image: ImageFile.ImageFile, path: Path, content: bytes | None) -> Stored | None:
    assert isinstance(image, TiffImagePlugin.TiffImageFile)  # tells mypy of the tags
    tags, mode = image.tag_v2, image.mode
    # ImageJ writes large stacks as one page and states their number in its description.
    if stack := _IMAGEJ_STACK.search(str(tags.get(TiffImagePlugin.IMAGEDESCRIPTION, ""))):
        raise several(path, int(stack[1]))
    signed = 2 in tags.get(TiffImagePlugin.SAMPLEFORMAT, (1,))
    photometric = tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION)
    bits = max(tags.get(TiffImagePlugin.BITSPERSAMPLE, (1,)))
    deep = mode in _DEEP
    if (bits > 8 and not deep) or (bits == 8 and signed) or photometric is None or _misread(image):
        return _whole_tiff(path, content)
    if mode == "LAB" or _misread_ycbcr(image):
        colours = "LAB" if mode == "LAB" else "YCbCr"
        raise UserError(
            f"{path} stores its colours as {colours}, which is not supported; convert it to RGB."
        )
    dark = photometric == 0
    if deep:
        values = _loaded(image)
        unsigned = bits == 32 and mode == "I" and not signed
        values = values.view(np.uint32) if unsigned else values
        white = None if mode == "F" else highest(bits, signed)
        return Stored(values, mode, bits, white, dark)
    if mode == "L" and (dark or bits < 8):
        shown = _loaded(image)
        values = (255 - shown if dark else shown) // (255 // (2**bits - 1))
        return Stored(values, mode, bits, highest(bits), dark)
    return None


def _misread_ycbcr(image: TiffImagePlugin.TiffImageFile) -> bool:
    """Returns whether colours are YCbCr that Pillow does not convert to RGB, as libtiff does.

    It decodes those with a colour for each pixel, but before version 13 takes the bytes for RGB.
    """
    tags = image.tag_v2
    ycbcr = tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 6 and image.mode != "L"
    whole = tags.get(TiffImagePlugin.YCBCRSUBSAMPLING, (2, 2)) == (1, 1)
    unpacked = ycbcr and image.tile[0].codec_name == "raw"
    return unpacked and not (image.mode == "YCbCr" and whole)


def _misread(image: TiffImagePlugin.TiffImageFile) -> bool:
    """Returns whether a TIFF file is of a kind that Pillow reads wrongly or not at all."""
    tags = image.tag_v2
    extras = tags.get(TiffImagePlugin.EXTRASAMPLES, ())
    planes = tags.get(TiffImagePlugin.PLANAR_CONFIGURATION) == 2
    colours = image.mode in ("RGB", "RGBA", "CMYK", "YCbCr")
    return (
        (planes and (not colours or 1 in extras))  # Pillow takes the plane for another mode
        or (0 in extras and not colours)  # Pillow drops a channel that may be the image
        # Pillow swaps bytes that libtiff has swapped
        or (tags.prefix == b"MM" and image.mode in ("I", "F") and image.use_load_libtiff)
        or (image.mode == "P" and tags.get(TiffImagePlugin.FILLORDER) == 2)
        or max(tags.get(TiffImagePlugin.COLORMAP, (256,))) < 256  # all black
    )


def _whole_tiff(path: Path, content: bytes | None) -> Stored:
    from common.data.files.whole_depth import read_tiff

    return read_tiff(path, content)


_READERS: dict[str, Callable[[ImageFile.ImageFile, Path, bytes | None], Stored | None]] = {
    "BMP": _bmp,
    "PNG": _png,
    "PPM": _pnm,
    "JPEG2000": _jpeg2000,
    "TIFF": _tiff,
}
