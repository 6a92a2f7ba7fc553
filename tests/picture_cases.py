"""Small pictures drawn at random: what is in the file, and second readers that say so, too."""

import io
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import imagecodecs
import numpy as np
import pydicom
import SimpleITK
import tifffile
from pydicom import uid
from pydicom.encaps import encapsulate

from common.data.window import to_bytes
from tests.dicom_files import dataset
from tests.picture_files import bmp, gif, png, pnm, tiff

Numbers = np.ndarray  # (height, width, channels)
Window = tuple[float, float]
Reader = Callable[[Path], np.ndarray | None]
Rng = np.random.Generator


@dataclass(frozen=True)
class Case:
    """A file and what is in it.

    Attributes:
      kind: what sort of file it is, in words.
      name: of the file.
      content: of it.
      stored: its numbers as they were written, which `orientation` has to turn; alpha comes last.
      white: shown as white without a window; None where a window has to be given.
      shallow: 8 bits or fewer: a window changes nothing.
      alpha: 0, or the number that is opaque.
      values: what it is as a mask, where that is not its first channel.
      seconds: other readers, of the same numbers, not turned.
      index: of the slice in a volume.
      tolerance: how far the pixels may be off, where colours that were multiplied by their alpha
        are divided by it and multiplied again.
      fractions: some numbers are no whole ones.
    """

    kind: str
    name: str
    content: bytes
    stored: Numbers
    white: float | None = None
    shallow: bool = False
    dark: bool = False
    alpha: float = 0
    premultiplied: bool = False
    transparent: tuple[int, ...] = ()
    values: Numbers | None = None
    orientation: int = 1
    seconds: Mapping[str, Reader] = field(default_factory=dict)
    index: int = 0
    tolerance: int = 0
    fractions: bool = False

    def pixels(self, numbers: Numbers, window: Window | None) -> np.ndarray:
        """What is to be seen of these numbers."""
        numbers = turned(numbers, self.orientation)
        colours = (numbers[..., :-1] if self.alpha else numbers).astype(np.float64)
        opacity = numbers[..., -1:].astype(np.float64) / (self.alpha or 1)
        if self.premultiplied:
            colours = np.divide(colours, opacity, out=np.zeros_like(colours), where=opacity > 0)
        whole = self.shallow or window is None
        shown = (0.0, float(self.white)) if whole else window
        pixels = to_bytes(colours, shown)
        pixels = 255 - pixels if self.dark else pixels
        if self.alpha:
            pixels = np.rint(pixels * opacity).astype(np.uint8)
        if self.transparent:
            pixels[(colours == self.transparent).all(axis=-1)] = 0
        return pixels

    def mask(self, numbers: Numbers) -> np.ndarray | None:
        """What these numbers are as a mask; None where they are colours."""
        if self.values is not None:
            return turned(self.values, self.orientation)[..., 0]
        if self.fractions:
            return None
        colours = turned(numbers[..., :-1] if self.alpha else numbers, self.orientation)
        return colours[..., 0] if (colours == colours[..., :1]).all() else None


def turned(numbers: Numbers, orientation: int) -> Numbers:
    """The picture that a camera means (CIPA DC-008, 4.6.4): where row 0 and column 0 are."""
    flips = {2: (1, -1), 3: (-1, -1), 4: (-1, 1), 6: (-1, 1), 7: (-1, -1), 8: (1, -1)}
    down, right = flips.get(orientation, (1, 1))
    numbers = numbers[::down, ::right]
    return numbers.swapaxes(0, 1) if orientation > 4 else numbers


def draw(rng: Rng, form: str) -> Case:
    """One picture of a format."""
    return _DRAWN[form](rng)


def _integers(rng: Rng, bits: int, channels: int, signed: bool = False) -> Numbers:
    """Numbers of all sizes, those at the ends among them; every fourth time the channels agree."""
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1)) if signed else (0, 2**bits)
    if rng.random() < 0.4:
        low, high = max(low, -3), min(high, 7)  # a mask's
    shape = (int(rng.integers(1, 12)), int(rng.integers(1, 12)), channels)
    dtype = np.dtype(f"{'i' if signed else 'u'}{1 if bits <= 8 else 2 if bits <= 16 else 4}")
    numbers = rng.integers(low, high, shape, endpoint=False, dtype=np.int64).astype(dtype)
    numbers[0, 0], numbers[-1, -1] = low, high - 1
    if channels > 2 and rng.random() < 0.25:
        numbers[..., :3] = numbers[..., :1]
    return numbers


def _opencv(path: Path) -> np.ndarray | None:
    image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None or image.ndim == 2:
        return image
    return image[..., [2, 1, 0, 3][: image.shape[-1]]]


