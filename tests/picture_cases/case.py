"""What is in a picture that was drawn at random, and second readers that say so, too."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import imagecodecs
import numpy as np

from common.data.files.window import to_bytes

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


def integers(rng: Rng, bits: int, channels: int, signed: bool = False) -> Numbers:
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


def opencv(path: Path) -> np.ndarray | None:
    image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None or image.ndim == 2:
        return image
    return image[..., [2, 1, 0, 3][: image.shape[-1]]]


def codec(name: str) -> Reader:
    decode = getattr(imagecodecs, f"{name}_decode")
    return lambda path: decode(path.read_bytes())


def scaled(read: Reader, factor: float) -> Reader:
    def scaled(path: Path) -> np.ndarray | None:
        image = read(path)
        return None if image is None else image / factor

    return scaled


def with_channels(image: np.ndarray | None, number: int) -> np.ndarray | None:
    if image is None:
        return None
    return image.reshape(*image.shape[:2], -1)[..., :number]
