"""Decoding the compressed pixels of DICOM files: imagecodecs as a decoding plugin of pydicom.

It is the only permissively licensed decoder that reads 12-bit and lossless JPEG and survives
damaged data (GDCM aborts the process). Two precautions keep damaged data from taking time or
memory: the size is compared before decoding, and a JPEG-LS stream always gets an end.
"""

import struct
from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Integer
from pydicom import uid
from pydicom.pixels import get_decoder
from pydicom.pixels.decoders.base import DecodeRunner

from common.data.records import Once
from common.program.errors import UserError

try:
    import imagecodecs
except ModuleNotFoundError as error:
    raise UserError(
        "Compressed DICOM files are read with imagecodecs; install it with"
        " pip install 'triptych[dicom]'"
    ) from error

Samples = Integer[np.ndarray, "_rows _columns *_samples"]

_PLUGIN = "imagecodecs for triptych"  # pydicom puts this before its errors
_START_OF_J2K = b"\xff\x4f\xff\x51"  # the markers SOC and SIZ
_END_OF_IMAGE = b"\xff\xd9"
_FILL = 0xFFFF  # its first byte is a fill byte before a marker
# Start of frame: JPEG (all in this range except the tables DHT, JPG and DAC) and JPEG-LS.
_START_OF_FRAME = {*range(0xFFC0, 0xFFD0), 0xFFF7} - {0xFFC4, 0xFFC8, 0xFFCC}


def _decode_jpeg(source: bytes) -> Samples:
    _, _, samples = _jpeg_shape(source)
    # RGB to RGB means unchanged: pydicom interprets the components as the DICOM file says.
    space = "RGB" if samples == 3 else None
    return imagecodecs.jpeg8_decode(source, colorspace=space, outcolorspace=space)


def _decode_jpegls(source: bytes) -> Samples:
    # Without an end marker CharLS searches for seconds beyond the end of a truncated stream.
    return imagecodecs.jpegls_decode(source + _END_OF_IMAGE)


def _decode_jpeg2000(source: bytes) -> Samples:
    return imagecodecs.jpeg2k_decode(source)


_CODECS: Mapping[str, Callable[[bytes], Samples]] = {
    **dict.fromkeys(uid.JPEGTransferSyntaxes, _decode_jpeg),
    **dict.fromkeys(uid.JPEGLSTransferSyntaxes, _decode_jpegls),
    **dict.fromkeys((uid.JPEG2000, uid.JPEG2000Lossless), _decode_jpeg2000),
    **dict.fromkeys((uid.HTJ2K, uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL), _decode_jpeg2000),
}
DECODER_DEPENDENCIES = dict.fromkeys(_CODECS, ("imagecodecs",))  # pydicom requires both of these


def is_available(syntax: str) -> bool:
    """Returns whether this plugin decodes a transfer syntax."""
    return syntax in _CODECS


def decode_frame(source: bytes, runner: DecodeRunner) -> bytes:
    """Decodes one frame as pydicom's plugins do: components unchanged, interleaved.

    Raises:
      ValueError: the compressed image's size differs from the file's header; this is checked
        before memory is allocated.
    """
    syntax = runner.transfer_syntax
    codec = _CODECS[syntax]
    shape = (_j2k_shape if codec is _decode_jpeg2000 else _jpeg_shape)(source)
    stated = (runner.rows, runner.columns, runner.samples_per_pixel)
    if shape != stated:
        raise ValueError(f"its header says {stated}, its compressed image {shape}")
    frame = codec(source)
    runner.set_option("bits_allocated", 8 * frame.itemsize)
    runner.set_option("planar_configuration", 0)
    if runner.photometric_interpretation in ("YBR_ICT", "YBR_RCT"):
        runner.set_option("photometric_interpretation", "RGB")  # OpenJPEG has already undone these
    return frame.tobytes()


def _jpeg_shape(source: bytes) -> tuple[int, int, int]:
    """Returns rows, columns and samples that a JPEG or JPEG-LS stream states (ITU T.81, B.2.2)."""
    position = 2
    while True:
        marker, length = struct.unpack_from(">HH", source, position)
        if marker in _START_OF_FRAME:
            return struct.unpack_from(">HHB", source, position + 5)
        position += 1 if marker == _FILL else 2 + length


def _j2k_shape(source: bytes) -> tuple[int, int, int]:
    """Returns rows, columns and samples that a JPEG 2000 stream states (ITU T.800, A.5.1)."""
    start = source.index(_START_OF_J2K)
    right, bottom, left, top, samples = struct.unpack_from(">4I16xH", source, start + 8)
    return bottom - top, right - left, samples


def _add_plugin() -> None:
    for syntax in _CODECS:
        get_decoder(syntax).add_plugin(_PLUGIN, (__name__, decode_frame.__name__))


_added: Once[None] = Once(_add_plugin)  # pydicom's registry is not made for several threads


def plugin_for(syntax: str) -> str:
    """Returns the plugin for pydicom to decode a transfer syntax; "" leaves it to pydicom."""
    _added()
    return _PLUGIN if syntax in _CODECS else ""