def _codec(name: str) -> Reader:
    decode = getattr(imagecodecs, f"{name}_decode")
    return lambda path: decode(path.read_bytes())


def _scaled(read: Reader, factor: float) -> Reader:
    def scaled(path: Path) -> np.ndarray | None:
        image = read(path)
        return None if image is None else image / factor

    return scaled


def _png(rng: Rng) -> Case:
    kind = int(rng.choice([0, 2, 3, 4, 6]))
    bits = int(rng.choice({0: [1, 2, 4, 8, 16], 3: [1, 2, 4, 8]}.get(kind, [8, 16])))
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[kind]
    numbers = _integers(rng, bits, channels)
    white = 255 if kind == 3 else 2**bits - 1
    written: dict[str, Any] = {"interlaced": bool(rng.random() < 0.3)}
    written["orientation"] = orientation = int(rng.integers(1, 9)) if rng.random() < 0.3 else 1
    written["gamma"] = int(rng.choice([0, 45455, 100000]))
    meant: dict[str, Any] = {"orientation": orientation}
    stored, transparent = numbers, ()
    if kind == 3:
        written["palette"] = palette = rng.integers(0, 256, (2**bits, 3)).astype(np.uint8)
        stored, meant["values"] = palette[numbers[..., 0]], numbers
        if rng.random() < 0.3:
            alphas = rng.integers(0, 256, 2**bits).astype(np.uint8)
            written["transparent"] = alphas.tolist()
            stored = np.dstack([stored, alphas[numbers]])
            meant["alpha"] = 255
    elif kind in (0, 2) and rng.random() < 0.3:
        transparent = tuple(int(value) for value in numbers[-1, 0])
        written["transparent"] = transparent
    if kind in (4, 6):
        meant["alpha"] = white
    channels = stored.shape[-1]
    scale = 255 / white if bits < 8 else 1

    def opencv(path: Path) -> np.ndarray | None:
        image = _opencv(path)
        if image is None or image.ndim == 2:
            return image
        return image[..., [0, 3]] if kind == 4 else image[..., :channels]

    return Case(
        kind=f"PNG, colour type {kind}, {bits} bits",
        name="a.png",
        content=png(numbers, bits, kind, **written),
        stored=stored,
        white=white,
        shallow=bits <= 8,
        transparent=transparent,
        seconds={"OpenCV": _scaled(opencv, scale)},
        **meant,
    )


def _tiff(rng: Rng) -> Case:
    bits, kind = 8, 1
    photometric = int(rng.choice([0, 1, 2, 3]))
    if photometric < 3:
        kind = int(rng.choice([1, 1, 2, 3]))
        bits = int(rng.choice([[*range(1, 17), 32], [8, 16, 32], [16, 32, 64]][kind - 1]))
    elif photometric == 3:
        bits = int(rng.choice([1, 2, 4, 8]))
    colours = 3 if photometric == 2 else 1
    extras = [int(rng.choice([0, 1, 2]))] if photometric < 3 and rng.random() < 0.3 else []
    channels = colours + len(extras)
    if kind == 3:
        numbers = _integers(rng, 8, channels).astype(f"f{bits // 8}")
        if rng.random() < 0.6 or extras:
            numbers = (numbers / 255).astype(numbers.dtype)
    else:
        numbers = _integers(rng, bits, channels, signed=kind == 2)
    whole = kind == 1
    if extras == [1] and whole:  # a colour is never more than its alpha
        numbers[..., :-1] = numbers[..., :-1] * (numbers[..., -1:] / (2.0**bits - 1))
    written: dict[str, Any] = {
        "order": str(rng.choice(["<", ">"])),
        "planar": int(rng.choice([1, 1, 2])),
        "compression": int(rng.choice([1, 8])),
        "orientation": int(rng.integers(1, 9)) if rng.random() < 0.3 else 1,
        **({"tile": 16} if rng.random() < 0.2 else {"rows": int(rng.choice([0, 1, 3]))}),
    }
    if written["compression"] == 8 and whole and bits in (8, 16, 32) and rng.random() < 0.5:
        written["predictor"] = 2
    elif written["compression"] == 1 and whole and rng.random() < 0.2:
        written["fill_order"] = 2
    meant: dict[str, Any] = {"orientation": written["orientation"]}
    stored = numbers
    if photometric == 3:
        palette = rng.integers(0, 256, (2**bits, 3)) * 257
        written["palette"] = palette
        stored, meant["values"] = palette[numbers[..., 0]] // 257, numbers
    if bits == 1 and photometric in (0, 1) and not extras:
        meant["values"] = 1 - numbers if photometric == 0 else numbers
    alpha = (2**bits - 1 if whole else 1) if extras and extras[0] else 0
    if extras == [0] and photometric == 2:
        stored = numbers[..., :3]
    content = tiff(numbers, bits, kind, photometric, extras, **written)
    if rng.random() < 0.3 and bits in (8, 16, 32, 64) and photometric in (0, 1) and not extras:
        content = _packed_tiff(rng, numbers, photometric)
        meant["orientation"], written["planar"] = 1, 1

    def as_stored(image: np.ndarray | None) -> np.ndarray | None:
        if image is None:
            return None
        if written["planar"] == 2 and image.ndim == 3:
            image = np.moveaxis(image, 0, -1)
        image = image.reshape(*image.shape[:2], -1)
        return (
            palette[image[..., 0].astype(int)] // 257
            if photometric == 3
            else image[..., : stored.shape[-1]]
        )

    def by_tifffile(path: Path) -> np.ndarray | None:
        with tifffile.TiffFile(path) as file:
            return as_stored(file.pages.first.asarray())

    return Case(
        kind=f"TIFF, photometric {photometric}, {bits} bits of kind {kind}, extras {extras}",
        name="a.tif",
        content=content,
        stored=stored,
        white=255 if photometric == 3 else 2**bits - 1 if whole and bits <= 16 else None,
        shallow=whole and bits <= 8,
        dark=photometric == 0,
        alpha=alpha,
        premultiplied=extras == [1],
        seconds={
            "tifffile": by_tifffile,
            "libtiff": lambda path: as_stored(imagecodecs.tiff_decode(path.read_bytes())),
        },
        tolerance=int(extras == [1]),
        **meant,
    )


