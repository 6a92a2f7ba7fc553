"""Programs in processes that are forked from one in which the libraries are imported already.

Imports are a good part of what a command of the tests takes; here they are paid for once.
"""

import gc
import multiprocessing
import os
import runpy
import subprocess
import sys
from multiprocessing import forkserver
from pathlib import Path
from unittest import mock

LIBRARIES = (
    "clu.metrics",
    "flax.linen",
    "grain",
    "matplotlib.figure",
    "optax",
    "orbax.checkpoint",
    "PIL.Image",
    "scipy.stats",
    "tensorflow_datasets",
)
SECONDS = 600


def start_fork_server(environment: dict[str, str]) -> None:
    """Starts what `run_forked` forks from, with this environment; it ends with this process."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(list(LIBRARIES))
    with mock.patch.dict(os.environ, environment, clear=True):
        forkserver.ensure_running()


def fork(
    args: list[str], cwd: Path, environment: dict[str, str], folder: Path
) -> multiprocessing.process.BaseProcess:
    """Starts `python ARGS`.

    Args:
      args: a program and its flags.
      cwd: where it runs.
      environment: what differs from the server's. JAX has read its own variables there.
      folder: an empty one, for what it says.
    """
    process = multiprocessing.get_context("forkserver").Process(
        target=_be, args=(args, cwd, environment, folder)
    )
    process.start()
    return process


def run_forked(
    args: list[str], cwd: Path, environment: dict[str, str], folder: Path
) -> subprocess.CompletedProcess:
    """Runs `python ARGS` to its end, as subprocess.run would; see `fork`."""
    process = fork(args, cwd, environment, folder)
    process.join(SECONDS)
    if process.exitcode is None:
        process.kill()
        process.join()
    out, err = ((folder / name).read_text() for name in ("out", "err"))
    return subprocess.CompletedProcess(args, process.exitcode, out, err)


def _be(args: list[str], cwd: Path, environment: dict[str, str], folder: Path) -> None:
    """Becomes the program."""
    gc.freeze()  # else each of its collections of garbage would look through the libraries
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT), number)
    os.environ.update(environment)
    os.chdir(cwd)
    sys.argv = args
    sys.path.insert(0, str(Path(args[0]).resolve().parent))
    runpy.run_path(args[0], run_name="__main__")
