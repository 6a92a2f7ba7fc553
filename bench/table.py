"""Times this project against PyTorch and Keras: the same networks, batches and updates, in turn.

    python bench/table.py [--rows=dcgan_64,unet_2] [--rivals=NCHW,channels_last] [--rounds=5]
                          [--output=bench/results/NAME.md]

NAME:bfloat16 is a row in mixed precision, PyTorch's by autocast; on a GPU every training row has
both.

Each contender is a process of its own (`bench/worker.py`); only one works at a time, A B A B. Of
PyTorch's variants, eager and compiled, NCHW and channels_last, the fastest in a short trial takes
part. Before that each must compute our outputs from our weights, to 1e-4 of the largest. A ratio
compares two neighbouring rounds, so that a busy moment of the machine affects both.

The table has, for each row: milliseconds per step, images per second, the speed as a multiple of
PyTorch's (median and range of the rounds) and of Keras'; peak memory of both processes, ours also
with programs from the cache; the rate of the plain forms' operations as a share of the machine's in
a product of two matrices (`common/training/speed.py`); the share of the time in which no compiled
step ran; and seconds to the end of the first step, newly compiled, and with a warm cache.
"""

import argparse
import datetime
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from frame import end, machine, positive, say, spread
from rows import RIVALS, ROWS, Row, images_per_step, row_named, settings

_WORKER = Path(__file__).with_name("worker.py")
_SECONDS = 6.0  # of a round
_TRIAL_SECONDS = 2.0
_MOST_DIFFERENT = 1e-4
_HUGE_PAGES = "glibc.malloc.hugetlb=1"  # as launch.py sets them, for all
_HEAD = (
    *("", "ms", "images/s", "times PyTorch", "which", "times Keras", "GiB", "warm", "PyTorch's"),
    *("of matrix rate", "idle", "first step, s", "warm", "PyTorch's"),
)


