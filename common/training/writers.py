"""Where the numbers go: metrics.jsonl, the console, TensorBoard, and trackers if asked for.

Only the main process writes. Slow work runs on background threads, so that training does not wait:
one draws (PNG files, curves), the others write for TensorBoard, whose import takes seconds, and for
trackers.
"""

import hashlib
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from common.config.declaration import SHOWN
from common.program.files import write_atomically
from common.program.log import log
from common.report.curves import draw_curves
from common.report.film import write_training_film
from common.report.images import Picture, write_picture
from common.report.series import drawn, picture_file, whole_image
from common.run_page.write import try_page
from common.runs.rows import METRICS, read_lines, read_rows
from common.runs.workdir import Run, read_record, update_record
from common.training.event_files import MetricWriter, open_event_writer
from common.training.trackers import Trackers

# Between two drawings of the curves, or two writings of the report, at least so many times as long
# as one took: it slows the thread that trains, and at the end both are made anyway.
_REST = 20
_OF_STEPS = "train"  # the kind of metrics that lines do not name


class JsonlWriter:
    """metrics.jsonl: one JSON object per line, written immediately."""

    def __init__(self, file: Path, restored_step: int) -> None:
        """Opens the file and cuts it back to the restored step, so that no step occurs twice.

        Unreadable lines are left out, which is logged except for a last, unfinished one.
        """
        rows, broken = read_lines(file)
        if broken:
            what = "is 1 line" if broken == 1 else f"are {broken} lines"
            log.warning("%s: left out %s that can't be read.", file, what)
        kept = [row for row in rows if row["step"] <= restored_step]
        write_atomically(file, "".join(json.dumps(row) + "\n" for row in kept))
        self._file, self._stream = file, file.open("a", buffering=1)

    def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        """Appends one line."""
        self._stream.write(json.dumps({"step": step, **scalars}) + "\n")

    def stated(self) -> dict[str, int | str]:
        """Returns the file's current length and checksum, for run.json."""
        content = self._file.read_bytes()
        return {
            "numbers_bytes": len(content),
            "numbers_sha256": hashlib.sha256(content).hexdigest(),
        }

    def sync(self) -> None:
        """Syncs written data to disk, safe from a power cut."""
        os.fsync(self._stream.fileno())

    def close(self) -> None:
        """Closes the file."""
        self._stream.close()


def _warn_of_changes(file: Path, record: Mapping[str, Any]) -> None:
    """Warns if the numbers that a run recorded have changed but are readable."""
    length = record.get("numbers_bytes", 0)
    content = file.read_bytes() if file.exists() else b""
    if 0 < length <= len(content):  # otherwise lines are missing, which curves show
        found = hashlib.sha256(content[:length]).hexdigest()
        if found != record.get("numbers_sha256"):
            log.warning(
                "%s was changed after this run wrote it; its numbers are used unchecked.", file
            )


