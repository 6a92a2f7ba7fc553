"""Memory of programs on CPUs: huge pages, giving back what is no longer needed, needing less.

XLA's CPU client takes large temporary arrays from the C library anew in every step, and the kernel
hands them over page by page; with pages of 2 MB instead of 4 KB an update of the 64x64 AC-GAN took
four fifths of the time. The C library reads its setting only when a program starts, so this one
starts itself again.
"""

import ctypes
import gc
import os
import platform
import signal
import sys
from functools import cache

from common.program.interrupts import SIGNALS

_NAME, _SETTING = "GLIBC_TUNABLES", "glibc.malloc.hugetlb=1"


def restart_with_huge_pages() -> None:
    """Replaces this process by the same command with huge pages; at most once, glibc only.

    Setting GLIBC_TUNABLES oneself, to anything, turns it off.
    """
    if not _on_glibc() or _NAME in os.environ or not sys.executable:
        return
    os.environ[_NAME] = _SETTING
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # until the same command listens to them
    os.execv(sys.executable, sys.orig_argv)


def give_back_freed_memory() -> None:
    """Collects garbage and, with glibc, hands what was freed back to the system.

    Tracing and compiling take several hundred MB, which Python and the C library would keep: right
    after it the C library's part of this call shrank the process of the DCGAN from 1,092 to 617
    MiB, that of the U-Net from 1,335 to 731.
    """
    gc.collect()
    trim_freed_memory()


def trim_freed_memory() -> None:
    """Hands what the C library keeps of freed memory back to the system, with glibc.

    Threads that write pictures and checkpoints free memory in many places, and the C library keeps
    the holes: of the 64x64 AC-GAN they grew by 10 MB a minute while what was in use did not.
    """
    if _on_glibc():
        ctypes.CDLL(None).malloc_trim(0)


def low_memory_options() -> dict[str, bool | str]:
    """Returns how XLA is asked for programs that need less memory on a CPU; elsewhere nothing.

    With its emitters of before the "fusion emitters", which JAX 0.12 has no more, the compilation
    of the U-Net took 0.83 GiB instead of 1.29; with its other schedule a step of VGG16 made do with
    1.56 GiB beside the state instead of 2.14, one of the DCGAN with 0.35 instead of 0.49. The
    AC-GAN's steps took 1.18 times as long with the former and 1.04 with the latter; those of the
    DCGAN, the U-Net and VGG16 took 0.98, 0.98 and 0.79 with both. What this version of XLA does not
    have is not asked for.
    """
    import jax  # which must not be imported before the program has started itself again

    if jax.default_backend() != "cpu":
        return {}
    wanted: dict[str, bool | str] = {
        "xla_cpu_use_fusion_emitters": False,
        "xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED",
    }
    return {option: value for option, value in wanted.items() if _has_option(option, value)}


@cache
def _has_option(option: str, value: bool | str) -> bool:
    """Says whether this version of XLA knows a compile option: it compiles one number, in 20 ms."""
    import jax

    try:
        jax.jit(lambda: 0, compiler_options={option: value}).lower().compile()
    except jax.errors.JaxRuntimeError as error:
        if "No such compile option" not in str(error):
            raise
        return False
    return True


@cache
def _on_glibc() -> bool:
    return platform.libc_ver()[0] == "glibc"
