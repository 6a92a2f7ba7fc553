"""Reading pictures of which Pillow would drop bits, with imagecodecs and tifffile."""

import io
import logging
import math
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Num, UInt8

from common.data.files.stored import Stored, check_size, highest, several, upright
from common.program.errors import UserError

try:
    import imagecodecs
    import tifffile
except ModuleNotFoundError as error:
    raise UserError(
        "Pictures of more than 8 bits in several channels, and TIFF files of unusual kinds, are"
        " read with imagecodecs and tifffile; install them with pip install 'triptych[pictures]'"
    ) from error

logging.getLogger("tifffile").disabled = True  # errors of a file are raised

Values = Num[np.ndarray, "_height _width _channels"]

# With these tifffile never unpacks more than the header's size; the others (JPEG, JPEG XL, WebP,
# ...) contain a size of their own.
_COMPRESSIONS = {1: "none", 5: "LZW", 8: "Deflate", 32773: "PackBits", 32946: "Deflate"}
_COMPRESSIONS |= {34925: "LZMA", 50000: "Zstandard"}
_BITS = (*range(1, 17), 32, 64)  # readers disagree on the byte order of others
# By photometric interpretation: white is zero, black is zero, RGB, palette.
_COLOURS = {0: 1, 1: 1, 2: 3, 3: 1}
_MOST_UNNAMED = 3  # samples beside RGB, as many as Pillow reads
_ALPHA: dict[int, Literal["straight", "premultiplied"]] = {1: "premultiplied", 2: "straight"}


def decode_png(content: bytes) -> Values:
    """Returns the values of a PNG file; a transparent colour becomes an alpha channel."""
    return _with_channels(imagecodecs.png_decode(content))


def decode_jpeg2000(content: bytes) -> Values:
    """Returns the values of a JPEG 2000 file whose size has been checked."""
    return _with_channels(imagecodecs.jpeg2k_decode(content))


def read_tiff(path: Path, content: bytes | None = None) -> Stored:
    """Reads a TIFF file of one grey or RGB image at any depth, with its alpha.

    Samples that are neither colour nor alpha are dropped beside RGB, as TIFF 6.0 asks, and refused
    beside grey, where it is unclear which one is the image.

    Raises:
      UserError: it is a stack, too large, or stored in an unsupported way.
      Exception: it is damaged.
    """
    with tifffile.TiffFile(path if content is None else io.BytesIO(content)) as tiff:
        page = tiff.pages.first
        if len(tiff.pages) > 1:
            raise several(path, len(tiff.pages))
        check_size(page.imagewidth, page.imagelength, path)
        check_size(page.tilewidth, page.tilelength, path)
        if reason := _unread(page):
            raise UserError(f"{path} {reason}; convert it to grey or RGB, e.g. as PNG.")
        _check_parts(page, tiff.filehandle.size)
        values = page.asarray(maxworkers=1)
        values = values.astype(np.uint8) if values.dtype == bool else values  # one bit
        if page.planarconfig == 2 and page.samplesperpixel > 1:
            values = np.moveaxis(values, 0, -1)
        values = _with_channels(values)
    return _meaning(page, values)


def _check_parts(page: tifffile.TiffPage, size: int) -> None:
    """Raises ValueError if strips or tiles are missing: tifffile would fill them with 0."""
    ends = [
        start + length for start, length in zip(page.dataoffsets, page.databytecounts, strict=True)
    ]
    whole = len(ends) == math.prod(page.chunked) and all(page.databytecounts)
    if not whole or max(ends) > size:
        raise ValueError("parts of its pixels are missing")


def _meaning(page: tifffile.TiffPage, values: Values) -> Stored:
    photometric, bits = int(page.photometric), int(page.bitspersample)
    colours = _COLOURS[photometric]
    # Four samples, three of them named, are RGB and alpha, as in Pillow.
    extras = page.extrasamples or (2,) * (page.samplesperpixel == 4)
    alpha = _ALPHA.get(int(extras[0])) if extras else None
    channels = values[..., : colours + bool(alpha)]
    orientation = page.tags.valueof(274, 1)
    dark = photometric == 0
    if bits == 1 and dark and not alpha:  # white is 1 in one-bit images
        channels, dark = 1 - channels, False
    whole = values.dtype.kind == "u"
    return Stored(
        values=upright(channels, orientation),
        mode=f"{'RGB' if colours == 3 else 'grey'}{' with alpha' if alpha else ''}, {values.dtype}",
        bits=bits,
        white=highest(bits) if whole else None,
        dark=dark,
        alpha=alpha or "",
        palette=_palette(page) if photometric == 3 else None,
    )


def _palette(page: tifffile.TiffPage) -> UInt8[np.ndarray, "_colours 3"]:
    """Returns the colours, 16 bits in TIFF; if all are below 256, they are taken as 8 bits.

    So does libtiff, for programs that forget to scale 8 bits to 16: the picture would be black.
    """
    colours = page.colormap
    assert colours is not None  # checked before
    return (colours >> 8 if colours.max() > 255 else colours).astype(np.uint8).T


def _unread(page: tifffile.TiffPage) -> str:
    """Returns why a TIFF file is not supported; "" if it is."""
    colours = _COLOURS.get(int(page.photometric), 0)
    alphas = [extra for extra in page.extrasamples if int(extra) in _ALPHA]
    unnamed = page.samplesperpixel - colours - len(alphas)
    reason = ""
    if 262 not in page.tags:
        reason = "does not say whether 0 is black or white (it has no photometric interpretation)"
    elif not colours:
        reason = f"stores its colours as {getattr(page.photometric, 'name', page.photometric)}"
    elif page.compression not in _COMPRESSIONS:
        name = getattr(page.compression, "name", page.compression)
        reason = f"is compressed as {name}, which is not supported at this depth"
    elif page.dtype is None or page.dtype.kind not in "buif" or page.bitspersample not in _BITS:
        reason = f"stores numbers of an unsupported kind ({page.bitspersample} bits)"
    elif page.photometric == 3 and (
        page.colormap is None
        or page.colormap.shape != (3, 2**page.bitspersample)
        or page.dtype.kind not in "bu"
        or page.extrasamples
    ):
        reason = "has an unsupported palette"
    elif page.imagedepth != 1:
        reason = "holds a volume"
    elif (
        unnamed < 0
        or unnamed > _MOST_UNNAMED
        or (colours == 1 and unnamed)
        or (alphas and alphas[0] != page.extrasamples[0])
    ):
        reason = f"has {page.samplesperpixel} channels and does not say what they are"
    return reason


def _with_channels(values: Num[np.ndarray, "..."]) -> Values:
    return values if values.ndim == 3 else values[..., None]
