"""Checkpoints (Orbax): written in the background, whole or not at all, free of any device layout.

What is saved is the state of one device as NumPy arrays, so a run restores on any number of
devices. Kept are the last few and, where a metric is named, the best one.
"""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import flax.serialization
import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from common.errors import UserError

State = TypeVar("State")


class Checkpoints:
    """The checkpoints of one run."""

    def __init__(
        self,
        folder: Path,
        keep_last: int = 1,
        best_metric: str = "",
        best_is: str = "highest",
        read_only: bool = False,
    ) -> None:
        """Opens the folder; only the one process that trains may open it to write."""
        keep: list[policies.PreservationPolicy] = [policies.LatestN(keep_last)]
        if best_metric:
            keep.append(
                policies.BestN(
                    get_metric_fn=lambda metrics: metrics[best_metric],
                    reverse=best_is == "lowest",
                    n=1,
                    keep_checkpoints_without_metrics=False,  # they are kept as the last ones
                )
            )
        self._folder = folder
        self._best_metric, self._best_is = best_metric, best_is
        self._manager = ocp.CheckpointManager(
            folder.absolute(),
            options=ocp.CheckpointManagerOptions(
                preservation_policy=policies.AnyPreservationPolicy(keep),
                # Without it Orbax does not write the metrics that the policy asks for.
                best_fn=(lambda metrics: metrics[best_metric]) if best_metric else None,
                cleanup_tmp_directories=not read_only,
                read_only=read_only,
            ),
        )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._manager.close()  # waits for what is being written

    def latest_step(self) -> int | None:
        """Returns the step of the newest whole checkpoint, or None."""
        return self._manager.latest_step()

    def best_step(self) -> int | None:
        """Returns the step at which the named metric was best, else the newest."""
        scored = {
            step: metrics[self._best_metric]
            for step in self._manager.all_steps()
            if self._best_metric
            and (metrics := self._manager.metrics(step))
            and self._best_metric in metrics
        }
        if not scored:
            return self.latest_step()
        pick = max if self._best_is == "highest" else min
        return pick(scored, key=lambda step: scored[step])

    def save(self, step: int, state: Any, metrics: Mapping[str, float]) -> None:
        """Starts writing a host state (`parallel.to_host`); training may go on meanwhile.

        Does nothing where this step is saved already.
        """
        if step == self._manager.latest_step():
            return
        named = self._best_metric
        scores = {named: metrics[named]} if named in metrics else None
        tree = flax.serialization.to_state_dict(state)
        self._manager.save(step, args=ocp.args.StandardSave(tree), metrics=scores)

    def restore(self, step: int, like: State) -> State:
        """Returns the state saved at `step`, as NumPy arrays, in the structure of `like`.

        Raises:
          UserError: the checkpoint does not fit this state.
        """
        target = jax.tree.map(
            lambda x: np.empty(np.shape(x), x.dtype), flax.serialization.to_state_dict(like)
        )
        try:
            tree = self._manager.restore(step, args=ocp.args.StandardRestore(target))
        except (ValueError, KeyError, FileNotFoundError) as error:
            first = str(error).strip().split("\n", 1)[0]
            raise UserError(
                f"The checkpoint of step {step} in {self._folder} cannot be read: {first}"
            ) from error
        saved, wanted = jax.tree.map(np.shape, tree), jax.tree.map(np.shape, target)
        if saved != wanted:  # Orbax itself does not mind
            raise UserError(
                f"The checkpoint of step {step} in {self._folder} belongs to other networks."
            )
        return flax.serialization.from_state_dict(like, tree)
