"""Trains for an hour, and says whether memory, open files and the time of a step stay as they were.

    python bench/soak.py [--minutes=60] [--workdir=DIR] [CONFIG] [--config.NAME=VALUE ...]

CONFIG is a file of configs/; without it this is the job of `make run`: acgan_covid_best on
phantoms. Evaluations, pictures and checkpoints come as often as there, so the hour has many of
each. The program is read from outside, every five seconds: its memory (without what it shares with
the file cache), its open files, threads and child processes, and the last step in metrics.jsonl.
The first tenth of the time is a warm-up: programs are compiled, and the first picture, evaluation
and checkpoint are made. WORKDIR/readings.csv has all readings.
"""

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil

ROOT = Path(__file__).parent.parent
JOB = (
    "configs/acgan_covid_best.py",
    "--config.data.num_phantoms=425",
    "--config.loss.class_weight=0.5",
    "--config.loss.class_of_generated=False",
)
FOREVER = "--config.train.num_steps=1000000"
BETWEEN = 5.0
PARTS = 6
MIB = 2**20


class Reading(NamedTuple):
    """What the program holds at one moment."""

    seconds: float
    mib: float
    files: int
    threads: int
    children: int
    step: int


def main() -> None:
    """Trains, reads, stops the training and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--workdir", help="kept; by default a temporary one")
    parser.add_argument("config", nargs="?", default=None)
    args, overrides = parser.parse_known_args()
    config, *rest = [args.config, *overrides] if args.config else [*JOB, *overrides]
    with tempfile.TemporaryDirectory() as folder:
        workdir = Path(args.workdir or folder)
        command = [f"--config={config}", *rest, FOREVER, f"--workdir={workdir}"]
        program = psutil.Popen([sys.executable, "launch.py", *command], cwd=ROOT)
        readings = read(program, workdir / "metrics.jsonl", 60 * args.minutes)
        np.savetxt(
            workdir / "readings.csv", readings, "%.1f", ",", header=",".join(Reading._fields)
        )
        program.send_signal(signal.SIGTERM)
        try:
            code = program.wait(120)
        except subprocess.TimeoutExpired:
            program.kill()
            sys.exit("It did not stop within two minutes of SIGTERM.")
        print(*report(readings), f"\nStopped by SIGTERM, it ended with code {code}.", sep="\n")


def read(program: psutil.Popen, metrics: Path, seconds: float) -> list[Reading]:
    """Returns what the program held while it ran, at most for so many seconds."""
    start, readings = time.monotonic(), list[Reading]()
    while program.poll() is None and (now := time.monotonic() - start) < seconds:
        memory = program.memory_info()
        counts = program.num_fds(), program.num_threads(), len(program.children(recursive=True))
        held = (memory.rss - memory.shared) / MIB
        readings.append(Reading(now, held, *counts, last_step(metrics)))
        time.sleep(BETWEEN)
    return readings


def last_step(metrics: Path) -> int:
    """Returns the last step whose losses are written, 0 before there are any."""
    if not metrics.exists():
        return 0
    complete = metrics.read_text().rpartition("\n")[0]
    return int(json.loads(complete.rpartition("\n")[2])["step"]) if complete else 0


def report(readings: list[Reading]) -> list[str]:
    """Returns a table, a row for each part of the time, and what changes in an hour of it."""
    warm = [one for one in readings if one.seconds >= readings[-1].seconds / 10]
    rows = [
        "| minutes | memory, MiB: median | highest | open files | threads | children | ms a step |",
        "|---|---|---|---|---|---|---|",
    ]
    for part in np.array_split(np.array(warm), PARTS):
        seconds, mib, files, threads, children, steps = part.T
        span = f"{seconds[0] / 60:.0f} to {seconds[-1] / 60:.0f}"
        counts = [f"{some.min():.0f} to {some.max():.0f}" for some in (files, threads, children)]
        rate = slope(seconds, steps)
        pace = f"{1000 / rate:.0f}" if rate > 0 else "unknown"  # no line came in a short part
        rows.append(
            f"| {span} | {np.median(mib):.0f} | {mib.max():.0f} | {' | '.join(counts)} | {pace} |"
        )
    seconds, mib, files, *_ = np.array(warm).T
    memory, handles = 3600 * slope(seconds, mib), 3600 * slope(seconds, files)
    return [*rows, f"\nIn an hour: {memory:+.1f} MiB, {handles:+.2f} open files (least squares)."]


def slope(times: np.ndarray, values: np.ndarray) -> float:
    """Returns the slope of the straight line through them."""
    return float(np.polyfit(times, values, 1)[0])


if __name__ == "__main__":
    main()
