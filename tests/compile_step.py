"""Traces and compiles the programs of a config for hardware that this machine does not have.

`python -m tests.compile_step CONFIG HARDWARE [PROGRAM [tiny]]` prints, as JSON, bytes of one chip
and how often its program exchanges arrays with the others.
"""

import importlib.util
import inspect
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from common.devices.hardware import prepare_environment


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
        has_targets=config.task == "translate",
        class_counts=(500, 500),
    )


def check_step(config: Any) -> None:
    """Traces a step of an experiment, which must return a state like the one that it takes."""
    import jax

    from common.devices.axis import AXIS
    from common.training.programs import programs_of
    from common.training.task import make_task

    card = card_of(config)
    step = programs_of(make_task(config, card), card)["train_step"]
    state, batch, key, frozen = step.arguments
    one = jax.tree.map(lambda x: jax.ShapeDtypeStruct((1, *x.shape), x.dtype), (state, batch))
    after, _ = jax.eval_shape(
        jax.vmap(step.function, (0, 0, None, None), axis_name=AXIS), *one, key, frozen
    )
    for before, leaf in zip(*map(jax.tree.leaves, (one[0], after)), strict=True):
        assert (leaf.shape, leaf.dtype) == (before.shape, before.dtype)


@contextmanager
def counting_batch_norms() -> Iterator[list[str]]:
    """Yields the paths of the BatchNorms that look at a batch, one each time that they do."""
    from flax import linen as nn

    from common.networks.layers import BatchNorm

    found: list[str] = []

    def counted(call: Any, args: Any, keywords: Any, context: Any) -> Any:
        if isinstance(context.module, BatchNorm) and context.method_name == "__call__":
            bound = inspect.signature(BatchNorm.__call__).bind(context.module, *args, **keywords)
            if not bound.arguments["use_running_average"]:
                found.append("/".join(context.module.path))
        return call(*args, **keywords)

    with nn.intercept_methods(counted):
        yield found


def main(config_file: str, name: str, program: str = "train_step", arg: str = "") -> None:
    """Prints what the compiled program says of itself."""
    prepare_environment(name)
    import jax

    from common.devices.exchanged import exchanges_of
    from common.devices.hardware import find_hardware
    from common.devices.lowering import lower
    from common.training.programs import programs_of
    from common.training.task import make_task

    spec = importlib.util.spec_from_file_location("experiment", config_file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config, hardware = module.get_config(arg), find_hardware(name)
    chips = len(hardware.devices)
    config.data.batch_size = -(-config.data.batch_size // chips) * chips
    card = card_of(config)
    found = programs_of(make_task(config, card), card)[program]
    with counting_batch_norms() as batch_norms:
        lowered = lower(found, hardware)
    compiled = lowered.compile(compiler_options=hardware.compiler_options)
    memory, exchanges = compiled.memory_analysis(), exchanges_of(compiled.as_text() or "")
    assert memory is not None
    said = {
        "config": Path(config_file).stem,
        "state": sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(found.arguments[0])),
        "arguments": memory.argument_size_in_bytes,
        "aliased": memory.alias_size_in_bytes,
        "temporaries": memory.temp_size_in_bytes,
        "program": memory.generated_code_size_in_bytes,
        "batch_norms": len(batch_norms),
        "exchanges": len(exchanges),
        "all_reduces": sum(one.kind == "all-reduce" for one in exchanges),
        "all_gathers": sum(one.kind == "all-gather" for one in exchanges),
        "all_reduced_bytes": sum(one.bytes for one in exchanges if one.kind == "all-reduce"),
        "exchanged_bytes": sum(one.bytes for one in exchanges),
    }
    print(json.dumps(said))


if __name__ == "__main__":
    main(*sys.argv[1:])
