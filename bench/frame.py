"""What benchmarks share: taking turns, medians and ranges, the machine, the end."""

import argparse
import datetime
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

Row = tuple[str, str, str]


class Spent(NamedTuple):
    """Milliseconds per step in one round, on the clock and of all processor cores together."""

    wall: float
    cpu: float


class Contender(NamedTuple):
    """Somebody who can train.

    Attributes:
      software: versions and settings.
      run: makes a number of steps and waits for their end.
      first_step: seconds from building the networks to the end of the first step.
    """

    software: str
    run: Callable[[int], None]
    first_step: float


def interleave(
    runs: Sequence[Callable[[int], None]], num_steps: int, num_rounds: int
) -> list[list[Spent]]:
    """Lets everyone make `num_steps`, in turn, `num_rounds` times; returns the rounds of each."""
    spent: list[list[Spent]] = [[] for _ in runs]
    for _ in range(num_rounds):
        for run, rounds in zip(runs, spent, strict=True):
            wall, cpu = time.perf_counter(), time.process_time()
            run(num_steps)
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            rounds.append(Spent(1e3 * wall / num_steps, 1e3 * cpu / num_steps))
    return spent


def table(rows: Sequence[tuple[str, ...]]) -> str:
    """Returns rows, the first of which is the head, as a Markdown table."""
    lines = [rows[0], ("---", "---", "---"), *rows[1:]]
    return "\n".join(f"| {' | '.join(row)} |" for row in lines)


def circumstances(load: float) -> list[Row]:
    """Returns the rows of a table that say where and when; `load` is that before the start."""
    return [
        ("machine", machine(), f"load {load:.1f} before the start"),
        ("date", f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC", ""),
    ]


def spread(values: Sequence[float], form: str = ".3g") -> str:
    """Returns "median (least..greatest)"."""
    median, least, most = (f(values) for f in (statistics.median, min, max))
    return f"{median:{form}} ({least:{form}}..{most:{form}})"


def first_steps(*contenders: Contender) -> list[str]:
    """Returns the seconds of each contender's first step."""
    return [f"{contender.first_step:.1f}" for contender in contenders]


def machine() -> str:
    """Returns the processor and the number of its cores."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    for line in cpuinfo.read_text().splitlines() if cpuinfo.exists() else ():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
    return f"{model}, {os.cpu_count()} cores"


def positive(text: str) -> int:
    """Reads a flag of at least 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is less than 1")
    return number


def say(message: str) -> None:
    """Tells what has been done, on standard error: the table alone is on standard output."""
    print(message, file=sys.stderr, flush=True)


def end(message: str, code: int) -> NoReturn:
    """Ends the program with one sentence."""
    print(f"{sys.argv[0]}: {message}", file=sys.stderr)
    sys.exit(code)
