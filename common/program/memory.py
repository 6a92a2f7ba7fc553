"""Memory on CPUs: huge pages, returning what is no longer needed, needing less.

XLA's CPU client allocates large temporary arrays anew in every step, and the kernel provides them
page by page; with pages of 2 MB instead of 4 KB an update of the 64x64 AC-GAN took four fifths of
the time. The C library reads its setting only when a program starts, so this program restarts
itself.
"""

import ctypes
import gc
import os
import platform
import signal
import sys
from functools import cache

from common.program.interrupts import SIGNALS
from common.program.library_errors import lacks_compile_option

_NAME, _SETTING = "GLIBC_TUNABLES", "glibc.malloc.hugetlb=1"


def restart_with_huge_pages() -> None:
    """Restarts this command with huge pages; at most once, glibc only.

    Setting GLIBC_TUNABLES to anything turns this off.
    """
    if not _on_glibc() or _NAME in os.environ or not sys.executable:
        return
    os.environ[_NAME] = _SETTING
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # until the restarted command listens to them
    os.execv(sys.executable, sys.orig_argv)


def give_back_freed_memory() -> None:
    """Collects garbage and, with glibc, returns freed memory to the system.

    Tracing and compiling take several hundred MB, which Python and the C library would keep: right
    afterwards the C library's part of this call shrank the process of the DCGAN from 1,092 to 617
    MiB, that of the U-Net from 1,335 to 731.
    """
    gc.collect()
    trim_freed_memory()


def trim_freed_memory() -> None:
    """Returns the freed memory that glibc keeps to the system.

    Threads that write pictures and checkpoints free memory in many places, and the C library keeps
    the holes: with the 64x64 AC-GAN they grew by 10 MB a minute while memory in use did not.
    """
    if _on_glibc():
        ctypes.CDLL(None).malloc_trim(0)


def low_memory_options() -> dict[str, bool | str]:
    """Returns XLA's options for programs that need less memory on a CPU; {} elsewhere.

    With the emitters older than the "fusion emitters", which JAX 0.12 no longer has, compiling the
    U-Net took 0.83 GiB instead of 1.29; with the other schedule a step of VGG16 needed 1.56 GiB
    beside the state instead of 2.14, one of the DCGAN 0.35 instead of 0.49. The AC-GAN's steps took
    1.18 times as long with the former and 1.04 with the latter; those of the DCGAN, the U-Net and
    VGG16 took 0.98, 0.98 and 0.79 with both. Options that this version of XLA lacks are left out.
    """
    import jax  # must not be imported before the restart

    if jax.default_backend() != "cpu":
        return {}
    wanted: dict[str, bool | str] = {
        "xla_cpu_use_fusion_emitters": False,
        "xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED",
    }
    return {option: value for option, value in wanted.items() if _has_option(option, value)}


@cache
def _has_option(option: str, value: bool | str) -> bool:
    """Returns whether this version of XLA has a compile option: compiles one number, in 20 ms."""
    import jax

    try:
        jax.jit(lambda: 0, compiler_options={option: value}).lower().compile()
    except jax.errors.JaxRuntimeError as error:
        if not lacks_compile_option(error):
            raise
        return False
    return True


@cache
def _on_glibc() -> bool:
    return platform.libc_ver()[0] == "glibc"
