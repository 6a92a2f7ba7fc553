"""Which of JAX's packages a machine needs, by what its driver or its bus says."""

import os

import jax
import pytest

from common.devices.accelerator import Accelerator, find_accelerator
from common.program.log import log
from common.training.start import warn_of_idle_accelerator

NO_BUS = "there is no such folder"


@pytest.fixture
def nvidia_smi(tmp_path, monkeypatch):
    """Puts an nvidia-smi that says given lines first on the PATH; only it is there."""

    def says(*lines, code=0):
        program = tmp_path / "bin" / "nvidia-smi"
        program.parent.mkdir()
        words = "\n".join(lines)
        program.write_text(f"#!/bin/sh\n/bin/cat <<'EOF'\n{words}\nEOF\nexit {code}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(program.parent))

    return says


@pytest.mark.parametrize(
    ("line", "extra"),
    [
        ("NVIDIA H100 80GB HBM3, 580.65.06, 9.0", "cuda13"),
        ("NVIDIA GeForce RTX 2080 Ti, 590.10, 7.5", "cuda13"),
        ("NVIDIA H100 80GB HBM3, 579.99, 9.0", "cuda12"),
        ("NVIDIA GeForce RTX 4090, 550.54.14, 8.9", "cuda12"),
        ("Tesla V100-SXM2-16GB, 580.65.06, 7.0", "cuda12"),  # CUDA 13 is without Volta
        ("Tesla P100-PCIE-16GB, 525.60.13, 6.0", "cuda12"),
        ("Tesla P100-PCIE-16GB, 470.82.01, 6.0", "cpu"),  # the driver is older than CUDA 12
    ],
)
def test_the_drivers_version_and_the_gpu_decide_which_cuda(nvidia_smi, tmp_path, line, extra):
    nvidia_smi(line)
    found = find_accelerator(tmp_path / NO_BUS)
    assert found.extra == extra
    assert line.split(",")[0] in found.name and line.split(", ")[1] in found.name


def test_the_oldest_of_many_gpus_decides(nvidia_smi, tmp_path):
    nvidia_smi("NVIDIA H100, 580.65.06, 9.0", "Tesla V100-SXM2-16GB, 580.65.06, 7.0")
    found = find_accelerator(tmp_path / NO_BUS)
    assert found == Accelerator(
        "cuda12", "2 GPUs: NVIDIA H100, Tesla V100-SXM2-16GB; driver 580.65.06"
    )


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.", 9),
        ("No devices were found", 6),
        ("", 0),
    ],
)
def test_a_driver_without_a_gpu_is_none(nvidia_smi, tmp_path, line, code):
    nvidia_smi(line, code=code)
    assert find_accelerator(tmp_path / NO_BUS).extra == "cpu"


def test_a_driver_that_is_too_old_to_be_asked_what_a_gpu_can_is_said(tmp_path, monkeypatch):
    program = tmp_path / "nvidia-smi"
    no_field = 'Field "compute_cap" is not a valid field to query.'
    lines = ("case $1 in", f"*compute_cap*) echo '{no_field}'; exit 2;;", "esac")
    program.write_text("\n".join(("#!/bin/sh", *lines, "echo 'Tesla K80, 470.82.01'\n")))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = find_accelerator(tmp_path / NO_BUS)
    assert found.extra == "cpu"
    assert "JAX needs driver 525 or newer for Tesla K80; driver 470.82.01" in found.name


def test_a_driver_that_fails_is_not_taken_for_none(nvidia_smi, tmp_path):
    nvidia_smi("Failed to initialize NVML: Driver/library version mismatch", code=18)
    found = find_accelerator(tmp_path / NO_BUS)
    assert found.extra == "cpu"
    assert "nvidia-smi fails: Failed to initialize NVML: Driver/library" in found.name


def test_a_gpu_that_does_not_say_what_it_can_is_taken_by_its_driver(nvidia_smi, tmp_path):
    nvidia_smi("GRID A100-10C, 580.65.06, [N/A]")
    assert find_accelerator(tmp_path / NO_BUS).extra == "cuda13"


def on_the_bus(pci, *chips):
    for number, (vendor, device) in enumerate(chips):
        (pci / str(number)).mkdir(parents=True)
        (pci / str(number) / "vendor").write_text(f"{vendor}\n")
        (pci / str(number) / "device").write_text(f"{device}\n")
    return pci


def test_a_tpu_is_found_on_the_bus_and_a_network_card_of_google_is_none(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    card, tpu = ("0x1ae0", "0x0042"), ("0x1ae0", "0x0063")
    assert find_accelerator(on_the_bus(tmp_path / "plain", card)).extra == "cpu"
    found = find_accelerator(on_the_bus(tmp_path / "tpu", card, tpu, tpu))
    assert found == Accelerator("tpu", "2 TPU chips")
    assert find_accelerator(on_the_bus(tmp_path / "one", tpu)).name == "1 TPU chip"


@pytest.fixture
def said(monkeypatch):
    lines = []
    monkeypatch.setattr(log, "warning", lambda line, *values: lines.append(line % values))
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    return lines


def test_a_gpu_that_jax_does_not_use_is_said_with_what_to_install(nvidia_smi, said):
    nvidia_smi("NVIDIA GeForce RTX 4090, 550.54.14, 8.9")
    warn_of_idle_accelerator()
    (line,) = said
    assert "NVIDIA GeForce RTX 4090" in line and "computes on the CPU" in line
    assert "pip install -e '.[cuda12]'" in line


def test_nothing_is_said_without_a_gpu_with_jax_on_it_or_where_the_cpu_is_meant(
    nvidia_smi, said, monkeypatch
):
    monkeypatch.setenv("PATH", os.devnull)
    warn_of_idle_accelerator()
    nvidia_smi("NVIDIA GeForce RTX 4090, 550.54.14, 8.9")
    with monkeypatch.context() as patch:
        patch.setattr(jax, "default_backend", lambda: "gpu")
        warn_of_idle_accelerator()
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    warn_of_idle_accelerator()
    assert said == []
