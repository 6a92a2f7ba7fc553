"""Data parallelism: the only file that says `pmap`.

Everything on the devices has a leading axis of all devices of all processes; each process holds its
own rows. One executable advances the state by up to `max_steps` steps, so it compiles once.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Int, Shaped

from common.axis import AXIS
from common.convolutions import plain_forms
from common.errors import UserError
from common.memory import give_back_freed_memory, low_memory_options
from common.training.randomness import step_key
from common.training.task import Batch, Metrics, Task
from common.words import counted

# Many steps per dispatch keep a fast accelerator from waiting for Python. On a CPU it is one step,
# outside any loop, because XLA's CPU convolutions are up to 60 times slower inside one.
STEPS_PER_DISPATCH = 100

_PLACED_AT_ONCE = 2**28  # bytes of a state

Tree = TypeVar("Tree")


class Block(NamedTuple):
    """The data of one dispatch, on the devices.

    Attributes:
      examples: name -> [devices, num, ...]: all examples when resident, else those of this block.
      indices: [devices, max_steps, batches, batch of a device]: step i takes examples[indices[i]];
        what its batches are, the task says.
      num_steps: how many steps of the block to run.
    """

    examples: dict[str, Shaped[Array, "devices num ..."]]
    indices: Int[Array, "devices max_steps batches batch"]
    num_steps: int


class Advance(NamedTuple):
    """A compiled dispatch and what is known of it.

    Attributes:
      run: (state, metrics, block) -> (state, metrics, done); state and metrics are donated, and
        `done` becomes ready when the dispatch has ended.
      empty_metrics: returns metrics with nothing in them yet.
      metric_names: of the training metrics.
      temporary_bytes: what one device needs beside state and data.
      flops: returns the floating-point operations of one step on one device, as XLA counts those
        of the plain forms.
    """

    run: Callable[[Any, Metrics, Block], tuple[Any, Metrics, Int[Array, " devices"]]]
    empty_metrics: Callable[[], Metrics]
    metric_names: tuple[str, ...]
    temporary_bytes: int
    flops: Callable[[], float]


def start_distributed(coordinator: str, num_processes: int, process_id: int) -> None:
    """Joins the other processes: those that the arguments name, else those of the cluster.

    Where srun, mpirun or a TPU pod started several processes, JAX reads from the environment how
    many there are and where; elsewhere this process is alone.
    """
    # It would take SIGTERM for itself; common/interrupts.py says what becomes of that.
    jax.config.update("jax_enable_preemption_service", False)
    if coordinator:
        jax.distributed.initialize(coordinator, num_processes, process_id)
    elif _processes_of_cluster() > 1:
        jax.distributed.initialize()


def _processes_of_cluster() -> int:
    """Returns how many processes the launcher started; 1 where there is none."""
    env = os.environ
    return max(
        int(env.get("SLURM_STEP_NUM_TASKS", 1)),
        int(env.get("OMPI_COMM_WORLD_SIZE", 1)),
        len(env.get("TPU_WORKER_HOSTNAMES", "").split(",")),
    )


def is_main_process() -> bool:
    """Says whether this process writes logs, pictures and the config."""
    return jax.process_index() == 0


def alone() -> bool:
    """Says whether this is the only process."""
    return jax.process_count() == 1


def all_succeed(error: Exception | None) -> None:
    """Ends every process when one has met an error, so that none waits for it forever.

    Every process must call it at the same time.

    Raises:
      Exception: this process's own.
      UserError: another one has one.
    """
    failed = any_process(error is not None)
    if error is not None:
        raise error
    if failed:
        raise UserError("Another process has met an error; its message says which.")


def any_process(flag: bool) -> bool:
    """Says whether the flag is set in any process; every process must call it at the same time."""
    return bool(highest(flag))


def highest(number: int) -> int:
    """Returns the highest number of all processes; every one must call it at the same time."""
    if alone():
        return number
    return int(np.max(multihost_utils.process_allgather(np.array(number, np.int32))))


def max_steps_per_dispatch() -> int:
    """Returns how many steps one dispatch may run on this platform."""
    return 1 if jax.default_backend() == "cpu" else STEPS_PER_DISPATCH


def local_batch_size(batch_size: int) -> int:
    """Returns this process's share of the global batch.

    Raises:
      UserError: the batch does not divide by the number of devices.
    """
    devices = jax.device_count()
    if batch_size % devices:
        near = max(devices, round(batch_size / devices) * devices)
        raise UserError(
            f"config.data.batch_size is {batch_size} and does not divide by"
            f" {counted(devices, 'device')};"
            f" set --config.data.batch_size={near}."
        )
    return batch_size // jax.process_count()


@cache
def _devices() -> list[jax.Device]:
    """Returns all devices, those of one process next to each other: rows of the batch lie so."""
    return [d for process in range(jax.process_count()) for d in jax.local_devices(process)]


@cache
def _sharding() -> NamedSharding:
    return NamedSharding(Mesh(np.array(_devices()), (AXIS,)), PartitionSpec(AXIS))


def shard(tree: Any) -> Any:
    """Places host arrays [local devices, ...] as device arrays [devices, ...]."""
    place = jax.make_array_from_process_local_data
    return jax.tree.map(lambda x: place(_sharding(), np.asarray(x)), tree)


def replicate(tree: Any) -> Any:
    """Places a copy of each array on every device: [...] -> [devices, ...]."""
    count = jax.local_device_count()
    return shard(jax.tree.map(lambda x: np.broadcast_to(x, (count, *np.shape(x))), tree))


def place(state: Any) -> Any:
    """Replicates a state into memory that is the devices' own, which a step may overwrite.

    What `replicate` puts on a CPU may still be the caller's memory; a step must not overwrite that,
    and would copy the whole state first.

    Deletes the JAX arrays of `state`, which must not be used afterwards, so that a new state of
    many GB does not lie in memory twice. NumPy arrays, as of a restored state, stay the caller's.
    """
    leaves, structure = jax.tree.flatten(state)
    # An average begins as the very arrays of its network, which go after their last use.
    uses_left = Counter(map(id, leaves))
    placed = []
    for group in _groups(leaves, _PLACED_AT_ONCE):
        there = replicate(group)
        # Compiled before it is called: `pmap` itself takes and gives this process's rows only.
        copy = jax.pmap(lambda x: x, AXIS, devices=_devices()).lower(there).compile()
        placed += jax.block_until_ready(copy(there))
        del there
        for leaf in group:
            uses_left[id(leaf)] -= 1
            if isinstance(leaf, jax.Array) and not uses_left[id(leaf)]:
                leaf.delete()
    return jax.tree.unflatten(structure, placed)


def stand_in(like: Any) -> Any:
    """Returns what programs for placed states can be compiled with, in no memory.

    Args:
      like: the shapes of a state that has not been placed.
    """
    count = jax.local_device_count()
    return jax.tree.map(lambda x: np.broadcast_to(np.zeros((), x.dtype), (count, *x.shape)), like)


def _groups(arrays: list[Any], most_bytes: int) -> Iterator[list[Any]]:
    """Yields the arrays in groups of at most so many bytes, or of one."""
    group: list[Any] = []
    for array in arrays:
        if group and sum(x.nbytes for x in group) + array.nbytes > most_bytes:
            yield group
            group = []
        group.append(array)
    yield group


def unreplicate(tree: Tree) -> Tree:
    """Returns the copy on this process's first device, still on the device."""
    return jax.tree.map(lambda x: x.addressable_data(0)[0], tree)


