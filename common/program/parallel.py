"""Work on every CPU that this process may use, in threads: NumPy and Pillow release the GIL."""

import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")
Result = TypeVar("Result")


def num_cpus() -> int:
    """Returns how many CPUs this process may use, which may be fewer than the machine has."""
    if sys.version_info >= (3, 13):
        return os.process_cpu_count() or 1
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def in_parallel(
    work: Callable[[Item], Result], items: Sequence[Item], told: str = "", unit: str = "it"
) -> list[Result]:
    """Returns what the work makes of each item, in order.

    Args:
      work: is called by several threads at a time.
      items: what it is called with.
      told: what stands before the bar that shows how far it is; "" for no bar.
      unit: of the bar.
    """
    with ThreadPoolExecutor(num_cpus()) as pool:
        results = pool.map(work, items)
        silent = None if told else True  # None is silent where no person watches
        return list(tqdm(results, told, len(items), unit=unit, disable=silent, leave=False))
