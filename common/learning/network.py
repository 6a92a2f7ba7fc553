"""One network in training: its state, its update, and its moving average."""

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Any, TypeVar

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from clu import parameter_overview
from flax import serialization
from jax.tree_util import KeyEntry
from jaxtyping import Array, Float, Int, PyTree

from common.devices.axis import AXIS

Variables = dict[str, Any]  # a tree of arrays, named as the modules are
Tree = TypeVar("Tree")
Class = TypeVar("Class", bound=type)


def may_be_missing(*names: str) -> Callable[[Class], Class]:
    """Decorates a state: checkpoints lack these fields while they are {}, as those of before do.

    A field that a checkpoint lacks keeps the value of the state that is restored into.
    """

    def decorated(cls: Class) -> Class:
        def to_dict(state: PyTree) -> dict[str, object]:
            values = {field.name: getattr(state, field.name) for field in fields(cls)}
            return {
                name: serialization.to_state_dict(value)
                for name, value in values.items()
                if name not in names or value
            }

        def from_dict(state: PyTree, saved: dict[str, PyTree]) -> PyTree:
            new = {
                name: serialization.from_state_dict(getattr(state, name), value, name)
                for name, value in saved.items()
            }
            return replace(state, **new)

        serialization.register_serialization_state(cls, to_dict, from_dict, override=True)
        return cls

    return decorated


@may_be_missing("frozen")
@flax.struct.dataclass
class NetworkState:
    """One network: parameters, running statistics of BatchNorm, state of its optimizer.

    `frozen` holds weights that do not learn, which `Task.load_frozen` fills in; modules read them
    from the collection "frozen". A step gets them as an argument of their own, which is never
    donated; they are not updated, averaged or written into checkpoints, which name their checksums.
    """

    params: Variables
    batch_stats: Variables
    opt_state: optax.OptState
    frozen: Variables = flax.struct.field(default_factory=dict)

    @classmethod
    def create(
        cls, variables: Variables, optimizer: optax.GradientTransformation
    ) -> "NetworkState":
        """Returns the state at step 0 from the result of `module.init`.

        It is of JAX's default precision, so that with JAX_ENABLE_X64=1 a whole run is of double
        precision; Flax makes float32 whatever that is.
        """
        default = jnp.result_type(float)
        params, stats = jax.tree.map(
            lambda x: x.astype(default) if x.dtype == jnp.float32 else x,
            (variables["params"], variables.get("batch_stats", {})),
        )
        return cls(params, stats, optimizer.init(params))

    @property
    def variables(self) -> Variables:
        """Returns the variables that `module.apply` takes."""
        return self.applied(self.params, self.batch_stats)

    @property
    def learning(self) -> Variables:
        """Returns the variables without the weights that do not learn."""
        return {"params": self.params, "batch_stats": self.batch_stats}

    def applied(self, params: Variables, batch_stats: Variables) -> Variables:
        """Returns the variables that `module.apply` takes, with other values of what learns."""
        learning = {"params": params, "batch_stats": batch_stats}
        return {**learning, "frozen": self.frozen} if self.frozen else learning

    def overview(self) -> str:
        """Returns a table of the parameters and running statistics, and the number of frozen."""
        table: str = parameter_overview.get_parameter_overview(self.learning)
        frozen = _size(self.frozen)
        return f"{table}\nFrozen: {frozen:,} weights that do not learn" if frozen else table

    def totals(self) -> str:
        """Returns how many parameters, running statistics and frozen weights there are."""
        statistics, frozen = _size(self.batch_stats), _size(self.frozen)
        size = sum(x.nbytes for x in jax.tree.leaves(self.learning))
        total = f"{_size(self.learning):,} parameters"
        total += f", {statistics:,} of them running statistics" if statistics else ""
        total += f", and {frozen:,} frozen" if frozen else ""
        return f"{total} ({size / 1e6:.1f} MB)"


def _size(variables: Variables) -> int:
    return sum(np.size(x) for x in jax.tree.leaves(variables))


