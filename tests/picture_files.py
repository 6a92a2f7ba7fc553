"""Picture files written byte by byte, of every kind that a format allows, by no library."""

import struct
import zlib
from collections.abc import Sequence

import numpy as np

ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2))
ADAM7 += ((1, 0, 2, 1),)  # first row, first column, step down, step right


def exif(orientation: int) -> bytes:
    """EXIF metadata that hold an orientation and nothing else."""
    return b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 0x112, 3, 1, orientation, 0, 0)


def png(
    values: np.ndarray,
    bits: int = 8,
    kind: int = 0,
    palette: np.ndarray | None = None,
    transparent: Sequence[int] = (),
    orientation: int = 1,
    interlaced: bool = False,
    gamma: int = 0,
) -> bytes:
    """A PNG file of (height, width, channels).

    Args:
      kind: the colour type: 0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGB and alpha.
      palette: (colours, 3) of bytes.
      transparent: of a palette the alphas, else the one colour that is.
    """

    def chunk(name: bytes, data: bytes) -> bytes:
        checksum = zlib.crc32(name + data)
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", checksum)

    height, width = values.shape[:2]
    head = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, interlaced)
    passes = [values[top::down, left::right] for top, left, down, right in ADAM7]
    rows = b"".join(
        b"\0" + pack(row, bits, ">")
        for image in (passes if interlaced else [values])
        if image.size
        for row in image
    )
    parts = [chunk(b"IHDR", head)]
    if gamma:
        parts.append(chunk(b"gAMA", struct.pack(">I", gamma)))
    if palette is not None:
        parts.append(chunk(b"PLTE", palette.astype(np.uint8).tobytes()))
    if len(transparent):
        form = "B" if kind == 3 else "H"
        parts.append(chunk(b"tRNS", struct.pack(f">{len(transparent)}{form}", *transparent)))
    if orientation != 1:
        parts.append(chunk(b"eXIf", exif(orientation)))
    parts += [chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def tiff(
    values: np.ndarray,
    bits: int = 8,
    kind: int = 1,
    photometric: int | None = 1,
    extras: Sequence[int] = (),
    order: str = "<",
    planar: int = 1,
    compression: int = 1,
    predictor: int = 1,
    rows: int = 0,
    tile: int = 0,
    orientation: int = 1,
    fill_order: int = 1,
    palette: np.ndarray | None = None,
    subsampling: tuple[int, int] | None = None,
) -> bytes:
    """A TIFF file of (height, width, samples), in strips of `rows` or in square tiles.

    Args:
      kind: the sample format: 1 unsigned, 2 signed, 3 float.
      photometric: 0 white is zero, 1 black is zero, 2 RGB, 3 palette, 5 CMYK, 6 YCbCr, 8 Lab.
      extras: what the samples behind the colours are: 0 nothing said, 1 premultiplied, 2 alpha.
      order: "<" or ">".
      compression: 1 none, 8 Deflate.
      palette: (colours, 3) of 0..65535.
    """
    height, width, samples = values.shape
    planes = [values] if planar == 1 else [values[..., i : i + 1] for i in range(samples)]
    down, right = (tile, tile) if tile else (rows or height, width)
    blocks = []
    for plane in planes:
        for top in range(0, height, down):
            for left in range(0, width, right):
                block = plane[top : top + down, left : left + right]
                if tile:
                    missing = [(0, down - block.shape[0]), (0, right - block.shape[1]), (0, 0)]
                    block = np.pad(block, missing, mode="edge")
                if predictor == 2:
                    block = np.concatenate([block[:, :1], np.diff(block, axis=1)], axis=1)
                data = b"".join(pack(row, bits, order) for row in block)
                if fill_order == 2:
                    data = np.packbits(
                        np.unpackbits(np.frombuffer(data, np.uint8)), bitorder=("little")
                    ).tobytes()
                blocks.append(zlib.compress(data) if compression == 8 else data)
    short, long = "H", "I"
    tags: dict[int, tuple[str, Sequence[int]]] = {
        256: (long, [width]),
        257: (long, [height]),
        258: (short, [bits] * samples),
        259: (short, [compression]),
        277: (short, [samples]),
        284: (short, [planar]),
        339: (short, [kind] * samples),
    }
    optional = {
        262: (short, [photometric], photometric is not None),
        266: (short, [fill_order], fill_order != 1),
        274: (short, [orientation], orientation != 1),
        317: (short, [predictor], predictor != 1),
        338: (short, list(extras), bool(extras)),
        530: (short, list(subsampling or ()), bool(subsampling)),
    }
    tags |= {tag: (form, said) for tag, (form, said, there) in optional.items() if there}
    if palette is not None:
        tags[320] = (short, palette.T.ravel().tolist())
    if tile:
        tags |= {322: (long, [tile]), 323: (long, [tile])}
    else:
        tags[278] = (long, [down])
    places, sizes = (324, 325) if tile else (273, 279)
    tags[sizes] = (long, [len(block) for block in blocks])
    tags[places] = (long, [0] * len(blocks))
    start = 8 + 2 + 12 * len(tags) + 4
    lengths = {tag: struct.calcsize(form) * len(said) for tag, (form, said) in tags.items()}
    behind = start + sum(length for length in lengths.values() if length > 4)
    tags[places] = (long, [behind + sum(map(len, blocks[:i])) for i in range(len(blocks))])
    entries, tail = b"", b""
    for tag, (form, said) in sorted(tags.items()):
        data = struct.pack(f"{order}{len(said)}{form}", *said)
        entries += struct.pack(f"{order}HHI", tag, 3 if form == short else 4, len(said))
        if len(data) > 4:
            entries += struct.pack(f"{order}I", start + len(tail))
            tail += data
        else:
            entries += data.ljust(4, b"\0")
    mark = b"II" if order == "<" else b"MM"
    head = mark + struct.pack(f"{order}HIH", 42, 8, len(tags))
    return head + entries + struct.pack(f"{order}I", 0) + tail + b"".join(blocks)


def pnm(values: np.ndarray, kind: int, maximum: int = 255) -> bytes:
    """A PBM, PGM or PPM file: kinds 1 to 3 in text, 4 to 6 in bytes."""
    height, width = values.shape[:2]
    head = f"P{kind}\n# drawn\n{width} {height}\n".encode()
    if kind in (1, 4):
        if kind == 1:
            return head + b" ".join(b"%d" % value for value in values.ravel()) + b"\n"
        return head + b"".join(pack(row, 1, ">") for row in values)
    head += b"%d\n" % maximum
    if kind in (2, 3):
        return head + b"\n".join(b"%d" % value for value in values.ravel()) + b"\n"
    return head + values.astype(">u2" if maximum > 255 else np.uint8).tobytes()


def bmp(
    values: np.ndarray,
    bits: int,
    palette: np.ndarray | None = None,
    masks: Sequence[int] = (),
    top_down: bool = False,
) -> bytes:
    """A BMP file: indices of a palette (1, 4, 8 bits), or whole pixels of 16, 24 or 32 bits.

    Args:
      values: (height, width) of indices or of pixels as the file keeps them; of 24 bits BGR.
      palette: (colours, 3) RGB.
      masks: which bits of a pixel are red, green, blue and alpha.
    """
    height, width = values.shape[:2]
    if bits < 16:
        rows = [pack(row, bits, ">") for row in values]
    else:
        rows = [row.astype("u1" if bits == 24 else f"<u{bits // 8}").tobytes() for row in values]
    rows = [row + bytes(-len(row) % 4) for row in rows]
    colours = np.zeros((0, 3)) if palette is None else palette
    table = np.pad(colours[:, ::-1], [(0, 0), (0, 1)]).astype(np.uint8).tobytes()
    size = 108 if masks else 40
    info = struct.pack(
        "<IiiHHI", size, width, -height if top_down else height, 1, bits, 3 * bool(masks)
    )
    info += struct.pack("<IiiII", 0, 2835, 2835, len(colours), 0)
    if masks:
        info += struct.pack("<4I", *masks) + b"BGRs" + bytes(48)
    offset = 14 + len(info) + len(table)
    data = b"".join(rows if top_down else rows[::-1])
    return b"BM" + struct.pack("<IHHI", offset + len(data), 0, 0, offset) + info + table + data


def gif(
    indices: np.ndarray, palette: np.ndarray, transparent: int = -1, interlaced: bool = False
) -> bytes:
    """A GIF file of one picture, whose codes never grow: the table is cleared in time."""
    height, width = indices.shape
    bits = max(1, int(len(palette) - 1).bit_length())
    table = np.zeros((2**bits, 3), np.uint8)
    table[: len(palette)] = palette
    order = [*range(0, height, 8), *range(4, height, 8), *range(2, height, 4), *range(1, height, 2)]
    shown = indices[order] if interlaced else indices
    smallest = max(2, bits)
    clear, step = 2**smallest, 2**smallest - 2
    codes: list[int] = []
    for start in range(0, shown.size, step):
        codes += [clear, *shown.ravel()[start : start + step].tolist()]
    codes.append(clear + 1)
    stream = "".join(f"{code:0{smallest + 1}b}"[::-1] for code in codes)
    data = np.packbits([int(bit) for bit in stream], bitorder="little").tobytes()
    chunks = b"".join(
        bytes([len(data[i : i + 255])]) + data[i : i + 255] for i in range(0, len(data), 255)
    )
    control = b""
    if transparent >= 0:
        control = b"!\xf9\x04\x01\0\0" + bytes([transparent]) + b"\0"
    return (
        b"GIF89a"
        + struct.pack("<HHBBB", width, height, 0x80 | (bits - 1) << 4 | (bits - 1), 0, 0)
        + table.tobytes()
        + control
        + b","
        + struct.pack("<4HB", 0, 0, width, height, 0x40 * interlaced)
        + bytes([smallest])
        + chunks
        + b"\0;"
    )


def pack(row: np.ndarray, bits: int, order: str) -> bytes:
    """The bytes of a row of samples, each of which has so many bits, the highest bit first."""
    samples = np.ascontiguousarray(row).ravel()
    if bits == 8 * samples.itemsize:
        return samples.astype(samples.dtype.newbyteorder(order)).tobytes()
    numbers = samples.astype(np.int64) & (2**bits - 1)
    digits = numbers[:, None] >> np.arange(bits - 1, -1, -1) & 1
    return np.packbits(digits.astype(np.uint8).ravel()).tobytes()