def first_copies(tree: Any) -> Any:
    """Returns the copy on this process's first device, [1, ...], without a copy being made."""
    return jax.tree.map(lambda x: x.addressable_data(0), tree)


def to_host(tree: Tree) -> Tree:
    """Returns the copy on this process's first device as NumPy arrays that nothing overwrites."""
    return jax.tree.map(lambda x: np.array(x.addressable_data(0))[0], tree)


def compile_advance(
    task: Task[Any], seed: int, state: Any, block: Block, *, low_memory: bool = False
) -> Advance:
    """Compiles the dispatch for the shapes of this state, or of its stand-in, and block."""
    max_steps, num_batches, per_device = block.indices.shape[1:]
    one_step = _step_on_device(task, num_batches, per_device)
    step = jax.jit(one_step)
    mapped = jax.pmap(
        _dispatch(step, max_steps),
        AXIS,
        in_axes=(0, 0, 0, 0, 0, None),
        donate_argnums=(0, 1),
        devices=_devices(),
    )
    # An argument, so that runs with other seeds find the program already compiled.
    key = replicate(jax.random.key_data(jax.random.key(seed)))
    inputs = (key, state, block.examples, block.indices[:, 0])
    # Traced to learn the metrics' class. JAX keeps the trace, and `mapped` finds it; but not where
    # there are several processes, whose axis is longer.
    on_local_devices = jax.pmap(step, AXIS, devices=jax.local_devices())
    _, metrics = jax.eval_shape(on_local_devices, *_shapes_on(jax.local_device_count(), inputs))
    metrics_type = type(metrics)

    # As NumPy arrays: a JAX operation would wait in the queue behind the running step.
    empty = jax.tree.map(np.asarray, metrics_type.empty())

    def empty_metrics() -> Metrics:
        return replicate(empty)

    compiled = mapped.lower(
        state, empty_metrics(), block.examples, block.indices, key, np.int32(0)
    ).compile(low_memory_options() if low_memory else {})
    give_back_freed_memory()

    def run(state: Any, metrics: Metrics, block: Block) -> Any:
        steps = np.int32(block.num_steps)
        return compiled(state, metrics, block.examples, block.indices, key, steps)

    return Advance(
        run,
        empty_metrics,
        _names(metrics_type),
        _temporary_bytes(compiled),
        cache(partial(_flops, one_step, *_shapes_on(1, inputs))),
    )


