"""Starting JAX: its cache of compiled programs, and the other processes."""

import os

import jax

from common.devices.accelerator import find_accelerator
from common.devices.processes import is_main_process, start_distributed
from common.program.cache import cache_dir
from common.program.log import log, talk


def start_jax(coordinator: str, num_processes: int, process_id: int) -> int:
    """Caches compiled programs between runs and joins the other processes, if there are any.

    Where somebody has told JAX where to cache, that stays.

    Returns the number of this process.
    """
    if not jax.config.values["jax_compilation_cache_dir"]:
        jax.config.update("jax_compilation_cache_dir", str(cache_dir() / "compiled"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    start_distributed(coordinator, num_processes, process_id)
    talk(this_process=is_main_process())
    warn_of_idle_accelerator()
    return jax.process_index()


def warn_of_idle_accelerator() -> None:
    """Warns if the machine has a GPU or TPU but JAX uses the CPU without being told to."""
    if jax.default_backend() != "cpu" or os.environ.get("JAX_PLATFORMS"):
        return
    if (found := find_accelerator()).extra != "cpu":
        log.warning(
            "This machine has an accelerator (%s), but JAX computes on the CPU: install it with"
            " pip install -e '.[%s]', or set JAX_PLATFORMS=cpu if you want the CPU.",
            found.name,
            found.extra,
        )
