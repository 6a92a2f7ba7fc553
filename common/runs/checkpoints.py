"""Checkpoints (Orbax): written in the background, atomically, independent of device layout.

The state of one device is saved as NumPy arrays, so a run restores on any number of devices. The
last few checkpoints are kept, and the best one if a metric is named. A restored state is compared
with the checksums saved with it; instead of a damaged checkpoint the one before it is used.
"""

import itertools
import json
import re
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, TypeVar

import flax.serialization
import jax
import numpy as np
import orbax.checkpoint as ocp
from jaxtyping import PyTree
from orbax.checkpoint import checkpoint_managers as policies

from common.learning.network import split_frozen
from common.program.errors import UserError
from common.program.log import log
from common.runs import manifest
from common.runs.leaves import not_finite
from common.runs.manifest import DamagedError, Leaf, Manifest, SaveManifest, reason_of

_STATE = "default"  # Orbax's name for an item saved without one

State = TypeVar("State")


class Checkpoints:
    """The checkpoints of one run; use it in a `with` block to save.

    Attributes:
      folder: where they are.
      frozen: weights that do not learn, of the states to save: named in checkpoints, not in them.
    """

    def __init__(
        self, folder: Path, keep_last: int = 1, best_metric: str = "", best_is: str = "highest"
    ) -> None:
        """Sets the folder; only the training run may save to it."""
        self.folder = folder
        self.frozen: Mapping[str, Leaf] = {}
        self._keep_last = keep_last
        self._best_metric, self._best_is = best_metric, best_is
        self._scores: dict[int, float] = {}

    def __enter__(self) -> "Checkpoints":
        self.folder.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if opened := vars(self).get("_manager"):  # where `cached_property` stores it
            opened.close()  # waits for pending writes

    def steps(self) -> list[int]:
        """Returns the steps in the folder's names, the newest first."""
        if not self.folder.is_dir():
            return []
        names = (entry.name for entry in self.folder.iterdir())
        steps = (int(name) for name in names if re.fullmatch("0|[1-9][0-9]*", name))
        return sorted(steps, reverse=True)

    def latest_step(self) -> int | None:
        """Returns the step of the newest checkpoint, or None."""
        return next(iter(self.steps()), None)

    def save(self, step: int, state: PyTree, metrics: Mapping[str, float]) -> None:
        """Starts writing a host state (`placement.to_host`), without its frozen weights.

        Training may continue meanwhile.

        Does nothing if this step is already saved.

        Raises:
          UserError: the folder was removed; it is not recreated, since its siblings are gone, too.
        """
        if not self.folder.is_dir():
            raise UserError(
                f"{self.folder} was removed while the program was running; put it back, or start"
                " again in another --workdir."
            )
        if step == self._manager.latest_step():
            return
        named = self._best_metric
        chosen = {named: float(metrics[named])} if named in metrics else {}
        if chosen:
            self._scores[step] = chosen[named]
        tree = flax.serialization.to_state_dict(state)
        items = {
            _STATE: ocp.args.StandardSave(tree),
            manifest.ITEM: SaveManifest(step, chosen, tree, self.frozen),
        }
        self._manager.save(step, args=ocp.args.Composite(**items))

    def finish(self) -> None:
        """Waits until what is being written is complete."""
        if opened := vars(self).get("_manager"):  # where `cached_property` stores it
            opened.wait_until_finished()

    def go_back(self, step: int) -> None:
        """Removes the checkpoints of later steps than this one, before the run resumes there."""
        for later in (found for found in self.steps() if found > step):
            shutil.rmtree(self.folder / str(later))

    def restore(self, step: int, like: State) -> State:
        """Returns the state saved at `step`, as NumPy arrays, in the structure of `like`.

        Frozen weights are those of `like`; without any there, their checksums are not compared.

        Raises:
          UserError: the checkpoint is damaged or does not fit this state.
        """
        try:
            return self._read(step, like)
        except DamagedError as error:
            raise UserError(
                f"The checkpoint of step {step} in {self.folder} can't be used: {error}."
            ) from error

    def best(self, like: State) -> tuple[int, State] | None:
        """Returns step and state of the best intact checkpoint; None if there is none.

        Without a named metric it is the newest. A damaged one is named in the log.

        Raises:
          UserError: none is intact, or they do not fit this state.
        """
        candidates, damaged = self._candidates()
        for step in candidates:
            try:
                state = self._read(step, like)
            except DamagedError as error:
                damaged[step] = str(error)
                continue
            for bad, reason in damaged.items():
                log.warning(
                    "The checkpoint of step %d in %s is damaged (%s); that of step %d is used.",
                    *(bad, self.folder, reason, step),
                )
            return step, state
        self._refuse(damaged)
        return None

    def chosen_step(self) -> int | None:
        """Returns the step that `best` tries first, or None; reads no state."""
        candidates, _ = self._candidates()
        return next(iter(candidates), None)

    def _candidates(self) -> tuple[list[int], dict[int, str]]:
        """Returns steps from the best on, and what is wrong with others."""
        steps = self.steps()
        ranked = self._ranked(self._scores_on_disk())
        damaged = {step: reason for step in steps if (reason := self._structural_damage(step))}
        others = [step for step in steps if step not in ranked and step not in damaged]
        return [*ranked, *others], damaged

    def newest_sound_step(self, like: PyTree) -> int:
        """Returns the step to resume from, 0 for none, and makes room for saving from there.

        Later damaged checkpoints are named in the log and moved to `damaged-STEP`.

        Raises:
          UserError: there are checkpoints but none is intact, or they do not fit this state.
        """
        damaged: dict[int, str] = {}
        for step in (steps := self.steps()):
            try:
                self._read(step, like)
            except DamagedError as error:
                damaged[step] = str(error)
                continue
            older = {old: self._structural_damage(old) for old in steps if old < step}
            for bad, reason in (damaged | older).items():
                if reason:
                    log.warning(
                        "The checkpoint of step %d is damaged (%s) and was moved to %s; the run"
                        " resumes from step %d.",
                        *(bad, reason, self._move_aside(bad), step),
                    )
            return step
        self._refuse(damaged)
        return 0

    @cached_property
    def _manager(self) -> ocp.CheckpointManager:
        keep: list[policies.PreservationPolicy] = [policies.LatestN(self._keep_last)]
        if self._best_metric:
            self._scores = self._scores_on_disk()
            keep.append(_Best(lambda: self._ranked(self._scores)))
        options = ocp.CheckpointManagerOptions(
            preservation_policy=policies.AnyPreservationPolicy(keep), cleanup_tmp_directories=True
        )
        return ocp.CheckpointManager(self.folder.absolute(), options=options)

    def _read(self, step: int, like: State) -> State:
        """Returns a saved state after comparing it with its checksums."""
        described = self._manifest(step)
        learning, frozen = split_frozen(like)
        wanted = flax.serialization.to_state_dict(learning)
        if described and (misfit := described.misfit(wanted)):
            self._refuse_networks(step, misfit)
        if described and frozen and (changed := described.changed_frozen(frozen)):
            raise UserError(
                f"The frozen weights {changed} are not those that {self.folder.parent} was trained"
                " with: their checksum differs; put back the file that they came from, or choose"
                " another --workdir."
            )
        _hush_stragglers()
        target = jax.tree.map(lambda x: np.empty(np.shape(x), x.dtype), wanted)
        folder = (self.folder / str(step) / _STATE).absolute()
        try:
            # Without a manager, which would wait for the other processes and trust every name.
            handler = ocp.StandardCheckpointHandler()
            tree = handler.restore(folder, args=ocp.args.StandardRestore(target))
        except MemoryError:
            raise
        except Exception as error:  # damaged files raise anything in the libraries
            raise DamagedError(reason_of(error)) from error
        if described is None:
            log.info("The checkpoint of step %d has no checksums and is used unchecked.", step)
            if jax.tree.map(np.shape, tree) != jax.tree.map(np.shape, target):
                self._refuse_networks(step, "")  # Orbax itself accepts it
        elif changed := described.changed_leaf(tree):
            raise DamagedError(f"{changed} does not match its checksum")
        if bad := not_finite(tree):
            raise DamagedError(f"{bad} is not finite: the training had diverged")
        state: State = flax.serialization.from_state_dict(like, tree)
        return state

    def _manifest(self, step: int) -> Manifest | None:
        return manifest.read_manifest(self.folder / str(step))

    def _structural_damage(self, step: int) -> str:
        """Returns what is wrong with a checkpoint, without reading its leaves."""
        try:
            self._manifest(step)
        except DamagedError as error:
            return str(error)
        return ""

    def _scores_on_disk(self) -> dict[int, float]:
        """Returns the named metric of each checkpoint that has it."""
        scores = {}
        for step in self.steps():
            with suppress(DamagedError, OSError, ValueError):
                described = self._manifest(step)
                if described is None:  # without a manifest Orbax has its metrics
                    file = self.folder / str(step) / "metrics" / "metrics"
                    metrics = json.loads(file.read_text())
                else:
                    metrics = described.metrics
                if self._best_metric in metrics:
                    scores[step] = float(metrics[self._best_metric])
        return scores

    def _ranked(self, scores: Mapping[int, float]) -> list[int]:
        """Returns steps from best to worst; among equal ones the newest is first."""
        sign = 1 if self._best_is == "highest" else -1
        return sorted(scores, key=lambda step: (sign * scores[step], step), reverse=True)

    def _move_aside(self, step: int) -> Path:
        for number in itertools.count(1):
            aside = self.folder / (f"damaged-{step}" + (f"-{number}" if number > 1 else ""))
            if not aside.exists():
                break
        return (self.folder / str(step)).rename(aside)

    def _refuse(self, damaged: Mapping[int, str]) -> None:
        if damaged:
            reasons = "; ".join(f"step {step}: {reason}" for step, reason in damaged.items())
            raise UserError(
                f"No checkpoint in {self.folder} can be used ({reasons}); put back a copy of one,"
                " or start again with --restart (for a run of a study: remove its folder)."
            )

    def _refuse_networks(self, step: int, misfit: str) -> NoReturn:
        whose = "another optimizer" if "/opt_state/" in misfit else "other networks"
        raise UserError(
            f"The checkpoint of step {step} in {self.folder} belongs to {whose}"
            f"{f' ({misfit})' if misfit else ''}; put the settings back, or choose another"
            " --workdir."
        )


@dataclass(frozen=True)
class _Best(policies.PreservationPolicy):  # type: ignore[misc]  # Orbax has no types
    """Keeps the first of the steps that `ranked` returns."""

    ranked: Callable[[], Sequence[int]]

    def should_preserve(
        self,
        checkpoints: Sequence[Any],
        *,
        context: object,
    ) -> Sequence[bool]:
        """Returns for each checkpoint whether to keep it."""
        there = {checkpoint.step for checkpoint in checkpoints}
        best = next((step for step in self.ranked() if step in there), None)
        return [checkpoint.step == best for checkpoint in checkpoints]


@cache
def _hush_stragglers() -> None:
    """Hides tracebacks that are irrelevant.

    When one of many leaves can't be read, Orbax closes the event loop to which other reads still
    report from their own threads.
    """
    report = sys.unraisablehook

    def report_others(unraisable: Any) -> None:
        if str(unraisable.exc_value) != "Event loop is closed":
            report(unraisable)

    sys.unraisablehook = report_others