def _packed_tiff(rng: Rng, numbers: Numbers, photometric: int) -> bytes:
    """A TIFF file of the compressions that take an encoder, and of more than 4 GB, as it were."""
    compression = str(rng.choice(["lzw", "packbits", "zstd", "lzma", "zlib"]))
    predictor = compression != "packbits" and bool(rng.random() < 0.5)
    stream = io.BytesIO()
    tifffile.imwrite(
        stream,
        numbers[..., 0],
        photometric=("miniswhite", "minisblack")[photometric],
        compression=compression,
        predictor=predictor and numbers.dtype != np.float16,
        byteorder=str(rng.choice(["<", ">"])),
        bigtiff=bool(rng.random() < 0.3),
        tile=(16, 16) if rng.random() < 0.3 else None,
        metadata=None,
    )
    return stream.getvalue()


def _pnm(rng: Rng) -> Case:
    kind = int(rng.integers(1, 7))
    if kind in (1, 4):
        numbers = _integers(rng, 1, 1)
        return Case(
            kind=f"PNM {kind}",
            name="a.pbm",
            content=pnm(numbers, kind),
            stored=numbers,
            white=1,
            shallow=True,
            dark=True,
            values=1 - numbers,
            seconds={"OpenCV": lambda path: 1 - _opencv(path) // 255},  # 1 is black
        )
    maximum = int(rng.choice([1, 3, 7, 100, 255, 256, 1000, 4095, 65535]))
    numbers = _integers(rng, 16, 3 if kind in (3, 6) else 1).astype(int) % (maximum + 1)
    return Case(
        kind=f"PNM {kind}, up to {maximum}",
        name=f"a.p{'p' if kind in (3, 6) else 'g'}m",
        content=pnm(numbers, kind, maximum),
        stored=numbers,
        white=maximum,
        shallow=maximum < 256,
        seconds={"OpenCV": _opencv},
    )


def _bmp(rng: Rng) -> Case:
    bits = int(rng.choice([1, 4, 8, 16, 24, 32]))
    top_down, meant = bool(rng.random() < 0.3), {}
    if bits <= 8:
        indices = _integers(rng, bits, 1)
        grey = np.repeat(np.arange(2**bits)[:, None] * (255 if bits == 1 else 1), 3, axis=1)
        palette = grey if rng.random() < 0.4 else rng.integers(0, 256, (2**bits, 3))
        content = bmp(indices[..., 0], bits, palette, top_down=top_down)
        stored, meant = palette.astype(np.uint8)[indices[..., 0]], {"values": indices}
        if palette is grey:
            stored = stored[..., :1]
    elif bits == 24:
        stored = _integers(rng, 8, 3)
        content = bmp(stored[..., ::-1], 24, top_down=top_down)
    else:
        fives = rng.random() < 0.5
        depths = [8, 8, 8] if bits == 32 else [5, 5, 5] if fives else [5, 6, 5]
        parts = [_integers(rng, 5, 3)[..., :1] for _ in range(1)]
        shape = parts[0].shape
        parts = [rng.integers(0, 2**depth, shape[:2]) for depth in depths]
        pixels = (parts[0] << (depths[1] + depths[2])) | (parts[1] << depths[2]) | parts[2]
        plain = bits == 32 or depths[1] == 5
        masks = () if plain else (0xF800, 0x7E0, 0x1F, 0)
        content = bmp(pixels.astype(np.uint32), bits, masks=masks, top_down=top_down)
        scaled = [part * 255 // (2**depth - 1) for part, depth in zip(parts, depths, strict=True)]
        stored = np.stack(scaled, axis=-1)
    return Case(
        kind=f"BMP, {bits} bits",
        name="a.bmp",
        content=content,
        stored=stored,
        white=255,
        shallow=True,
        seconds={
            "imagecodecs": lambda path: _channels(_codec("bmp")(path), stored.shape[-1]),
            "OpenCV": lambda path: _channels(_opencv(path), stored.shape[-1]),
        },
        **meant,
    )


def _channels(image: np.ndarray | None, number: int) -> np.ndarray | None:
    if image is None:
        return None
    return image.reshape(*image.shape[:2], -1)[..., :number]


def _gif(rng: Rng) -> Case:
    bits = int(rng.integers(1, 9))
    indices = _integers(rng, bits, 1)[..., 0]
    palette = rng.integers(0, 256, (2**bits, 3)).astype(np.uint8)
    transparent = int(indices[-1, 0]) if rng.random() < 0.3 else -1
    stored = palette[indices]
    if transparent >= 0:
        stored = np.dstack([stored, np.where(indices == transparent, 0, 255)])

    def opaque(read: Reader) -> Reader:
        """What is transparent, a second reader may show in any colour."""

        def joined(path: Path) -> np.ndarray | None:
            image = read(path)
            if image is None or transparent < 0:
                return _channels(image, 3)
            return np.dstack([image[..., :3], stored[..., 3]])

        return joined

    return Case(
        kind=f"GIF, {bits} bits",
        name="a.gif",
        content=gif(indices, palette, transparent, bool(rng.random() < 0.4)),
        stored=stored,
        white=255,
        shallow=True,
        alpha=255 if transparent >= 0 else 0,
        values=indices[..., None],
        seconds={"imagecodecs": opaque(_codec("gif")), "OpenCV": opaque(_opencv)},
    )


def _webp(rng: Rng) -> Case:
    channels = int(rng.choice([3, 4]))
    numbers = _integers(rng, 8, channels)
    lossless = bool(rng.random() < 0.7)
    content = imagecodecs.webp_encode(numbers, level=90, lossless=lossless)
    decoded = imagecodecs.webp_decode(content)
    return Case(
        kind="WebP" if lossless else "WebP, lossy",
        name="a.webp",
        content=content,
        stored=decoded,
        white=255,
        shallow=True,
        alpha=255 if decoded.shape[-1] == 4 else 0,
        seconds={"imagecodecs": _codec("webp"), "OpenCV": _opencv},
    )


def _jpeg2000(rng: Rng) -> Case:
    bits, channels = int(rng.integers(1, 17)), int(rng.integers(1, 5))
    signed = bits in (8, 16) and bool(rng.random() < 0.4)
    numbers = _integers(rng, bits, channels, signed)
    form = str(rng.choice(["jp2", "j2k"]))
    written = numbers[..., 0] if channels == 1 else numbers
    content = imagecodecs.jpeg2k_encode(
        written, level=0, bitspersample=bits, codecformat=form, reversible=True
    )
    return Case(
        kind=f"JPEG 2000, {bits} bits{' signed' if signed else ''}, {channels} channels",
        name="a.jp2",
        content=content,
        stored=numbers,
        white=None if signed else 2**bits - 1,
        shallow=bits <= 8 and not signed,
        alpha=0 if channels in (1, 3) else 2**bits - 1,
        seconds={"OpenCV": _opencv, "imagecodecs": _codec("jpeg2k")},
    )


def _dicom(rng: Rng) -> Case:
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
    numbers = _integers(rng, bits, 3 if colour else 1, signed)
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
        image = _itk(path)
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


def _itk(path: Path) -> np.ndarray | None:
    try:
        image = SimpleITK.ReadImage(str(path))
    except RuntimeError:
        return None
    pixels = SimpleITK.GetArrayFromImage(image)
    return pixels[0] if image.GetDimension() == 3 else pixels


_NIFTI_TYPES = {"u1": 2, "i2": 4, "i4": 8, "f4": 16, "f8": 64, "i1": 256, "u2": 512, "u4": 768}


def _nifti(rng: Rng) -> Case:
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


_DRAWN: dict[str, Callable[[Rng], Case]] = {
    "PNG": _png,
    "TIFF": _tiff,
    "PNM": _pnm,
    "BMP": _bmp,
    "GIF": _gif,
    "WebP": _webp,
    "JPEG 2000": _jpeg2000,
    "DICOM": _dicom,
    "NIfTI": _nifti,
}
FORMATS = tuple(_DRAWN)