@flax.struct.dataclass
class SupervisedState:
    """One network in training; `average` is the moving average of its variables, for evaluation.

    A network with frozen weights takes `network.applied(**average)`.
    """

    step: Any  # int32 []: the number of steps so far (also a shape, where trees are traced)
    network: NetworkState
    average: Variables

    @classmethod
    def create(cls, made: Variables, optimizer: optax.GradientTransformation) -> "SupervisedState":
        """Returns the state at step 0 from the result of `module.init`."""
        network = NetworkState.create(made, optimizer)
        return cls(jnp.zeros((), jnp.int32), network, network.learning)


def advanced(
    state: SupervisedState,
    optimizer: optax.GradientTransformation,
    gradients: Variables,
    batch_stats: Variables,
    decay: float,
    batch_norm: str = "synchronised",
) -> tuple[SupervisedState, Float[Array, ""]]:
    """Returns the state after one update, its average by `decay`, and the gradient's norm."""
    network, norm = updated(state.network, optimizer, gradients, batch_stats, batch_norm)
    average = moving_average(state.average, network.learning, state.step, decay)
    return SupervisedState(state.step + 1, network, average), norm


def updated(
    network: NetworkState,
    optimizer: optax.GradientTransformation,
    gradients: Variables,
    batch_stats: Variables,
    batch_norm: str = "synchronised",
) -> tuple[NetworkState, Float[Array, ""]]:
    """Returns a network after one update by the mean gradient of all devices, and its norm.

    If BatchNorm is that of each "device", running statistics move by the mean of their changes,
    which is exchanged with the gradient: they stay equal on all devices.
    """
    changes: Variables = {}
    if batch_norm == "device":
        changes = jax.tree.map(jnp.subtract, batch_stats, network.batch_stats)
    # With the leading axis of devices that the state has: else XLA copies both moments and the new
    # parameters in each step instead of overwriting them.
    mean = jax.lax.pmean(jax.tree.map(lambda x: x[None], (gradients, changes)), AXIS)
    gradients, changes = jax.tree.map(lambda x: x[0], mean)
    if batch_norm == "device":
        batch_stats = jax.tree.map(jnp.add, network.batch_stats, changes)
    updates, opt_state = optimizer.update(gradients, network.opt_state, network.params)
    params = optax.apply_updates(network.params, updates)
    changed = {"params": params, "batch_stats": batch_stats, "opt_state": opt_state}
    return replace(network, **changed), optax.tree.norm(gradients)


def split_frozen(state: Tree) -> tuple[Tree, dict[str, Variables]]:
    """Returns a state without its frozen weights, and these by the path of their network.

    A network without any is not in the second: {} is that of most states.
    """
    networks = jax.tree.leaves_with_path(state, is_leaf=_is_network)
    frozen = {
        _name(path): node.frozen for path, node in networks if _is_network(node) and node.frozen
    }
    return join_frozen(state, {}) if frozen else state, frozen


def join_frozen(state: Tree, frozen: Mapping[str, Variables]) -> Tree:
    """Returns a state with the frozen weights of `split_frozen`."""

    def joined(path: tuple[KeyEntry, ...], node: PyTree) -> PyTree:
        return replace(node, frozen=frozen.get(_name(path), {})) if _is_network(node) else node

    whole: Tree = jax.tree_util.tree_map_with_path(joined, state, is_leaf=_is_network)
    return whole


def _is_network(node: PyTree) -> bool:
    return isinstance(node, NetworkState)


def _name(path: tuple[KeyEntry, ...]) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def moving_average(average: Tree, params: Tree, step: Int[Array, ""], decay: float) -> Tree:
    """Returns the exponential moving average after one more step, warmed up.

    `average + (1 - d) (params - average)` with `d = min(decay, (1 + step) / (10 + step))`, so that
    the initialisation is soon forgotten; decay 0 returns the parameters themselves.
    """
    if decay == 0:
        return params
    rate = 1.0 - jnp.minimum(decay, (1.0 + step) / (10.0 + step))
    moved: Tree = jax.tree.map(lambda a, p: a + rate.astype(a.dtype) * (p - a), average, params)
    return moved
