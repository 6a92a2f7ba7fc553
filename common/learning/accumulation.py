"""The gradient of a batch in parts, one after the other: memory for the activations of one part.

Whatever looks at several images, such as BatchNorm, sees those of a part; its running statistics
move with each part. Without it, the gradient is that of the whole batch.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

from common.learning.barrier import in_order
from common.learning.network import Variables

Tree = TypeVar("Tree")
Part = TypeVar("Part")
Output = TypeVar("Output")


def parts_of(rows: Tree, number: int) -> list[Tree]:
    """Returns so many parts of equal size of a tree of arrays [batch, ...]."""
    if number == 1:
        return [rows]

    def part(i: int) -> Tree:
        def of_array(x: Array) -> Array:
            size = len(x) // number
            return x[i * size : (i + 1) * size]

        share: Tree = jax.tree.map(of_array, rows)
        return share

    return [part(i) for i in range(number)]


def mean_gradient(
    gradient_of: Callable[[Variables, Part], tuple[Variables, tuple[Variables, Output]]],
    params: Variables,
    batch_stats: Variables,
    parts: Sequence[Part],
    always: Bool[Array, ""],
) -> tuple[Variables, Variables, list[Output]]:
    """Returns the mean gradient of parts, the running statistics after them, and each one's output.

    Args:
      gradient_of: running statistics, part -> gradient, (running statistics, output).
      params: whose gradient it is.
      batch_stats: before the first part.
      parts: of equal size.
      always: see `in_order`.
    """
    number = len(parts)
    if number == 1:
        gradient, (batch_stats, output) = gradient_of(batch_stats, parts[0])
        return gradient, batch_stats, [output]

    def added(
        carry: tuple[Variables, Variables], part: Part
    ) -> tuple[tuple[Variables, Variables], Output]:
        total, batch_stats = carry
        more, (batch_stats, output) = gradient_of(batch_stats, part)
        return (jax.tree.map(lambda x, new: x + new / number, total, more), batch_stats), output

    nothing = jax.tree.map(jnp.zeros_like, params)
    (gradient, batch_stats), outputs = in_turn(added, (nothing, batch_stats), parts, always)
    return gradient, batch_stats, outputs


def in_turn(
    function: Callable[[Tree, Part], tuple[Tree, Output]],
    carry: Tree,
    parts: Sequence[Part],
    always: Bool[Array, ""],
) -> tuple[Tree, list[Output]]:
    """Returns the last carry and all outputs, as `jax.lax.scan` does, one part after the other.

    It is written out, because convolutions are slow in loops on CPUs.
    """
    outputs = []
    for waiting in parts:
        carry, part = in_order(always, (carry, waiting))
        carry, output = function(carry, part)
        outputs.append(output)
    return carry, outputs


def joined(outputs: Sequence[Tree]) -> Tree:
    """Returns the outputs of several parts, numbers and arrays [part, ...], one after the other."""
    if len(outputs) == 1:
        return outputs[0]
    rows: Tree = jax.tree.map(lambda *x: jnp.concatenate([jnp.atleast_1d(y) for y in x]), *outputs)
    return rows
