"""The accelerator of this machine, and so the package of JAX that it needs.

    python -m common.devices.accelerator      # cpu, cuda12, cuda13 or tpu: extras of pyproject.toml

`make` runs this before anything is installed: its imports need no package.
"""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from common.program.words import counted

# The oldest drivers, from JAX's installation guide, and the oldest GPUs: CUDA 13 drops those before
# Turing.
_CUDA13_DRIVER, _CUDA12_DRIVER = 580, 525
_CUDA13_CAPABILITY = 7.5
_QUERIES = ("name,driver_version,compute_cap", "name,driver_version")  # old drivers know the second

_PCI = Path("/sys/bus/pci/devices")
_GOOGLE = "0x1ae0"
# TPU v2 and v3, v4, v5p, v5e, v6e and 7x; Google's network cards are on the same bus.
_TPUS = ("0x0027", "0x0056", "0x005e", "0x0062", "0x0063", "0x006f", "0x0076")


@dataclass(frozen=True)
class Accelerator:
    """An accelerator: its extra in pyproject.toml, and its name for people."""

    extra: str
    name: str


def find_accelerator(pci: Path = _PCI) -> Accelerator:
    """Returns NVIDIA GPUs found by `nvidia-smi`, else TPUs found on the PCI bus, else the CPU."""
    gpus, wrong = _nvidia_smi()
    why = f"nvidia-smi fails: {wrong}" if wrong else "no NVIDIA GPU or TPU was found"
    return (
        (_nvidia(gpus) if gpus else None)
        or _tpu(pci)
        or Accelerator("cpu", f"the CPU, {os.cpu_count()} cores; {why}")
    )


def _nvidia(gpus: list[tuple[str, str, float]]) -> Accelerator:
    names, (driver, *_), capabilities = zip(*gpus, strict=True)
    found = f"{_counted(names)}; driver {driver}"
    version = int(driver.partition(".")[0])
    if version < _CUDA12_DRIVER:
        return Accelerator(
            "cpu", f"the CPU; JAX needs driver {_CUDA12_DRIVER} or newer for {found}"
        )
    is_new = version >= _CUDA13_DRIVER and min(capabilities) >= _CUDA13_CAPABILITY
    return Accelerator("cuda13" if is_new else "cuda12", found)


def _nvidia_smi() -> tuple[list[tuple[str, str, float]], str]:
    """Returns each GPU's name, driver and compute capability, and the error of nvidia-smi."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return [], ""
    wrong = ""
    for query in _QUERIES:
        command = [program, f"--query-gpu={query}", "--format=csv,noheader"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            return [], str(error)
        rows = re.findall(r"^(.+?), (\d+\.[\d.]+)(?:, (.+))?$", done.stdout, re.MULTILINE)
        if rows:
            # A share of a GPU may lack its capability; GPUs too old for CUDA 13 are seldom shared.
            return [
                (name, driver, float(stated) if stated[:1].isdigit() else _CUDA13_CAPABILITY)
                for name, driver, stated in rows
            ], ""
        lines = (done.stdout + done.stderr).split("\n")
        wrong = lines[0].strip() if done.returncode else ""
    return [], wrong


def _counted(names: tuple[str, ...]) -> str:
    return names[0] if len(names) == 1 else f"{len(names)} GPUs: {', '.join(dict.fromkeys(names))}"


def _tpu(pci: Path) -> Accelerator | None:
    chips = [
        device
        for device in pci.glob("*")
        if _read(device / "vendor") == _GOOGLE and _read(device / "device") in _TPUS
    ]
    return Accelerator("tpu", counted(len(chips), "TPU chip")) if chips else None


def _read(file: Path) -> str:
    return file.read_text().strip() if file.exists() else ""


if __name__ == "__main__":
    accelerator = find_accelerator()
    print(f"computing on {accelerator.name}", file=sys.stderr)
    print(accelerator.extra)