class Worker:
    """A contender's process.

    Attributes:
      name: of the contender.
      first: its first answer.
    """

    def __init__(self, row: Row, name: str, scratch: Path) -> None:
        environment = {**os.environ, "OMP_WAIT_POLICY": "passive", "TF_CPP_MIN_LOG_LEVEL": "3"}
        environment.setdefault("GLIBC_TUNABLES", _HUGE_PAGES)
        environment["TRIPTYCH_CACHE"] = str(scratch / "cache")
        self.name = name
        self._errors = (scratch / f"{name}.log").open("w")
        self._process = subprocess.Popen(
            [sys.executable, str(_WORKER), row.name, name, str(scratch)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        self.first = self._answer()

    def ask(self, command: str) -> dict[str, Any]:
        """Sends a line and returns the answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        return self._answer()

    def end(self) -> None:
        """Ends the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        self._errors.close()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            log = Path(self._errors.name).read_text().strip().splitlines()
            raise ChildProcessError(log[-1] if log else f"{self.name} ended without an answer")
        answer: dict[str, Any] = json.loads(line)
        return answer


@dataclass
class Timed:
    """A contender's rounds.

    Attributes:
      worker: its process.
      seconds: per step, of each round.
    """

    worker: Worker
    seconds: list[float] = field(default_factory=list)


def main() -> None:
    """Measures and prints the table."""
    flags = _parse()
    lines = [_line(_HEAD), _line(["---"] * len(_HEAD))]
    software: set[str] = set()
    load = os.getloadavg()[0]
    for line in lines:
        print(line)
    for name in flags.rows.split(","):
        line = _line(measure(row_named(name), flags, software))
        lines.append(line)
        print(line, flush=True)
    lines += ["", *_circumstances(software, load)]
    print("\n".join(lines[-len(software) - 2 :]))
    if flags.output:
        Path(flags.output).write_text("\n".join(["# Speed", "", *lines]) + "\n")


def measure(row: Row, flags: argparse.Namespace, software: set[str]) -> list[str]:
    """Returns a row of the table; prints progress, as it takes long."""
    with tempfile.TemporaryDirectory(prefix="triptych-bench-") as made:
        scratch = Path(made)
        ours = Timed(Worker(row, "ours", scratch))
        steps = row.steps or _steps_of(_SECONDS, ours.worker)
        say(f"{row.name}: ours, {steps} steps a round")
        torch, keras = _fastest(row, flags, scratch)
        contenders = [timed for timed in (ours, torch, keras) if timed]
        for _ in range(min(flags.rounds, row.most_rounds)):
            for timed in contenders:
                timed.seconds.append(timed.worker.ask(f"run {steps}")["wall"] / steps)
        facts = {timed.worker.name: timed.worker.ask("facts") for timed in contenders}
        for timed in contenders:
            timed.worker.end()
            software.add(timed.worker.first["software"])
        warm = Worker(row, "ours", scratch)
        facts["warm"] = warm.ask("facts")
        warm.end()
        config = settings(row, scratch / "cache")
        return _cells(row, images_per_step(row, config), ours, torch, keras, facts, warm)


def _steps_of(seconds: float, worker: Worker) -> int:
    """Returns the number of steps that fill this time."""
    worker.ask("run 1")
    wall: float = worker.ask("run 1")["wall"]
    return max(1, round(seconds / wall))


def _fastest(
    row: Row, flags: argparse.Namespace, scratch: Path
) -> tuple[Timed | None, Timed | None]:
    """Starts all rivals one after the other; keeps the fastest PyTorch, and Keras."""
    best: tuple[float, Worker] | None = None
    keras = None
    asked = flags.rivals.split(",")
    for name in row.rivals or RIVALS:
        if name not in asked or (name == "keras" and row.config != "acgan_covid"):
            continue
        try:
            worker = Worker(row, name, scratch)
        except ChildProcessError as error:
            say(f"{row.name}: {name} cannot take part: {error}")
            continue
        _check(row, worker)
        if name == "keras":
            keras = Timed(worker)
            continue
        steps = row.steps or _steps_of(_TRIAL_SECONDS, worker)
        seconds = worker.ask(f"run {steps}")["wall"] / steps
        say(f"{row.name}: {name}, {1e3 * seconds:.3g} ms")
        if best is None or seconds < best[0]:
            best, worker = (seconds, worker), best[1] if best else None
        if worker is not None:
            worker.end()
    return Timed(best[1]) if best else None, keras


def _check(row: Row, worker: Worker) -> None:
    """Ends the program if a rival computes another function; tests compare files."""
    difference = worker.ask("facts").get("difference", 0.0)
    say(f"{row.name}: {worker.name} differs by {difference:.1e}")
    if not difference <= _MOST_DIFFERENT:
        end(f"{row.name}: {worker.name} is not the same function, it differs by {difference}.", 1)


def _cells(
    row: Row,
    images: int,
    ours: Timed,
    torch: Timed | None,
    keras: Timed | None,
    facts: dict[str, dict[str, Any]],
    warm: Worker,
) -> list[str]:
    """Returns the cells of a row."""
    mine, known = statistics.median(ours.seconds), facts["ours"]

    def ratio(rival: Timed | None) -> str:
        if rival is None:
            return ""
        return spread([t / o for o, t in zip(ours.seconds, rival.seconds, strict=True)])

    share = known.get("flops", 0.0) / mine / known["matrix_flops_per_second"]
    gibibyte = 2**30
    return [
        row.title,
        f"{1e3 * mine:.4g}",
        f"{images / mine:.4g}",
        f"**{ratio(torch)}**" if torch else "",
        torch.worker.name if torch else "",
        ratio(keras),
        f"{known['peak_bytes'] / gibibyte:.2f}",
        f"{facts['warm']['peak_bytes'] / gibibyte:.2f}",
        f"{facts[torch.worker.name]['peak_bytes'] / gibibyte:.2f}" if torch else "",
        f"{share:.0%}" if share else "",
        f"{known['idle_share']:.1%}" if "idle_share" in known else "",
        f"{ours.worker.first['first_step']:.1f}",
        f"{warm.first['first_step']:.1f}",
        f"{torch.worker.first['first_step']:.1f}" if torch else "",
    ]


def _circumstances(software: set[str], load: float) -> list[str]:
    now = f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC"
    return [f"{machine()}, load {load:.1f} before the start; {now}.", "", *sorted(software)]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    names = [row.name for row in ROWS]
    narrow = [f"{row.name}:bfloat16" for row in ROWS if row.work == "train"]
    default = names + narrow if shutil.which("nvidia-smi") else names
    parser.add_argument("--rows", default=",".join(default), help="of: " + ", ".join(names))
    parser.add_argument("--rivals", default=",".join(RIVALS), help="of: " + ", ".join(RIVALS))
    parser.add_argument("--rounds", type=positive, default=5)
    parser.add_argument("--output", default="", help="a file for the table")
    flags = parser.parse_args()
    for known, asked in (([*names, *narrow], flags.rows), (RIVALS, flags.rivals)):
        for name in asked.split(","):
            if name not in known:
                parser.error(f"{name} is unknown; it must be one of {', '.join(known)}")
    return flags


if __name__ == "__main__":
    main()
