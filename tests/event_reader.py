"""Event files as TensorBoard itself reads them."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def read_events(folder: Path) -> dict[str, dict[int, float | np.ndarray]]:
    """Returns what a folder of event files holds: {name: {step: number or picture}}.

    TensorBoard would show a step that is there twice as two.
    """
    package = "tensorboard.backend.event_processing.plugin_event_accumulator"
    reader = pytest.importorskip(package, reason="pip install -e '.[tensorboard]'")
    from tensorboard.util.tensor_util import make_ndarray

    events = reader.EventAccumulator(str(folder), {"tensors": 0}).Reload()
    found = {}
    for tag in events.Tags()["tensors"]:
        shown = events.Tensors(tag)
        found[tag] = {event.step: _shown(make_ndarray(event.tensor_proto)) for event in shown}
        assert len(found[tag]) == len(shown), [event.step for event in shown]
    return found


def _shown(value: np.ndarray) -> float | np.ndarray:
    if value.ndim == 0:
        return value.item()
    width, height, content = value
    with Image.open(io.BytesIO(content)) as picture:
        assert picture.size == (int(width), int(height))
        return np.asarray(picture).reshape(int(height), int(width), -1)