class ConsoleWriter:
    """A progress bar on a terminal; elsewhere one line per logging interval.

    It shows the metrics whose names begin as `shown` says. An evaluation has a line of its own.
    """

    def __init__(
        self,
        first_step: int,
        num_steps: int,
        shown: tuple[str, ...] = SHOWN,
        *,
        label: str = "",
        place: int = 0,
    ) -> None:
        """Shows the bar.

        Args:
          first_step: where training goes on.
          num_steps: where it ends.
          shown: how the names of the metrics to show begin.
          label: of each line, where several runs are trained at once.
          place: of the bar below those of other runs.
        """
        self._num_steps, self._shown, self._label = num_steps, shown, label
        self._first: tuple[int, float] | None = None  # the first step done here, and when
        self._bar = (
            tqdm(
                desc=label or None,
                total=num_steps,
                initial=first_step,
                unit="step",
                dynamic_ncols=True,
                position=place,
            )
            if sys.stderr.isatty()
            else None
        )
        self._messages = ExitStack()  # the program's own, which stand above the bar
        if self._bar is not None:
            self._messages.enter_context(logging_redirect_tqdm([log]))

    def progress(self, step: int) -> None:
        """Moves the bar; the rate counts from the first call, or from `restart`."""
        self._first = self._first or (step, time.perf_counter())
        if self._bar is not None:
            self._bar.update(step - self._bar.n)

    def restart(self, step: int) -> None:
        """Restarts the rate, once everything is compiled."""
        self._first = step, time.perf_counter()

    def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        """Shows the losses, or an evaluation's scores; the other numbers are in metrics.jsonl."""
        told = self._told(scalars)
        place = f"{self._label}  step {step}/{self._num_steps}".lstrip()
        if (wait := scalars.get("timing/data_wait_share")) is not None:
            told += f"  waiting for data {wait:.0%}"
        if not any(name.startswith(f"{_OF_STEPS}/") for name in scalars):
            tqdm.write(f"{place}  {told}", file=sys.stderr)
        elif self._bar is not None:
            self._bar.set_postfix_str(told)
        else:
            print(f"{place}  {told}{self._rate(step)}", file=sys.stderr)

    def _told(self, scalars: Mapping[str, float]) -> str:
        """Returns "loss 0.5", of an evaluation "val  f1 0.9  quality  frechet 0.2"."""
        words, kind = list[str](), _OF_STEPS
        for name, value in scalars.items():
            if name.startswith(self._shown):
                its_kind, _, metric = name.partition("/")
                if its_kind != kind:
                    words.append(its_kind)
                kind = its_kind
                words.append(f"{metric} {value:.3f}")
        return "  ".join(words)

    def _rate(self, step: int) -> str:
        if self._first is None or step == self._first[0]:
            return ""
        rate = (step - self._first[0]) / (time.perf_counter() - self._first[1])
        return f"  {rate:.1f} steps/s  {_duration((self._num_steps - step) / rate)} left"

    def close(self) -> None:
        """Ends the bar's line."""
        if self._bar is not None:
            self._bar.close()
        self._messages.close()


class _Background:
    """A thread that runs one job after another; an error is raised at the next call."""

    def __init__(self, name: str) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._pending: list[Future[Any]] = []

    def later(self, work: Callable[..., None], *args: object) -> None:
        while self._pending and self._pending[0].done():
            self._pending.pop(0).result()
        self._pending.append(self._thread.submit(work, *args))

    def wait(self) -> None:
        while self._pending:
            self._pending.pop(0).result()

    def close(self, last: Callable[[], None]) -> None:
        try:
            self.later(last)
            self.wait()
        finally:
            self._thread.shutdown()


