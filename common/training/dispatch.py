"""Many steps, or one evaluation, as one program for all devices that is compiled once.

One executable advances the state by up to `max_steps` steps.
"""

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.stages import Compiled
from jaxtyping import Array, Int, PyTree, Shaped

from common.devices.apply import on_all_devices, on_local_devices
from common.devices.axis import AXIS
from common.devices.placement import replicate, to_host
from common.learning.network import Variables, join_frozen, split_frozen
from common.learning.randomness import step_key
from common.ops import plain_forms
from common.program.memory import give_back_freed_memory, low_memory_options
from common.training.replicas import side_by_side
from common.training.task import Batch, Metrics, State, Task

Tree = TypeVar("Tree")

# Many steps per dispatch keep a fast accelerator from waiting for Python. On a CPU it is one step,
# outside any loop, because XLA's CPU convolutions are up to 60 times slower inside one.
STEPS_PER_DISPATCH = 100


class Block(NamedTuple):
    """The data of one dispatch, on the devices.

    Attributes:
      examples: name -> [devices, num, ...]: all examples when resident, else those of this block.
      indices: [devices, max_steps, batches, batch of a device]: step i takes examples[indices[i]];
        the task defines its batches. Of several replicas, each has its own: [devices, max_steps,
        replicas, batches, batch of a device].
      num_steps: number of steps of the block to run.
    """

    examples: dict[str, Shaped[Array, "devices num ..."]]
    indices: Int[Array, "devices max_steps *replicas batches batch"]
    num_steps: int


class Advance(NamedTuple):
    """A compiled dispatch and its properties.

    Attributes:
      run: (state, metrics, block) -> (state, metrics, done); metrics and state are donated, except
        its frozen weights, and `done` becomes ready when the dispatch has ended.
      empty_metrics: returns empty metrics.
      metric_names: of the training metrics.
      temporary_bytes: memory that one device needs beside state and data.
      flops: returns the floating-point operations of one step on one device, as XLA counts those of
        the plain forms.
    """

    run: Callable[[Any, Metrics, Block], tuple[Any, Metrics, Int[Array, "devices *replicas"]]]
    empty_metrics: Callable[[], Metrics]
    metric_names: tuple[str, ...]
    temporary_bytes: int
    flops: Callable[[], float]


def max_steps_per_dispatch() -> int:
    """Returns the most steps that one dispatch may run on this platform."""
    return 1 if jax.default_backend() == "cpu" else STEPS_PER_DISPATCH


def compile_advance(
    task: Task[State],
    seeds: Sequence[int],
    state: State,
    block: Block,
    *,
    low_memory: bool = False,
) -> Advance:
    """Compiles the dispatch for the shapes of this state, or of its stand-in, and block.

    With several seeds it is that of as many replicas, which know nothing of each other: states and
    metrics are [devices, replicas, ...], frozen weights are common to all.
    """
    max_steps, (num_batches, per_device) = block.indices.shape[1], block.indices.shape[-2:]
    one_step = _step_on_device(task, num_batches, per_device, len(seeds))
    step = jax.jit(one_step)
    mapped = on_all_devices(
        _dispatch(step, max_steps, len(seeds)),
        in_axes=(0, 0, 0, 0, 0, None, 0),
        donate_argnums=(0, 1),
    )
    # An argument, so that runs with other seeds find the program already compiled.
    key = replicate(side_by_side([jax.random.key_data(jax.random.key(seed)) for seed in seeds]))
    state, frozen = split_frozen(state)
    inputs = (key, state, block.examples, block.indices[:, 0], frozen)
    # Traced to get the metrics' class. JAX caches the trace and `mapped` reuses it, except with
    # several processes, whose axis is longer.
    locally = on_local_devices(step)
    _, metrics = jax.eval_shape(locally, *_shapes_on(jax.local_device_count(), inputs))
    metrics_type = type(metrics)

    # As NumPy arrays: a JAX operation would be queued behind the running step.
    zeros = jax.tree.map(lambda x, of: np.asarray(x, of.dtype), metrics_type.empty(), metrics)
    empty = side_by_side([zeros] * len(seeds))

    def empty_metrics() -> Metrics:
        return replicate(empty)

    compiled = mapped.lower(
        state, empty_metrics(), block.examples, block.indices, key, np.int32(0), frozen
    ).compile(low_memory_options() if low_memory else {})
    give_back_freed_memory()

    def run(
        state: State, metrics: Metrics, block: Block
    ) -> tuple[State, Metrics, Int[Array, "devices *replicas"]]:
        steps, (learning, frozen) = np.int32(block.num_steps), split_frozen(state)
        learning, metrics, done = compiled(
            learning, metrics, block.examples, block.indices, key, steps, frozen
        )
        return join_frozen(learning, frozen) if frozen else learning, metrics, done

    return Advance(
        run,
        empty_metrics,
        _names(metrics_type),
        _temporary_bytes(compiled),
        cache(partial(_flops, one_step, *_shapes_on(1, inputs))),
    )


