"""Hardware by name, also such as this machine does not have: XLA's compilers need no chips.

"here" is this machine's; "v5e:2x4" eight chips of a TPU v5e, named as XLA names them; "h100:8"
eight GPUs of one host. Needs JAX only where it says so, because `prepare_environment` comes before.
"""

import importlib.util
import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from common.program.errors import UserError

if TYPE_CHECKING:  # of what needs JAX
    from collections.abc import Sequence

    import jax

    from common.ops import Target

HERE = "here"

_TPU = re.compile(r"(v4|v5e|v5p|v6e|tpu7x):\d+x\d+(x\d+)?")
_GPU = re.compile(r"(h100):(\d+)")

_CUDA_PLUGIN, _CUDA_COMPILER, _TPU_COMPILER = "jax_plugins.xla_cuda12", "nvidia.cuda_nvcc", "libtpu"
# In XLA's words, by NVIDIA's published figures.
_CARDS = {
    "h100": """
gpu_device_info {
  threads_per_block_limit: 1024 threads_per_warp: 32 shared_memory_per_block: 49152
  shared_memory_per_core: 233472 threads_per_core_limit: 2048 core_count: 132 fpus_per_core: 128
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  memory_bandwidth: 3352320000000 l2_cache_size: 52428800 clock_rate_ghz: 1.98
  device_memory_size: 84929347584 shared_memory_per_block_optin: 232448
  cuda_compute_capability { major: 9 minor: 0 } registers_per_core_limit: 65536
  registers_per_block_limit: 65536
}
platform_name: "CUDA" dnn_version_info { major: 9 minor: 10 patch: 0 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""
}


@dataclass(frozen=True)
class Hardware:
    """Devices to compile for.

    Attributes:
      name: as given.
      platform: which forms of the operations are fastest on it.
      devices: in the order of the batch's rows.
      compiler_options: of XLA, for devices that are not here.
    """

    name: str
    platform: "Target"
    devices: "Sequence[jax.Device]"
    compiler_options: dict[str, str | bool] = field(default_factory=dict)


def platform_of(name: str) -> "Target | None":
    """Returns the platform of hardware that is not here; None for this machine's.

    Raises:
      UserError: the name is unknown.
    """
    if name == HERE:
        return None
    if _TPU.fullmatch(name):
        return "tpu"
    if _GPU.fullmatch(name):
        return "gpu"
    raise UserError(
        f"'{name}' is no hardware that can be compiled for; name '{HERE}', a TPU such as v5e:2x4,"
        " v4:4x4x4, v5p:8x8x8, v6e:16x16 or tpu7x:4x4x4, or GPUs such as h100:8."
    )


def missing_package(name: str) -> str:
    """Returns which package is missing to compile for some hardware; "" if none is."""
    needed = {"tpu": (_TPU_COMPILER,), "gpu": (_CUDA_PLUGIN, _CUDA_COMPILER)}
    platform = platform_of(name)
    packages = needed.get(platform, ()) if platform else ()
    return next((package for package in packages if not _is_installed(package)), "")


def _is_installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:
        return False


def prepare_environment(name: str) -> None:
    """Lets XLA find its compilers and look for no chip; call it before JAX is imported.

    Raises:
      UserError: a package is missing.
    """
    if package := missing_package(name):
        raise UserError(
            f"Compiling for {name} needs the package {package.partition('.')[0]}, which is not"
            " installed; install it with pip install -e '.[plan]'."
        )
    platform = platform_of(name)
    if platform is None:
        return
    os.environ["JAX_PLATFORMS"] = "cpu"
    if platform == "tpu":
        os.environ.update(TPU_SKIP_MDS_QUERY="1", TPU_ACCELERATOR_TYPE="v5litepod-8")
        os.environ["TPU_WORKER_HOSTNAMES"] = "localhost"
        return
    spec = importlib.util.find_spec(_CUDA_COMPILER)
    assert spec is not None and spec.submodule_search_locations
    folder = spec.submodule_search_locations[0]
    os.environ["XLA_FLAGS"] = f"--xla_gpu_cuda_data_dir={folder}"
    os.environ["PATH"] = f"{folder}/bin{os.pathsep}{os.environ['PATH']}"


def find_hardware(name: str) -> Hardware:
    """Returns the hardware of a name; imports JAX.

    Raises:
      UserError: the name is unknown.
    """
    import jax
    from jax.experimental import topologies

    from common.devices.axis import all_devices

    platform = platform_of(name)
    if platform is None:
        here: Any = jax.default_backend()
        return Hardware(name, here if here in ("cpu", "tpu") else "gpu", all_devices())
    if platform == "tpu":
        found = topologies.get_topology_desc(topology_name=name, platform="tpu")
        return Hardware(name, platform, found.devices)
    card, number = name.split(":")
    found = topologies.get_topology_desc(
        "", platform="cuda", target_config=_CARDS[card], topology=f"1x1x{number}"
    )
    # There is nothing to tune on.
    return Hardware(name, platform, found.devices, {"xla_gpu_autotune_level": "0"})