class Writers:
    """All writers of a run behind one interface, with the methods of CLU's MetricWriter."""

    def __init__(
        self,
        workdir: Path,
        restored_step: int,
        num_steps: int,
        console: ConsoleWriter | None = None,
        trackers: Trackers | None = None,
    ) -> None:
        self._workdir = workdir
        self._folder = workdir / "pictures"
        self._folder.mkdir(exist_ok=True)
        self._restored_step = restored_step
        self._series: set[str] = set()  # the names of the pictures that this run draws
        self._rows_in_curves, self._curves_due = 0, -math.inf
        self._page_due = -math.inf
        record = read_record(workdir)
        self._own(record.get("pictures", ()))
        _warn_of_changes(workdir / METRICS, record)
        self._jsonl = JsonlWriter(workdir / METRICS, restored_step)
        if record:
            update_record(workdir, {**self._jsonl.stated(), "num_steps": num_steps})
        self.console = console or ConsoleWriter(restored_step, num_steps)
        self._drawing = _Background("drawing")
        self._for_tensorboard = _Background("tensorboard")
        self._trackers = trackers or Trackers(workdir, {}, [])
        self._for_trackers = _Background("trackers")

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
        self._for_tensorboard.later(self._tensorboard_scalars, step, scalars)
        self._for_trackers.later(self._trackers.write_scalars, step, scalars)

    @property
    def warnings(self) -> list[str]:
        """Returns a sentence for each tracker that failed."""
        return [*self._trackers.warnings]

    def stated_numbers(self) -> dict[str, int | str]:
        """Returns what run.json says about metrics.jsonl."""
        return self._jsonl.stated()

    def write_images(self, step: int, pictures: Mapping[str, Picture]) -> None:
        """Writes pictures/<step>_<name>.png, often curves.png, and for the others."""
        if new := pictures.keys() - self._series:
            self._own(new)
            update_record(self._workdir, {"pictures": sorted(self._series)})
        self._drawing.later(self._write_images, step, pictures)
        self._for_tensorboard.later(self._tensorboard_images, step, pictures)
        self._for_trackers.later(self._trackers.write_images, step, pictures)

    def write_page(self, run: Run) -> None:
        """Writes the run's report.html, unless that took long a short while ago."""
        self._drawing.later(self._write_page, run)

    def has_pictures(self, step: int) -> bool:
        """Returns whether all pictures of a step exist and are intact."""
        series = drawn(self._folder, self._series).values()
        return bool(series) and all(step in files and whole_image(files[step]) for files in series)

    def sync(self) -> None:
        """Syncs numbers and pictures to disk, without waiting for TensorBoard's."""
        self._jsonl.sync()
        self._drawing.wait()

    def flush(self) -> None:
        """Waits for everything; raises the first error of the background threads."""
        self.sync()
        self._for_tensorboard.wait()
        self._for_trackers.wait()

    def close(self) -> None:
        """Flushes and closes everything, even if a background thread has failed."""
        with ExitStack() as stack:
            stack.callback(self._record_warnings)
            stack.callback(self._for_trackers.close, self._trackers.close)
            stack.callback(self.console.close)
            stack.callback(self._jsonl.close)
            stack.callback(self._for_tensorboard.close, self._close_tensorboard)
            stack.callback(self._drawing.close, self._finish_pictures)
            self._jsonl.sync()

    def _record_warnings(self) -> None:
        """Adds to run.json what failed when trackers were closed."""
        record = read_record(self._workdir)
        if self.warnings and record:
            warnings = dict.fromkeys([*record.get("warnings", ()), *self.warnings])
            update_record(self._workdir, {"warnings": list(warnings)})

    def _write_images(self, step: int, pictures: Mapping[str, Picture]) -> None:
        for name, picture in pictures.items():
            write_picture(picture_file(self._folder, step, name), picture)
        if time.perf_counter() >= self._curves_due:
            self._draw_curves()

    def _draw_curves(self) -> None:
        """Draws the curves, a second's work, if there are more numbers than they show."""
        rows = read_rows(self._workdir / METRICS)
        if len(rows) > self._rows_in_curves:
            began = time.perf_counter()
            draw_curves(rows, self._folder / "curves.png")
            self._rows_in_curves, ended = len(rows), time.perf_counter()
            self._curves_due = ended + _REST * (ended - began)

    def _write_page(self, run: Run) -> None:
        if time.perf_counter() >= self._page_due:
            began = time.perf_counter()
            try_page(run)
            ended = time.perf_counter()
            self._page_due = ended + _REST * (ended - began)

    def _finish_pictures(self) -> None:
        """Writes the films, and curves of all rows, including earlier sessions'."""
        series = drawn(self._folder, self._series)
        for name, files in series.items():
            write_training_film(self._folder / f"{name}.webp", list(files.values()))
        if series:
            self._draw_curves()

    def _own(self, names: Iterable[str]) -> None:
        """Claims series for this run; removes their pictures after the restored step."""
        names = set(names) - self._series
        for files in drawn(self._folder, names).values():
            for later in (file for at, file in files.items() if at > self._restored_step):
                later.unlink()
        self._series |= names

    @cached_property
    def _tensorboard(self) -> MetricWriter:
        """Opened by its thread on the first write, after the first step."""
        return open_event_writer(self._workdir / "metrics", self._restored_step)

    def _tensorboard_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        self._tensorboard.write_scalars(step, scalars)

    def _tensorboard_images(self, step: int, pictures: Mapping[str, Picture]) -> None:
        self._tensorboard.write_images(step, pictures)

    def _close_tensorboard(self) -> None:
        opened = vars(self).get("_tensorboard")  # where `cached_property` stores it
        if opened is not None:
            opened.close()


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{seconds:02d}s"
