"""Small sets of images to inspect."""

import io
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter, zoom

from common.config.defaults import default_config
from common.data.settings import DataSettings
from common.data.sources.open import open_source
from common.inspect.facts import Survey, survey

Write = Callable[..., Path]


def picture(seed: int, size: int = 96, sharpness: float = 3.0) -> np.ndarray:
    """Draws a grey picture that no other seed gives: blobs of several sizes."""
    random = np.random.default_rng(seed)
    layers = [
        gaussian_filter(random.normal(size=(size, size)), width) * width
        for width in (sharpness, 3 * sharpness)
    ]
    blobs = sum(layers)
    low, high = np.percentile(blobs, (1, 99))
    return np.rint((blobs - low) / (high - low) * 255).clip(0, 255).astype(np.uint8)


def recompressed(pixels: np.ndarray, quality: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def resized(pixels: np.ndarray, scale: float) -> np.ndarray:
    return np.rint(zoom(pixels.astype(float), scale, order=1)).clip(0, 255).astype(np.uint8)


@pytest.fixture
def write(tmp_path) -> Write:
    """Writes files below a new folder: arrays as images, bytes as they are."""

    def into(files: Mapping[str, np.ndarray | bytes]) -> Path:
        root = tmp_path / f"data{len(list(tmp_path.iterdir()))}"
        for name, content in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, bytes):
                path.write_bytes(content)
            else:
                Image.fromarray(content).save(path)
        return root

    return into


@pytest.fixture
def surveyed(write) -> Callable[..., Survey]:
    """Writes files and surveys them; further keywords are settings of config.data."""

    def look(files: Mapping[str, np.ndarray | bytes], **settings: object) -> Survey:
        data = default_config().data
        data.update(dir=str(write(files)), **settings)
        return survey(open_source(data), DataSettings.of(data))

    return look