def _step_on_device(task: Task[Any], num_batches: int, per_device: int) -> Callable[..., Any]:
    """Returns (seed, state, examples, indices) -> (state, metrics): a step, on one device."""
    starts = per_device * jax.device_count() * jnp.arange(num_batches, dtype=jnp.int32)[:, None]

    def one_step(seed: Array, state: Any, examples: dict[str, Array], indices: Array) -> Any:
        batch = {name: rows[indices.ravel()] for name, rows in examples.items()}
        first = jax.lax.axis_index(AXIS) * per_device
        batch["position"] = (starts + first + jnp.arange(per_device, dtype=jnp.int32)).ravel()
        return task.train_step(state, batch, step_key(jax.random.wrap_key_data(seed), state.step))

    return one_step


def _dispatch(step: Callable[..., Any], max_steps: int) -> Callable[..., Any]:
    """Returns what makes some steps on one of the devices and merges their metrics."""

    def advance(
        state: Any,
        metrics: Metrics,
        examples: dict[str, Array],
        indices: Array,
        seed: Array,
        num_steps: Array,
    ) -> Any:
        def body(i: Any, carry: Any) -> Any:
            state, metrics = carry
            state, new = step(seed, state, examples, indices[i])
            return state, metrics.merge(new)

        if max_steps == 1:
            state, metrics = body(0, (state, metrics))
        else:
            state, metrics = jax.lax.fori_loop(0, num_steps, body, (state, metrics))
        return state, metrics, state.step

    return advance


class Evaluation(NamedTuple):
    """An eval_step: run(state, batch [devices, batch, ...]) -> metrics on the host.

    Attributes:
      run: does it; compiles it where that has not been done.
      metric_names: of what it returns.
      compile: does that before.
    """

    run: Callable[[Any, Batch], Metrics]
    metric_names: tuple[str, ...]
    compile: Callable[[], Any]


