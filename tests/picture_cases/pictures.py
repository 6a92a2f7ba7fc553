"""PNG, PNM, BMP, GIF, WebP and JPEG 2000 files, drawn at random."""

from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np

from tests.picture_cases.case import (
    Case,
    Reader,
    Rng,
    codec,
    integers,
    opencv,
    scaled,
    with_channels,
)
from tests.picture_files import bmp, gif, png, pnm


def draw_png(rng: Rng) -> Case:
    kind = int(rng.choice([0, 2, 3, 4, 6]))
    bits = int(rng.choice({0: [1, 2, 4, 8, 16], 3: [1, 2, 4, 8]}.get(kind, [8, 16])))
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[kind]
    numbers = integers(rng, bits, channels)
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

    def with_alpha(path: Path) -> np.ndarray | None:
        image = opencv(path)
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
        seconds={"OpenCV": scaled(with_alpha, scale)},
        **meant,
    )


def draw_pnm(rng: Rng) -> Case:
    kind = int(rng.integers(1, 7))
    if kind in (1, 4):
        numbers = integers(rng, 1, 1)
        return Case(
            kind=f"PNM {kind}",
            name="a.pbm",
            content=pnm(numbers, kind),
            stored=numbers,
            white=1,
            shallow=True,
            dark=True,
            values=1 - numbers,
            seconds={"OpenCV": lambda path: 1 - opencv(path) // 255},  # 1 is black
        )
    maximum = int(rng.choice([1, 3, 7, 100, 255, 256, 1000, 4095, 65535]))
    numbers = integers(rng, 16, 3 if kind in (3, 6) else 1).astype(int) % (maximum + 1)
    return Case(
        kind=f"PNM {kind}, up to {maximum}",
        name=f"a.p{'p' if kind in (3, 6) else 'g'}m",
        content=pnm(numbers, kind, maximum),
        stored=numbers,
        white=maximum,
        shallow=maximum < 256,
        seconds={"OpenCV": opencv},
    )


def draw_bmp(rng: Rng) -> Case:
    bits = int(rng.choice([1, 4, 8, 16, 24, 32]))
    top_down, meant = bool(rng.random() < 0.3), {}
    if bits <= 8:
        indices = integers(rng, bits, 1)
        grey = np.repeat(np.arange(2**bits)[:, None] * (255 if bits == 1 else 1), 3, axis=1)
        palette = grey if rng.random() < 0.4 else rng.integers(0, 256, (2**bits, 3))
        content = bmp(indices[..., 0], bits, palette, top_down=top_down)
        stored, meant = palette.astype(np.uint8)[indices[..., 0]], {"values": indices}
        if palette is grey:
            stored = stored[..., :1]
    elif bits == 24:
        stored = integers(rng, 8, 3)
        content = bmp(stored[..., ::-1], 24, top_down=top_down)
    else:
        fives = rng.random() < 0.5
        depths = [8, 8, 8] if bits == 32 else [5, 5, 5] if fives else [5, 6, 5]
        parts = [integers(rng, 5, 3)[..., :1] for _ in range(1)]
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
            "imagecodecs": lambda path: with_channels(codec("bmp")(path), stored.shape[-1]),
            "OpenCV": lambda path: with_channels(opencv(path), stored.shape[-1]),
        },
        **meant,
    )


def draw_gif(rng: Rng) -> Case:
    bits = int(rng.integers(1, 9))
    indices = integers(rng, bits, 1)[..., 0]
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
                return with_channels(image, 3)
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
        seconds={"imagecodecs": opaque(codec("gif")), "OpenCV": opaque(opencv)},
    )


def draw_webp(rng: Rng) -> Case:
    channels = int(rng.choice([3, 4]))
    numbers = integers(rng, 8, channels)
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
        seconds={"imagecodecs": codec("webp"), "OpenCV": opencv},
    )


def draw_jpeg2000(rng: Rng) -> Case:
    bits, channels = int(rng.integers(1, 17)), int(rng.integers(1, 5))
    signed = bits in (8, 16) and bool(rng.random() < 0.4)
    numbers = integers(rng, bits, channels, signed)
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
        seconds={"OpenCV": opencv, "imagecodecs": codec("jpeg2k")},
    )
