"""Placing arrays: everything on the devices has a leading axis of all devices.

The devices are those of all processes; each process holds its own rows.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from typing import TypeAlias, TypeVar

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, PyTree

from common.devices.apply import on_all_devices
from common.devices.axis import AXIS, all_devices

_PLACED_AT_ONCE = 2**28  # bytes of a state

Tree = TypeVar("Tree")
Leaf: TypeAlias = Array | np.ndarray | np.generic


@cache
def _sharding() -> NamedSharding:
    return NamedSharding(Mesh(np.array(all_devices()), (AXIS,)), PartitionSpec(AXIS))


def shard(tree: PyTree) -> PyTree:
    """Places host arrays [local devices, ...] as device arrays [devices, ...]."""
    return jax.tree.map(
        lambda x: jax.make_array_from_process_local_data(_sharding(), np.asarray(x)), tree
    )


def replicate(tree: PyTree) -> PyTree:
    """Places a copy of each array on every device: [...] -> [devices, ...]."""
    count = jax.local_device_count()
    return shard(jax.tree.map(lambda x: np.broadcast_to(x, (count, *np.shape(x))), tree))


def place(state: Tree) -> Tree:
    """Replicates a state into memory that the devices own, which a step may overwrite.

    On a CPU the result of `replicate` may share the caller's memory; a step must not overwrite it
    and would copy the whole state first.

    Deletes the JAX arrays of `state`, which must not be used afterwards, so that a new state of
    many GB is not in memory twice. NumPy arrays, as in a restored state, stay the caller's.
    """
    leaves, structure = jax.tree.flatten(state)
    # An average starts as its network's own arrays, which are deleted after their last use.
    uses_left = Counter(map(id, leaves))
    placed = []
    for group in _groups(leaves, _PLACED_AT_ONCE):
        there = replicate(group)
        copy = on_all_devices(lambda x: x).lower(there).compile()
        placed += jax.block_until_ready(copy(there))
        del there
        for leaf in group:
            uses_left[id(leaf)] -= 1
            if isinstance(leaf, jax.Array) and not uses_left[id(leaf)]:
                leaf.delete()
    whole: Tree = jax.tree.unflatten(structure, placed)
    return whole


def stand_in(like: PyTree) -> PyTree:
    """Returns shapes with which programs for placed states can be compiled, without memory.

    Args:
      like: the shapes of a state that is not placed.
    """
    count = jax.local_device_count()
    return jax.tree.map(lambda x: np.broadcast_to(np.zeros((), x.dtype), (count, *x.shape)), like)


def _groups(arrays: Sequence[Leaf], most_bytes: int) -> Iterator[list[Leaf]]:
    """Yields the arrays in groups of at most so many bytes, or of one."""
    group: list[Leaf] = []
    for array in arrays:
        if group and sum(x.nbytes for x in group) + array.nbytes > most_bytes:
            yield group
            group = []
        group.append(array)
    yield group


def unreplicate(tree: Tree) -> Tree:
    """Returns the copy on this process's first device, still on the device."""
    copy: Tree = jax.tree.map(lambda x: x.addressable_data(0)[0], tree)
    return copy


def first_copies(tree: PyTree) -> PyTree:
    """Returns this process's first copy, [1, ...], without copying."""
    return jax.tree.map(lambda x: x.addressable_data(0), tree)


def to_host(tree: Tree) -> Tree:
    """Returns the copy on this process's first device as NumPy arrays that stay unchanged."""
    copy: Tree = jax.tree.map(lambda x: np.array(x.addressable_data(0))[0], tree)
    return copy
