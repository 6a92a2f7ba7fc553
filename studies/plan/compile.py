"""Compiles an experiment's programs for named hardware."""

import math
import time
from collections.abc import Iterator

import jax
from ml_collections import ConfigDict

from common.data.prepared.prepared import DataCard
from common.devices.exchanged import exchanges_of
from common.devices.hardware import Hardware
from common.devices.lowering import Program, lower, operations_before_compiling
from common.program.errors import UserError
from common.program.library_errors import is_out_of_memory
from common.program.log import log
from common.training.programs import programs_of
from common.training.task import make_task
from studies.plan.estimate import Compiled

TRAINING = "train_step"
_MORE = (16, 2)  # times the batch, to see how memory grows: the first that the compiler takes


def batch_of_a_chip(config: ConfigDict, card: DataCard, chips: int, named: int = 0) -> int:
    """Returns the examples that a chip takes in a step.

    Args:
      config: of the experiment.
      card: of its data.
      chips: how many.
      named: what is wanted; 0 spreads the config's batch, at least one of each of its parts a chip.

    Raises:
      UserError: a chip can't have the same share of each part.
    """
    whole = config.data.batch_size
    parts = whole // make_task(config, card).batches.size
    if named % parts:
        raise UserError(
            f"--batch_per_chip is {named}, but a batch of this experiment has {parts} parts, which"
            f" each chip shares; give a multiple of {parts}."
        )
    return named or parts * max(1, whole // (parts * chips))


def compile_programs(
    config: ConfigDict, card: DataCard, hardware: Hardware, batch: int, names: tuple[str, ...] = ()
) -> Iterator[Compiled]:
    """Yields an experiment's programs, compiled as they would run on all chips of the hardware.

    Args:
      config: of the experiment.
      card: of its data.
      hardware: to compile for.
      batch: examples that a chip takes in a step.
      names: of the programs; () for all.
    """
    own = ConfigDict(config.to_dict())
    own.data.batch_size = batch * len(hardware.devices)
    programs = programs_of(make_task(own.lock(), card), card)
    for name in names or tuple(programs):
        log.info("compiling %s for %s, batch %d a chip", name, hardware.name, batch)
        yield _compile(name, programs[name], hardware, batch)


def compile_larger(
    config: ConfigDict, card: DataCard, hardware: Hardware, own: Compiled, memory: float
) -> Compiled | None:
    """Returns the training step with a larger batch; None if no larger one can be compiled.

    Args:
      config: of the experiment.
      card: of its data.
      hardware: to compile for.
      own: the training step with its own batch.
      memory: bytes of a chip. A compiler tries for long what can't fit, so that is left out.
    """
    for times in _MORE:
        if times > 2 and own.arguments + times * own.temporaries + own.code > memory:
            continue
        try:
            return next(compile_programs(config, card, hardware, times * own.batch, (TRAINING,)))
        except jax.errors.JaxRuntimeError as error:
            if not is_out_of_memory(error):
                raise
    return None


def _compile(name: str, program: Program, hardware: Hardware, batch: int) -> Compiled:
    lowered = lower(program, hardware)
    began = time.perf_counter()
    compiled = lowered.compile(compiler_options=hardware.compiler_options)
    seconds = time.perf_counter() - began
    memory, cost = compiled.memory_analysis(), compiled.cost_analysis() or {}
    assert memory is not None, "compilers for chips say what memory a program needs"
    return Compiled(
        program=name,
        hardware=hardware.name,
        chips=len(hardware.devices),
        batch=batch,
        seconds=seconds,
        arguments=memory.argument_size_in_bytes,
        temporaries=memory.temp_size_in_bytes
        + max(0, memory.output_size_in_bytes - memory.alias_size_in_bytes),
        code=memory.generated_code_size_in_bytes,
        operations=float(cost["flops"])
        if "flops" in cost
        else operations_before_compiling(program, hardware),  # CUDA's compiler counts none
        traffic=float(cost.get("bytes accessed", math.nan)),
        operations_by="XLA" if "flops" in cost else "XLA, before it compiles",
        exchanges=tuple(exchanges_of(compiled.as_text() or "")),
    )
