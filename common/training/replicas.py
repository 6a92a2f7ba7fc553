"""Replicas: runs that differ in their seed alone, trained by one program.

Each is a run with a workdir of its own; only the devices see them together. There the arrays of
several replicas lie side by side, along an axis after that of the devices; a single one has no such
axis, so that its program is that of a run alone.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import jax
import numpy as np
from jaxtyping import Array, PyTree
from ml_collections import ConfigDict

from common.learning.network import join_frozen, split_frozen
from common.program.errors import UserError
from common.program.log import log
from common.runs.workdir import Run, read_record

DIVERGED = "diverged"  # the field of run.json that says why others were trained without a replica

Tree = TypeVar("Tree")


def replicas_of(config: ConfigDict, workdir: Path) -> list[tuple[ConfigDict, Path]]:
    """Returns the config and the workdir of each replica: WORKDIR/seed3 is of seed 3.

    A run without replicas is the only one, in the workdir itself.

    Raises:
      UserError: the workdir is a run's, or a setting does not suit replicas.
    """
    count = _count(config)
    if count == 1:
        return [(config, workdir)]
    if (workdir / "config.json").exists():
        raise UserError(
            f"{workdir} holds a run, and config.train.replicas is {count}: replicas have folders of"
            " their own in the workdir; choose another --workdir."
        )
    if config.train.on_divergence != "stop":
        raise UserError(
            "config.train.on_divergence is 'rollback', which lowers learning rates, and those of"
            " replicas are one; with config.train.replicas set it to 'stop': others go on without"
            " one that diverges."
        )
    if config.train.keep_last < 2:
        raise UserError(
            f"config.train.keep_last is {config.train.keep_last}, but a kill may come between the"
            " checkpoints of two replicas: with config.train.replicas set it to 2 or more."
        )
    replicas = []
    for seed in range(config.seed, config.seed + count):
        own = ConfigDict(config.to_dict())
        own.seed, own.train.replicas = seed, 1
        replicas.append((own, workdir / f"seed{seed}"))
    return replicas


def _count(config: ConfigDict) -> int:
    count: int = config.get("train", {}).get("replicas", 1)
    return count


def check_one(config: ConfigDict) -> None:
    """Refuses replicas where a run is expected in the workdir itself.

    Raises:
      UserError: there are several.
    """
    if (count := _count(config)) > 1:
        raise UserError(
            f"config.train.replicas is {count}, but here runs are trained one by one; set it to 1."
        )


def without_diverged(runs: Sequence[Run]) -> list[Run]:
    """Returns the replicas that earlier sessions did not leave behind; of one run, this one.

    Raises:
      UserError: all of them diverged.
    """
    found = {run.workdir: read_record(run.workdir).get(DIVERGED, "") for run in runs}
    if len(runs) == 1 or not any(found.values()):
        return list(runs)
    for workdir in (workdir for workdir, reason in found.items() if reason):
        log.warning("%s diverged and is not trained on; see its run.json.", workdir)
    left = [run for run in runs if not found[run.workdir]]
    if not left:
        raise UserError(
            f"All replicas in {runs[0].workdir.parent} diverged; start again with --restart and a"
            " lower learning rate."
        )
    return left


def common_step(runs: Sequence[Run], like: PyTree) -> int:
    """Returns the newest step of which all runs have an intact checkpoint, 0 if they are new.

    Replicas save one after the other, and a kill may come between. Those that are ahead go back.

    Raises:
      UserError: some run has checkpoints, but there is no such step.
    """
    newest = [run.checkpoints.newest_sound_step(like) for run in runs]
    step = min(newest)
    if step == max(newest):
        return step
    if not step or any(step not in run.checkpoints.steps() for run in runs):
        each = ", ".join(f"{run.workdir} at {at}" for run, at in zip(runs, newest, strict=True))
        raise UserError(
            f"The replicas have no step in common ({each}); train those that are behind alone, by"
            " --config.seed, --workdir and --config.train.num_steps, or start again with --restart."
        )
    for run in runs:
        run.checkpoints.go_back(step)
    return step


def check_alone(runs: Sequence[Run]) -> None:
    """Refuses replicas of what is trained on data of its own for each seed.

    Raises:
      UserError: there are several.
    """
    if len(runs) > 1:
        raise UserError(
            "config.train.replicas trains networks on the same images, and this run prepares some"
            " of its own; set --config.train.replicas=1."
        )


def side_by_side(states: Sequence[Tree]) -> Tree:
    """Returns replicas' states of the host as one: arrays [...] become [replicas, ...].

    Frozen weights are equal in all; those of the first are taken.
    """
    if len(states) == 1:
        return states[0]
    learning, frozen = split_frozen(states[0])
    others = [split_frozen(state)[0] for state in states[1:]]
    stacked: Tree = jax.tree.map(lambda *each: np.stack(each), learning, *others)
    return join_frozen(stacked, frozen)


def shapes_side_by_side(like: Tree, count: int) -> Tree:
    """Returns the shapes of so many replicas' states side by side, from those of one."""
    if count == 1:
        return like
    learning, frozen = split_frozen(like)
    shapes: Tree = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct((count, *x.shape), x.dtype), learning
    )
    return join_frozen(shapes, frozen)


def one_of(together: Tree, replica: int, count: int) -> Tree:
    """Returns one of so many replicas: arrays [devices, replicas, ...] become [devices, ...]."""
    if count == 1:
        return together
    learning, frozen = split_frozen(together)
    alone: Tree = _pick(learning, replica)
    return join_frozen(alone, frozen)


@jax.jit
def _pick(tree: Tree, replica: Array | int) -> Tree:
    take = partial(jax.lax.dynamic_index_in_dim, index=replica, axis=1, keepdims=False)
    taken: Tree = jax.tree.map(take, tree)
    return taken
