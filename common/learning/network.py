"""One network in training: its state, its update, and its moving average."""

from typing import Any, TypeVar

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from common.devices.axis import AXIS

Variables = dict[str, Any]  # a tree of arrays, named as the modules are
Tree = TypeVar("Tree")


@flax.struct.dataclass
class NetworkState:
    """One network: parameters, running statistics of BatchNorm, state of its optimizer."""

    params: Variables
    batch_stats: Variables
    opt_state: optax.OptState

    @classmethod
    def create(
        cls, variables: Variables, optimizer: optax.GradientTransformation
    ) -> "NetworkState":
        """Returns the state at step 0 from the result of `module.init`."""
        params = variables["params"]
        return cls(params, variables.get("batch_stats", {}), optimizer.init(params))

    @property
    def variables(self) -> Variables:
        """Returns the variables that `module.apply` takes."""
        return {"params": self.params, "batch_stats": self.batch_stats}


@flax.struct.dataclass
class SupervisedState:
    """One network in training; `average` is the moving average of its variables, for evaluation."""

    step: Any  # int32 []: the number of steps so far (also a shape, where trees are traced)
    network: NetworkState
    average: Variables

    @classmethod
    def create(cls, made: Variables, optimizer: optax.GradientTransformation) -> "SupervisedState":
        """Returns the state at step 0 from the result of `module.init`."""
        network = NetworkState.create(made, optimizer)
        return cls(jnp.zeros((), jnp.int32), network, network.variables)


def advanced(
    state: SupervisedState,
    optimizer: optax.GradientTransformation,
    gradients: Variables,
    batch_stats: Variables,
    decay: float,
) -> tuple[SupervisedState, Float[Array, ""]]:
    """Returns the state after one update, its average by `decay`, and the gradient's norm."""
    network, norm = updated(state.network, optimizer, gradients, batch_stats)
    average = moving_average(state.average, network.variables, state.step, decay)
    return SupervisedState(state.step + 1, network, average), norm


def updated(
    network: NetworkState,
    optimizer: optax.GradientTransformation,
    gradients: Variables,
    batch_stats: Variables,
) -> tuple[NetworkState, Float[Array, ""]]:
    """Returns a network after one update by the mean gradient of all devices, and its norm."""
    # With the leading axis of devices that the state has: else XLA copies both moments and the new
    # parameters in each step instead of overwriting them.
    mean = jax.lax.pmean(jax.tree.map(lambda g: g[None], gradients), AXIS)
    gradients = jax.tree.map(lambda g: g[0], mean)
    updates, opt_state = optimizer.update(gradients, network.opt_state, network.params)
    params = optax.apply_updates(network.params, updates)
    return NetworkState(params, batch_stats, opt_state), optax.tree.norm(gradients)


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
