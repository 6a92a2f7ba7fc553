"""TIFF files, drawn at random."""

import io
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import tifffile

from tests.picture_cases.case import (
    Case,
    Numbers,
    Rng,
    integers,
)
from tests.picture_files import tiff


def draw_tiff(rng: Rng) -> Case:
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
        numbers = integers(rng, 8, channels).astype(f"f{bits // 8}")
        if rng.random() < 0.6 or extras:
            numbers = (numbers / 255).astype(numbers.dtype)
    else:
        numbers = integers(rng, bits, channels, signed=kind == 2)
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
