"""What benchmarks share: medians and ranges, facts of the machine, exits."""

import argparse
import os
import platform
import resource
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn


def spread(values: Sequence[float], form: str = ".3g") -> str:
    """Returns "median (lowest..highest)"."""
    median, least, most = (f(values) for f in (statistics.median, min, max))
    return f"{median:{form}} ({least:{form}}..{most:{form}})"


def machine() -> str:
    """Returns the processor and the number of its cores."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    for line in cpuinfo.read_text().splitlines() if cpuinfo.exists() else ():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
    return f"{model}, {os.cpu_count()} cores"


def peak_bytes() -> int:
    """Returns this process's peak memory since its start or `forget_peak`."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def forget_peak() -> None:
    """Resets the peak; Linux only."""
    mark = Path("/proc/self/clear_refs")
    if mark.exists():
        mark.write_text("5")


def positive(text: str) -> int:
    """Reads a flag of at least 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is less than 1")
    return number


def say(message: str) -> None:
    """Prints progress on standard error: standard output has only the table."""
    print(message, file=sys.stderr, flush=True)


def end(message: str, code: int) -> NoReturn:
    """Ends the program with one sentence."""
    print(f"{sys.argv[0]}: {message}", file=sys.stderr)
    sys.exit(code)
