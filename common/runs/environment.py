"""What a run ran with and on, for its record."""

import importlib.metadata
import platform
import shlex
import subprocess
import sys
from pathlib import Path

import jax


def environment() -> dict[str, object]:
    """Returns the command, versions, the git commit of this code and the devices, for run.json."""
    packages = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "triptych")
    versions = {"python": platform.python_version()}
    for package in packages:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "command": _command(),
        "versions": versions,
        "git_commit": _git_commit(),
        "devices": {
            "platform": jax.default_backend(),
            "kind": jax.devices()[0].device_kind,
            "count": jax.device_count(),
            "processes": jax.process_count(),
        },
    }


def _command() -> str:
    """Returns the command line; of a notebook, whose own says nothing, what stands in it."""
    if Path(sys.argv[0]).name.endswith("kernel_launcher.py"):  # Jupyter's and Colab's
        return "triptych.train(config, workdir) in a notebook"
    return shlex.join(["python", *sys.argv])


def _git_commit() -> str:
    """Returns the commit of the code, with "-modified" if files differ from it, or ""."""
    root = Path(__file__).parents[2]
    command = ["git", "-C", str(root), "describe", "--always", "--abbrev=40", "--dirty=-modified"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
