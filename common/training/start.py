"""What comes before all work: JAX, where it keeps compiled programs, the other processes."""

import jax

from common.cache import cache_dir
from common.log import talk
from common.training.parallel import is_main_process, start_distributed


def start_jax(coordinator: str, num_processes: int, process_id: int) -> None:
    """Keeps compiled programs between runs and joins the other processes, if there are any."""
    jax.config.update("jax_compilation_cache_dir", str(cache_dir() / "compiled"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    start_distributed(coordinator, num_processes, process_id)
    talk(this_process=is_main_process())
