"""Where the numbers go: metrics.jsonl, the console, and TensorBoard through CLU.

Only the main process writes. What is slow (TensorFlow's import, PNG files, curves) runs on one
background thread, so that training does not wait for it.
"""

import importlib.util
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

from tqdm import tqdm

from common.files import write_atomically
from common.log import log
from common.report.curves import draw_curves
from common.report.film import write_training_film
from common.report.images import Picture, write_picture


class JsonlWriter:
    """metrics.jsonl: one JSON object a line, on disk as soon as it is written."""

    def __init__(self, file: Path, restored_step: int) -> None:
        """Opens the file and cuts it back to the restored step, so that no step stands twice."""
        kept = [row for row in read_jsonl(file) if row["step"] <= restored_step]
        write_atomically(file, "".join(json.dumps(row) + "\n" for row in kept))
        self._stream = file.open("a", buffering=1)

    def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        """Appends one line."""
        self._stream.write(json.dumps({"step": step, **scalars}) + "\n")

    def close(self) -> None:
        """Closes the file."""
        self._stream.close()


def read_jsonl(file: Path) -> list[dict[str, int | float]]:
    """Reads metrics.jsonl; a last line that a crash cut short is left out."""
    if not file.exists():
        return []
    rows = []
    for line in file.read_text().splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows


_SHOWN = (
    *("train/loss", "train/discriminator_loss", "train/generator_loss"),
    *("val/", "quality/frechet", "quality/spread"),
)


class ConsoleWriter:
    """A progress bar on a terminal; elsewhere one line per logging interval."""

    def __init__(self, first_step: int, num_steps: int) -> None:
        self._num_steps = num_steps
        self._first: tuple[int, float] | None = None  # the first step done here, and when
        self._bar = (
            tqdm(total=num_steps, initial=first_step, unit="step", dynamic_ncols=True)
            if sys.stderr.isatty()
            else None
        )

    def progress(self, step: int) -> None:
        """Moves the bar; the rate counts from the first call, or from `restart`."""
        self._first = self._first or (step, time.perf_counter())
        if self._bar is not None:
            self._bar.update(step - self._bar.n)

    def restart(self, step: int) -> None:
        """Lets the rate count from here, where all has been compiled."""
        self._first = step, time.perf_counter()

    def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        """Shows the losses; the other numbers are in metrics.jsonl."""
        losses = "  ".join(
            f"{name.split('/', 1)[1]} {value:.3f}"
            for name, value in scalars.items()
            if name.startswith(_SHOWN)
        )
        if (wait := scalars.get("timing/data_wait_share")) is not None:
            losses += f"  waiting for data {wait:.0%}"
        if self._bar is not None:
            self._bar.set_postfix_str(losses)
            return
        print(f"step {step}/{self._num_steps}  {losses}{self._rate(step)}", file=sys.stderr)

    def _rate(self, step: int) -> str:
        if self._first is None or step == self._first[0]:
            return ""
        rate = (step - self._first[0]) / (time.perf_counter() - self._first[1])
        return f"  {rate:.1f} steps/s  {_duration((self._num_steps - step) / rate)} left"

    def close(self) -> None:
        """Ends the bar's line."""
        if self._bar is not None:
            self._bar.close()


class Writers:
    """All writers of a run behind one face, with the methods of CLU's MetricWriter."""

    def __init__(self, workdir: Path, restored_step: int, num_steps: int) -> None:
        self._workdir = workdir
        (workdir / "pictures").mkdir(exist_ok=True)
        self._jsonl = JsonlWriter(workdir / "metrics.jsonl", restored_step)
        self.console = ConsoleWriter(restored_step, num_steps)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="writers")
        self._pending: list[Future[Any]] = []
        self._drawn: set[str] = set()  # names of pictures

    def __enter__(self) -> "Writers":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        """Writes numbers at a step to every writer."""
        self._jsonl.write_scalars(step, scalars)
        self.console.write_scalars(step, scalars)
        self._later(self._tensorboard_scalars, step, scalars)

    def write_images(self, step: int, pictures: Mapping[str, Picture]) -> None:
        """Writes pictures/<step>_<name>.png, the pictures in TensorBoard, and curves.png."""
        self._later(self._write_images, step, pictures)

    def flush(self) -> None:
        """Waits for the background thread; the first error there is raised here."""
        while self._pending:
            self._pending.pop(0).result()

    def close(self) -> None:
        """Flushes and closes everything."""
        self._pending.append(self._thread.submit(self._write_films))
        self._pending.append(self._thread.submit(self._close_tensorboard))
        self._thread.shutdown()
        self._jsonl.close()
        self.console.close()
        self.flush()

    def _later(self, work: Callable[..., None], *args: Any) -> None:
        while self._pending and self._pending[0].done():
            self._pending.pop(0).result()  # an error in the background ends the run
        self._pending.append(self._thread.submit(work, *args))

    def _write_images(self, step: int, pictures: Mapping[str, Picture]) -> None:
        folder = self._workdir / "pictures"
        for name, picture in pictures.items():
            self._drawn.add(name)
            write_picture(folder / f"{step:06d}_{name}.png", picture)
        draw_curves(read_jsonl(self._workdir / "metrics.jsonl"), folder / "curves.png")
        if self._tensorboard is not None:
            batches = {name: picture[None] for name, picture in pictures.items()}
            self._tensorboard.write_images(step, batches)

    def _write_films(self) -> None:
        for name in sorted(self._drawn):
            write_training_film(self._workdir / "pictures", name)

    @cached_property
    def _tensorboard(self) -> Any:
        """CLU's writer, None without TensorFlow, which takes seconds to import: only here.

        The background thread asks for it when it has something to write, after the first step.
        """
        if not importlib.util.find_spec("tensorflow"):
            log.warning(
                "TensorFlow is not installed: no TensorBoard files"
                " (pip install 'triptych[tensorboard]'); metrics.jsonl has every number."
            )
            return None
        # It computes nothing here and has nothing to say.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
        import tensorflow
        from clu import metric_writers

        for kind in ("GPU", "TPU"):  # they are JAX's
            tensorflow.config.set_visible_devices([], kind)

        return metric_writers.SummaryWriter(str(self._workdir / "metrics"))

    def _tensorboard_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        if self._tensorboard is not None:
            self._tensorboard.write_scalars(step, dict(scalars))

    def _close_tensorboard(self) -> None:
        opened = vars(self).get("_tensorboard")  # where `cached_property` keeps it
        if opened is not None:
            opened.close()


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{seconds:02d}s"
