"""Functions of one device's share, applied on many devices: the only file that says `pmap`."""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np
from jax.stages import Lowered
from jaxtyping import Array, PyTree, Shaped

from common.devices.axis import AXIS, all_devices
from common.program.memory import give_back_freed_memory, low_memory_options


@runtime_checkable
class Mapped(Protocol):
    """A function on many devices."""

    def __call__(self, *arguments: PyTree) -> PyTree:
        """Computes."""
        ...

    def lower(self, *arguments: PyTree) -> Lowered:
        """Returns its program, which can be compiled."""
        ...


def on_all_devices(
    function: Callable[..., PyTree], *, in_axes: PyTree = 0, donate_argnums: tuple[int, ...] = ()
) -> Mapped:
    """Maps a function of one device's share to one of arrays [devices, ...], to be compiled.

    The devices are those of all processes. With several processes call the result of
    `.lower(...).compile()`: `pmap` itself takes and returns this process's rows only.

    Args:
      function: may reduce over the axis `AXIS`.
      in_axes: as in `jax.vmap`.
      donate_argnums: arguments whose memory the results may reuse.
    """
    mapped: Mapped = jax.pmap(
        function, AXIS, in_axes=in_axes, donate_argnums=donate_argnums, devices=all_devices()
    )
    return mapped


def on_local_devices(function: Callable[..., PyTree]) -> Mapped:
    """Maps a function of one device's share to one of arrays [this process's devices, ...]."""
    mapped: Mapped = jax.pmap(function, AXIS, devices=jax.local_devices())
    return mapped


def spread(function: Callable[..., PyTree], constants: PyTree) -> Callable[..., PyTree]:
    """Returns arrays [num, ...] -> function(constants, *arrays), on all devices of this process.

    `num` must be a multiple of their number; the result has a leading axis of devices,
    [devices, each, ...]. It returns at once, before the devices have finished: reading it waits.
    """
    devices = jax.local_devices()
    mapped = on_local_devices(function)
    placed = jax.tree.map(lambda x: np.broadcast_to(x, (len(devices), *np.shape(x))), constants)
    if jax.tree.leaves(placed):
        placed = on_local_devices(lambda x: x)(placed)

    programs: dict[Any, Any] = {}

    def run(*arrays: Shaped[np.ndarray, "num ..."]) -> PyTree:
        rows = [x.reshape(len(devices), -1, *x.shape[1:]) for x in arrays]
        shapes = tuple((x.shape, x.dtype) for x in rows)
        if shapes not in programs:
            programs[shapes] = mapped.lower(placed, *rows).compile(low_memory_options())
            give_back_freed_memory()
        return programs[shapes](placed, *rows)

    return run


def in_batches(
    function: Callable[..., Array], constants: PyTree, batch: int
) -> Callable[..., Shaped[np.ndarray, "num ..."]]:
    """Returns arrays of any length -> function(constants, *arrays), on all devices of this process.

    One program serves all lengths: it takes `batch` rows at a time, rounded up to a multiple of the
    devices; the last batch is padded with the last row.
    """
    size = shared_batch(batch)
    run = spread(function, constants)
    return lambda *arrays: by_batches(lambda *rows: without_devices(run(*rows)), size, *arrays)


def by_batches(
    function: Callable[..., Array | np.ndarray], size: int, *arrays: Shaped[np.ndarray, "num ..."]
) -> Shaped[np.ndarray, "num ..."]:
    """Returns function(*arrays), computed `size` rows at a time; the last rows are filled up."""
    parts = []
    for start in range(0, len(arrays[0]), size):
        some = [array[start : start + size] for array in arrays]
        found = function(*(filled(rows, size) for rows in some))
        parts.append(np.asarray(found)[: len(some[0])])
    return np.concatenate(parts)


def filled(rows: Shaped[np.ndarray, "num ..."], size: int) -> Shaped[np.ndarray, "{size} ..."]:
    """Returns at most `size` rows, filled up to as many with the last one."""
    return rows if len(rows) == size else rows[np.minimum(np.arange(size), len(rows) - 1)]


def shared_batch(batch: int) -> int:
    """Returns the least batch that is no smaller and divides by this process's devices."""
    devices = jax.local_device_count()
    return -(-batch // devices) * devices


def without_devices(result: Shaped[Array, "devices each ..."]) -> Shaped[np.ndarray, "num ..."]:
    """Returns on the host what `spread` gave, once it is there, as rows [num, ...]."""
    array = np.asarray(result)
    return array.reshape(-1, *array.shape[2:])
