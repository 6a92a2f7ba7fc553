"""Programs of all devices, lowered for hardware that can be named: see hardware.py."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from common.devices.axis import AXIS
from common.devices.hardware import Hardware
from common.ops import forms_for

Shapes = Any  # a tree of jax.ShapeDtypeStruct


@dataclass(frozen=True)
class Program:
    """What each device runs on its share, and the shapes of what all devices are given together.

    Attributes:
      function: of one device's share; may reduce over the axis `AXIS`.
      arguments: the shapes of each argument, of all devices together.
      shared: the numbers of the arguments whose rows are shared out among the devices; each device
        has the others whole.
      donated: the numbers of the arguments whose memory the results may reuse.
      shares_result: whether each device returns its own rows; else all return the same.
    """

    function: Callable[..., object]
    arguments: tuple[Shapes, ...]
    shared: tuple[int, ...]
    donated: tuple[int, ...] = ()
    shares_result: bool = False


def lower(program: Program, hardware: Hardware) -> jax.stages.Lowered:
    """Lowers a program in the forms that are fastest on some hardware.

    The result compiles with `.compile(compiler_options=hardware.compiler_options)`. Every shared
    argument's number of rows must be a multiple of the devices.
    """
    mesh = Mesh(np.array(hardware.devices), (AXIS,))
    rows, whole = PartitionSpec(AXIS), PartitionSpec()
    parts = [rows if i in program.shared else whole for i in range(len(program.arguments))]

    def lying(shapes: Shapes, part: PartitionSpec) -> Shapes:
        sharding = NamedSharding(mesh, part)
        return jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), shapes
        )

    mapped = jax.shard_map(
        program.function,
        mesh=mesh,
        in_specs=tuple(parts),
        out_specs=rows if program.shares_result else whole,
        check_vma=False,
    )
    with forms_for(hardware.platform):
        return jax.jit(mapped, donate_argnums=program.donated).lower(
            *map(lying, program.arguments, parts)
        )


def operations_before_compiling(program: Program, hardware: Hardware) -> float:
    """Returns what XLA counts of one device's share, in the forms for some hardware.

    Nothing is fused yet, so bytes would say little. A compiler without a device counts nothing by
    itself: the share is lowered as if for one CPU.
    """
    share = [
        jax.tree.map(lambda x: _rows(x, x.shape[0] // len(hardware.devices)), shapes)
        if i in program.shared
        else shapes
        for i, shapes in enumerate(program.arguments)
    ]
    one = Hardware(hardware.name, hardware.platform, jax.local_devices(backend="cpu")[:1])
    cost = lower(replace(program, arguments=tuple(share)), one).cost_analysis() or {}
    return float(cost.get("flops", math.nan))


def _rows(x: jax.ShapeDtypeStruct, number: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((number, *x.shape[1:]), x.dtype)
