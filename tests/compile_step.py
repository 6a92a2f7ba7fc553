"""Compiles the training step of a config for eight chips that this machine does not have.

`python -m tests.compile_step CONFIG tpu|gpu` prints, as JSON, bytes of one chip and how often its
program exchanges arrays with the others. It needs the chips' compilers, which pip installs without
any chip: libtpu, or JAX's plug-in for CUDA with NVIDIA's nvcc.
"""

import importlib.util
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

CHIPS = 8
# The H100 in XLA's words, by NVIDIA's published figures.
H100 = """
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
CUDA_COMPILER = "nvidia.cuda_nvcc"  # the package that has ptxas


def missing(target: str) -> str:
    """Returns which package is missing to compile for a target; "" if none."""
    needed = {"tpu": ["libtpu"], "gpu": ["jax_plugins.xla_cuda12", CUDA_COMPILER]}[target]
    for name in needed:
        try:
            found = importlib.util.find_spec(name)
        except ModuleNotFoundError:
            found = None
        if found is None:
            return name
    return ""


def prepare_environment(target: str) -> None:
    """Lets XLA find the compilers and look for no chip; called before JAX is imported."""
    os.environ["JAX_PLATFORMS"] = "cpu"
    if target == "tpu":
        os.environ.update(TPU_SKIP_MDS_QUERY="1", TPU_ACCELERATOR_TYPE="v5litepod-8")
        os.environ["TPU_WORKER_HOSTNAMES"] = "localhost"
        return
    spec = importlib.util.find_spec(CUDA_COMPILER)
    assert spec is not None and spec.submodule_search_locations
    folder = spec.submodule_search_locations[0]
    os.environ["XLA_FLAGS"] = f"--xla_gpu_cuda_data_dir={folder}"
    os.environ["PATH"] = f"{folder}/bin{os.pathsep}{os.environ['PATH']}"


def chips(target: str) -> list[Any]:
    """Returns eight chips that can be compiled for, and nothing else."""
    from jax.experimental import topologies

    if target == "tpu":
        return topologies.get_topology_desc(topology_name="v5e:2x4", platform="tpu").devices
    return topologies.get_topology_desc(
        "", platform="cuda", target_config=H100, topology=f"1x1x{CHIPS}"
    ).devices


def card_of(config: Any) -> Any:
    """Returns what a task has to know of data as an experiment's own."""
    from common.data.prepared.prepared import DataCard

    return DataCard(
        name="given",
        classes=("a", "b"),
        num_examples={"train": 1000, "val": 100, "test": 100},
        image_size=config.data.image_size or 64,  # 0: as the images are
        channels=config.data.channels or 1,
        fingerprint="",
        synthetic=False,
        skipped=0,
        mask_classes=("background", "tumour") if config.task == "unet" else (),
        class_counts=(500, 500),
    )


def shapes_of_step(task: Any, config: Any) -> tuple[Any, dict[str, Any]]:
    """Returns the shapes of the state and of the batch that a step takes, on all devices."""
    import jax
    import numpy as np

    card = card_of(config)
    size, num = card.image_size, task.batches.examples
    batch = {
        "image": jax.ShapeDtypeStruct((num, size, size, card.channels), np.uint8),
        "label": jax.ShapeDtypeStruct((num,), np.int32),
        "position": jax.ShapeDtypeStruct((num,), np.int32),
    }
    if card.mask_classes:
        batch["mask"] = jax.ShapeDtypeStruct((num, size, size), np.uint8)
    return jax.eval_shape(task.init, jax.random.key(0)), batch


def check_step(config: Any) -> None:
    """Traces a step of an experiment, which must return a state like the one that it takes."""
    import jax

    from common.devices.axis import AXIS
    from common.training.task import make_task

    task = make_task(config, card_of(config))
    state, batch = shapes_of_step(task, config)
    one = jax.tree.map(lambda x: jax.ShapeDtypeStruct((1, *x.shape), x.dtype), (state, batch))
    step = jax.vmap(lambda s, b: task.train_step(s, b, jax.random.key(0)), axis_name=AXIS)
    after, _ = jax.eval_shape(step, *one)
    for before, leaf in zip(*map(jax.tree.leaves, (one[0], after)), strict=True):
        assert (leaf.shape, leaf.dtype) == (before.shape, before.dtype)


def compile_step(config: Any, target: str) -> tuple[Any, Any]:
    """Returns a step compiled for eight chips, the state donated, and the shapes of the state."""
    import jax
    import numpy as np
    from jax.sharding import Mesh, NamedSharding, PartitionSpec

    from common.devices.axis import AXIS
    from common.ops import forms_for
    from common.training.task import make_task

    task = make_task(config, card_of(config))
    mesh = Mesh(np.array(chips(target)), (AXIS,))
    spread, whole = PartitionSpec(AXIS), PartitionSpec()

    def lying(part: PartitionSpec, tree: Any) -> Any:
        sharding = NamedSharding(mesh, part)
        return jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree
        )

    state, batch = shapes_of_step(task, config)
    key = jax.eval_shape(lambda: jax.random.key_data(jax.random.key(0)))

    def train_step(state: Any, batch: Any, key: Any) -> Any:
        return task.train_step(state, batch, jax.random.wrap_key_data(key))

    step = jax.shard_map(
        train_step, mesh=mesh, in_specs=(whole, spread, whole), out_specs=whole, check_vma=False
    )
    with forms_for(target):  # type: ignore[arg-type]  # one of the two words that main() takes
        lowered = jax.jit(step, donate_argnums=0).lower(
            lying(whole, state), lying(spread, batch), lying(whole, key)
        )
    options: dict[str, str | bool] = {}
    if target == "gpu":
        options["xla_gpu_autotune_level"] = "0"  # there is nothing to tune on
    return lowered.compile(compiler_options=options), state


def main(config_file: str, target: str) -> None:
    """Prints what the compiled step says of itself."""
    prepare_environment(target)
    import jax

    spec = importlib.util.spec_from_file_location("experiment", config_file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = module.get_config()
    config.data.batch_size = -(-config.data.batch_size // CHIPS) * CHIPS
    compiled, state = compile_step(config, target)
    memory = compiled.memory_analysis()
    text = compiled.as_text()
    said = {
        "config": Path(config_file).stem,
        "state": sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state)),
        "arguments": memory.argument_size_in_bytes,
        "aliased": memory.alias_size_in_bytes,
        "temporaries": memory.temp_size_in_bytes,
        "program": memory.generated_code_size_in_bytes,
        "all_reduces": len(re.findall(r" all-reduce(?:-start)?\(", text)),
    }
    print(json.dumps(said))


if __name__ == "__main__":
    main(*sys.argv[1:])
