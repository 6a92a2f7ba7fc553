"""Event files as TensorBoard itself reads them."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def read_events(folder: Path) -> dict[str, dict[int, float | np.ndarray]]:
    """Returns what a folder of event files holds: {name: {step: number or picture}}."""
    package = "tensorboard.backend.event_processing.plugin_event_accumulator"
    reader = pytest.importorskip(package, reason="pip install -e '.[tensorboard]'")
    from tensorboard.util.tensor_util import make_ndarray

    events = reader.EventAccumulator(str(folder), {"tensors": 0}).Reload()
    return {
        tag: {event.step: _shown(make_ndarray(event.tensor_proto)) for event in events.Tensors(tag)}
        for tag in events.Tags()["tensors"]
    }


def _shown(value: np.ndarray) -> float | np.ndarray:
    if value.ndim == 0:
        return value.item()
    width, height, content = value
    with Image.open(io.BytesIO(content)) as picture:
        assert picture.size == (int(width), int(height))
        return np.asarray(picture).reshape(int(height), int(width), -1)