def _step_on_device(
    task: Task[State], num_batches: int, per_device: int, replicas: int
) -> Callable[..., tuple[State, Metrics]]:
    """Returns a step on one device: (seed, state, examples, indices, frozen) -> state, metrics.

    Of several replicas it takes seeds, states and indices, and gives states and metrics.
    """
    starts = per_device * jax.device_count() * jnp.arange(num_batches, dtype=jnp.int32)[:, None]

    def one_step(
        seed: Array,
        state: PyTree,
        examples: dict[str, Array],
        indices: Array,
        frozen: dict[str, Variables],
    ) -> tuple[PyTree, Metrics]:
        batch = {name: rows[indices.ravel()] for name, rows in examples.items()}
        first = jax.lax.axis_index(AXIS) * per_device
        batch["position"] = (starts + first + jnp.arange(per_device, dtype=jnp.int32)).ravel()
        key = step_key(jax.random.wrap_key_data(seed), state.step)
        state, metrics = task.train_step(join_frozen(state, frozen), batch, key)
        return split_frozen(state)[0], metrics

    return jax.vmap(one_step, in_axes=(0, 0, None, 0, None)) if replicas > 1 else one_step


def _dispatch(
    step: Callable[..., tuple[PyTree, Metrics]], max_steps: int, replicas: int
) -> Callable[..., tuple[PyTree, Metrics, Array]]:
    """Returns a function that runs some steps on one device and merges their metrics."""
    merge = jax.vmap(_merged) if replicas > 1 else _merged

    def advance(
        state: PyTree,
        metrics: Metrics,
        examples: dict[str, Array],
        indices: Array,
        seed: Array,
        num_steps: Array,
        frozen: dict[str, Variables],
    ) -> tuple[PyTree, Metrics, Array]:
        def body(i: Array | int, carry: tuple[PyTree, Metrics]) -> tuple[PyTree, Metrics]:
            state, metrics = carry
            state, new = step(seed, state, examples, indices[i], frozen)
            return state, merge(metrics, new)

        if max_steps == 1:
            state, metrics = body(0, (state, metrics))
        else:
            state, metrics = jax.lax.fori_loop(0, num_steps, body, (state, metrics))
        return state, metrics, state.step

    return advance


def _merged(metrics: Metrics, new: Metrics) -> Metrics:
    return metrics.merge(new)


class Evaluation(NamedTuple):
    """An eval_step: run(state, batch [devices, batch, ...]) -> metrics on the host.

    Attributes:
      run: evaluates; compiles first if needed.
      metric_names: of the metrics that it returns.
      compile: compiles in advance.
    """

    run: Callable[[Any, Batch], Metrics]
    metric_names: tuple[str, ...]
    compile: Callable[[], Any]


def prepare_evaluation(
    task: Task[State], state: State, batch: Batch, *, low_memory: bool = False
) -> Evaluation:
    """Returns eval_step prepared for the shapes of this state, or of its stand-in, and batch."""
    lowered = on_all_devices(task.eval_step).lower(state, batch)
    compiled = cache(partial(lowered.compile, low_memory_options() if low_memory else {}))
    names = _names(type(lowered.out_info))
    return Evaluation(lambda state, batch: to_host(compiled()(state, batch)), names, compiled)


def _shapes_on(count: int, tree: Tree) -> Tree:
    """Returns the shapes of arrays [devices, ...] on so many of them."""
    shapes: Tree = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct((count, *x.shape[1:]), x.dtype), tree
    )
    return shapes


def _names(metrics: type[Metrics]) -> tuple[str, ...]:
    fields = metrics.__dataclass_fields__  # CLU adds a private one
    return tuple(name for name in fields if not name.startswith("_"))


def _temporary_bytes(compiled: Compiled) -> int:
    """Returns the memory that one device needs beside the arguments."""
    stats = compiled.memory_analysis()
    if stats is None:  # not every platform reports it
        return 0
    made = stats.output_size_in_bytes - stats.alias_size_in_bytes
    return int(stats.temp_size_in_bytes + made)


def _flops(step: Callable[..., PyTree], *inputs: PyTree) -> float:
    """Returns the operations of a step in its plain forms on one device, before XLA changes any.

    The executable reports too few: XLA counts the body of a loop once.
    """
    with plain_forms():
        lowered = jax.jit(jax.vmap(step, axis_name=AXIS)).lower(*inputs)
    return float((lowered.cost_analysis() or {}).get("flops", 0.0))
