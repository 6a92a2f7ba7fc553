"""TensorBoard files: written by CLU if TensorFlow is installed, else by tensorboardX.

TensorBoard reads the same numbers and pictures from both. Their slow imports happen only when the
first file is written.
"""

import importlib.util
import io
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from PIL import Image

from common.report.images import Picture

if TYPE_CHECKING:
    from tensorboardX.event_file_writer import EventsWriter


@runtime_checkable
class MetricWriter(Protocol):
    """The used part of CLU's `metric_writers.MetricWriter`, which needs TensorFlow to import."""

    def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        """Writes numbers at a step."""
        ...

    def write_images(self, step: int, images: Mapping[str, Picture]) -> None:
        """Writes pictures at a step."""
        ...

    def close(self) -> None:
        """Flushes everything to the file and closes it."""
        ...


def open_event_writer(folder: Path, restored_step: int) -> MetricWriter:
    """Opens a new file; steps after the restored one in earlier files no longer count.

    The folder is created, its parent is not.
    """
    folder.mkdir(exist_ok=True)  # TensorFlow would recreate a removed workdir
    if any(folder.iterdir()):  # even of a run that ended before its first checkpoint
        _cut_back(folder, restored_step)
    return _clus_writer(folder) if importlib.util.find_spec("tensorflow") else EventWriter(folder)


class EventWriter:
    """An event file by tensorboardX; writes are on disk when a call returns."""

    def __init__(self, folder: Path) -> None:
        self._file = _open_file(folder, f".{os.getpid()}")

    def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        """Writes numbers at a step."""
        self._write(step, [{"tag": tag, "simple_value": value} for tag, value in scalars.items()])

    def write_images(self, step: int, images: Mapping[str, Picture]) -> None:
        """Writes pictures at a step."""
        self._write(step, [{"tag": tag, "image": _png(image)} for tag, image in images.items()])

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _write(self, step: int, values: list[dict[str, object]]) -> None:
        _write_event(self._file, step=step, summary={"value": values})


def _cut_back(folder: Path, restored_step: int) -> None:
    """Writes a file before this session's that states at which step this session starts."""
    from tensorboardX.proto.event_pb2 import SessionLog

    file = _open_file(folder, "")  # the shortest name sorts first among those of one second
    for _ in range(2):  # TensorBoard takes the first one it reads for the start of everything
        _write_event(file, step=restored_step + 1, session_log={"status": SessionLog.START})
    file.close()


def _open_file(folder: Path, suffix: str) -> "EventsWriter":
    # Not tensorboardX's SummaryWriter, whose thread would swallow errors.
    from tensorboardX.event_file_writer import EventsWriter

    return EventsWriter(str(folder / "events"), suffix)


def _write_event(file: "EventsWriter", **event: object) -> None:
    from tensorboardX.proto.event_pb2 import Event

    file.write_event(Event(wall_time=time.time(), **event))
    file.flush()


def _png(picture: Picture) -> dict[str, object]:
    height, width, channels = picture.shape
    content = io.BytesIO()
    Image.fromarray(picture[..., 0] if channels == 1 else picture).save(content, "PNG")
    size = {"height": height, "width": width, "colorspace": channels}
    return {**size, "encoded_image_string": content.getvalue()}


def _clus_writer(folder: Path) -> MetricWriter:
    # TensorFlow computes nothing here, so its log is irrelevant.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    import tensorflow
    from clu import metric_writers

    for kind in ("GPU", "TPU"):  # reserved for JAX
        tensorflow.config.set_visible_devices([], kind)
    writer: MetricWriter = metric_writers.SummaryWriter(str(folder))
    return writer
