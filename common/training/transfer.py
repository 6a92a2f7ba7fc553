"""Starting from the networks of another run, as far as their shapes allow: config.train.init_from.

A run on other classes or another image size takes the layers that it shares with the other, by
their names. Where the other has other networks, as a GAN has for a classifier, each network takes
those of the one that it shares most with. Optimizers start anew.
"""

from collections.abc import Mapping
from dataclasses import fields, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import keystr
from jaxtyping import Array, PyTree

from common.learning.network import NetworkState
from common.program.errors import UserError
from common.program.files import user_path
from common.program.log import log
from common.runs.workdir import open_run
from common.training.task import State, make_task

_path_of = partial(keystr, simple=True, separator="/")


def transferred(state: State, workdir: str) -> State:
    """Returns a new state that starts from the networks of a run, and says what it took and left.

    Args:
      state: at step 0.
      workdir: of the run; its best checkpoint is taken, or the newest if none is called best.

    Raises:
      UserError: it is no run, has no checkpoint, or no array of its networks fits.
    """
    run = open_run(user_path(workdir))
    task = make_task(run.config, run.card)
    like = task.load_frozen(jax.eval_shape(task.init, jax.random.key(0)))
    step, other = run.best_state(like)
    log.info("starting from the networks of %s at step %d", workdir, step)
    given, own = _learned(other), _learned(state)
    taken = 0
    alike = own.keys() == given.keys()
    for name, tree in own.items():
        source = name if alike else _nearest(tree, given)
        own[name], number = _taken(name, tree, given[source], source)
        taken += number
    if not taken:
        raise UserError(
            f"config.train.init_from is {workdir}, but no array of its networks"
            f" ({', '.join(given)}) has the name and shape of one of config.model's; name a run of"
            " the same network."
        )
    return _with_learned(state, own)


def _learned(state: State) -> dict[str, PyTree]:
    """Returns what networks have learned, and its moving average, by the names of the state."""
    found = {}
    for field in fields(state):  # type: ignore[arg-type]  # states are dataclasses
        value = getattr(state, field.name)
        if isinstance(value, NetworkState):
            found[field.name] = value.learning
        elif field.name == "average":
            found[field.name] = value
    return found


def _with_learned(state: State, learned: Mapping[str, PyTree]) -> State:
    changes: dict[str, Any] = {}
    for name, tree in learned.items():
        old = getattr(state, name)
        changes[name] = replace(old, **tree) if isinstance(old, NetworkState) else tree
    new: State = replace(state, **changes)  # type: ignore[type-var]
    return new


def _nearest(tree: PyTree, given: Mapping[str, PyTree]) -> str:
    """Returns the name of the network with most arrays that fit a tree, the first of equals."""
    own = {path: leaf.shape for path, leaf in _arrays(tree).items()}

    def fitting(name: str) -> int:
        return sum(own.get(path) == leaf.shape for path, leaf in _arrays(given[name]).items())

    return max(given, key=fitting)


def _arrays(tree: PyTree) -> dict[str, Array | np.ndarray]:
    return {_path_of(path): leaf for path, leaf in jax.tree.leaves_with_path(tree)}


def _taken(name: str, tree: PyTree, given: PyTree, source: str) -> tuple[PyTree, int]:
    """Returns a tree with the arrays of another that fit, and how many these are."""
    others = _arrays(given)
    left, number = [], 0

    def chosen(path: Any, leaf: Array) -> Array:
        nonlocal number
        other = others.pop(_path_of(path), None)
        if other is not None and other.shape == leaf.shape:
            number += 1
            return jnp.asarray(other, leaf.dtype)
        why = "the run has none" if other is None else f"it is {other.shape} there"
        left.append(f"{name}/{_path_of(path)} {leaf.shape} starts at random: {why}")
        return leaf

    new = jax.tree_util.tree_map_with_path(chosen, tree)
    left += [f"{name}/{path} is left there: config.model has none" for path in others]
    of = "" if source == name else f" of {source}"
    log.info("%s: %d arrays%s taken, %d not", name, number, of, len(left))
    for line in left:
        log.info("%s", line)
    return new, number
