"""Before the first step: do memory and disk suffice?"""

import shutil
from pathlib import Path

import jax
import numpy as np
import psutil
from jaxtyping import PyTree

from common.program.errors import UserError


def check_memory(temporary_bytes: int, low_memory: bool) -> None:
    """Compares the memory that a step needs beside state and data with what is free.

    Args:
      temporary_bytes: that of one device.
      low_memory: whether it was compiled for less memory.

    Raises:
      UserError: it does not fit.
    """
    devices, less = jax.local_devices(), ""
    stats = devices[0].memory_stats() if devices[0].platform != "cpu" else None
    if stats and "bytes_limit" in stats:
        where, needed = "the device", temporary_bytes
        available = stats["bytes_limit"] - stats["bytes_in_use"]
    else:  # the devices of a CPU share the machine's memory
        where, needed = "this machine", temporary_bytes * len(devices)
        available = psutil.virtual_memory().available
        less = "" if low_memory else "set --config.train.low_memory=True or "
    if needed > available:
        raise UserError(
            f"One training step needs {_gigabytes(needed)} more and {where} has"
            f" {_gigabytes(available)}; {less}lower config.data.batch_size or"
            " config.data.image_size."
        )


def check_disk(workdir: Path, state: PyTree, keep_last: int) -> None:
    """Compares the size of future checkpoints with the free space.

    Raises:
      UserError: the disk is too full.
    """
    one = sum(np.dtype(x.dtype).itemsize * x.size for x in jax.tree.leaves(state))
    needed = one * (keep_last + 2)  # the best one, and the one being written
    free = shutil.disk_usage(workdir).free
    if needed > free:
        raise UserError(
            f"The checkpoints need {_gigabytes(needed)} and the disk of {workdir} has"
            f" {_gigabytes(free)} free; choose another --workdir or lower config.train.keep_last."
        )


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.2f} GB"