def prepare_evaluation(
    task: Task[Any], state: Any, batch: Batch, *, low_memory: bool = False
) -> Evaluation:
    """Prepares eval_step for the shapes of this state, or of its stand-in, and batch."""
    lowered = jax.pmap(task.eval_step, AXIS, devices=_devices()).lower(state, batch)
    compiled = cache(partial(lowered.compile, low_memory_options() if low_memory else {}))
    names = _names(type(lowered.out_info))
    return Evaluation(lambda state, batch: to_host(compiled()(state, batch)), names, compiled)


def spread(function: Callable[..., Any], constants: Any) -> Callable[..., Any]:
    """Returns arrays [num, ...] -> function(constants, *arrays), on all this process's devices.

    `num` must divide by their number; the result has the devices in front, [devices, each, ...]. It
    comes at once, before the devices have finished: to read it is to wait for it.
    """
    devices = jax.local_devices()
    mapped = jax.pmap(function, AXIS, devices=devices)
    placed = jax.tree.map(lambda x: np.broadcast_to(x, (len(devices), *np.shape(x))), constants)
    if jax.tree.leaves(placed):
        placed = jax.pmap(lambda x: x, devices=devices)(placed)

    programs: dict[Any, Any] = {}

    def run(*arrays: Shaped[np.ndarray, "num ..."]) -> Any:
        rows = [x.reshape(len(devices), -1, *x.shape[1:]) for x in arrays]
        shapes = tuple((x.shape, x.dtype) for x in rows)
        if shapes not in programs:
            programs[shapes] = mapped.lower(placed, *rows).compile(low_memory_options())
            give_back_freed_memory()
        return programs[shapes](placed, *rows)

    return run


def in_batches(
    function: Callable[[Any, Array], Array], constants: Any, batch: int
) -> Callable[[Shaped[np.ndarray, "num ..."]], Shaped[np.ndarray, "num ..."]]:
    """Returns arrays of any length -> function(constants, array), on all this process's devices.

    One program serves all lengths: it takes `batch` rows at a time, or the next number that divides
    by the devices; the last rows are filled up with the last one.
    """
    devices = jax.local_device_count()
    size = -(-batch // devices) * devices
    run = spread(function, constants)

    def all_of(array: Shaped[np.ndarray, "num ..."]) -> Shaped[np.ndarray, "num ..."]:
        parts = []
        for start in range(0, len(array), size):
            rows = np.minimum(np.arange(start, start + size), len(array) - 1)
            found = np.asarray(run(array[rows]))
            parts.append(found.reshape(size, *found.shape[2:])[: len(array) - start])
        return np.concatenate(parts)

    return all_of


def _shapes_on(count: int, tree: Tree) -> Tree:
    """Returns the shapes of arrays [devices, ...] on so many of them."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct((count, *x.shape[1:]), x.dtype), tree)


def _names(metrics: type[Metrics]) -> tuple[str, ...]:
    fields = metrics.__dataclass_fields__  # CLU adds a private one
    return tuple(name for name in fields if not name.startswith("_"))


def _temporary_bytes(compiled: Any) -> int:
    """Returns what one device needs beside the arguments, which are there already."""
    stats = compiled.memory_analysis()
    if stats is None:  # not every platform tells
        return 0
    made = stats.output_size_in_bytes - stats.alias_size_in_bytes
    return int(stats.temp_size_in_bytes + made)


def _flops(step: Callable[..., Any], *inputs: Any) -> float:
    """Counts the operations of a step in its plain forms on one device, before XLA changes any.

    The executable itself tells too little: XLA counts the body of a loop once.
    """
    with plain_forms():
        lowered = jax.jit(jax.vmap(step, axis_name=AXIS)).lower(*inputs)
    return float((lowered.cost_analysis() or {}).get("flops", 0.0))
