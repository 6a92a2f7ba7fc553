"""Huge memory pages for programs on CPUs.

XLA's CPU client takes large temporary arrays from the C library anew in every step, and the kernel
hands them over page by page; with pages of 2 MB instead of 4 KB an update of the 64x64 AC-GAN took
two thirds of the time (`bench/layers.py` says more). The C library reads its setting only when a
program starts, so this one starts itself again.
"""

import os
import platform
import sys

_NAME, _SETTING = "GLIBC_TUNABLES", "glibc.malloc.hugetlb=1"


def restart_with_huge_pages() -> None:
    """Replaces this process by the same command with huge pages; at most once, glibc only.

    Setting GLIBC_TUNABLES oneself, to anything, turns it off.
    """
    if platform.libc_ver()[0] != "glibc" or _NAME in os.environ or not sys.executable:
        return
    os.environ[_NAME] = _SETTING
    os.execv(sys.executable, sys.orig_argv)
