"""The manifest of a checkpoint: its step, its metrics, and a checksum of every leaf.

It is a separate file, committed with the leaves and protected by its own checksum. The checksums
are computed while the leaves are written, in parallel with training.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import jax
import numpy as np
import orbax.checkpoint as ocp
from jaxtyping import Array, PyTree

from common.runs.leaves import leaves_by_path

ITEM = "manifest"  # folder in a checkpoint
FILE = "manifest.json"


class DamagedError(Exception):
    """A checkpoint differs from what was saved; the message is the reason."""


class Leaf(NamedTuple):
    """An array of a state.

    Attributes:
      dtype: its name.
      shape: of the array.
      sha256: of its bytes, row by row, in hexadecimal digits.
    """

    dtype: str
    shape: tuple[int, ...]
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What was saved.

    Attributes:
      step: of the state.
      metrics: those that the best checkpoint is chosen by.
      leaves: by path, "generator/params/dense/kernel".
      frozen: weights that do not learn, which are not in the checkpoint, "discriminator/kernel".
    """

    step: int
    metrics: Mapping[str, float]
    leaves: Mapping[str, Leaf]
    frozen: Mapping[str, Leaf] = field(default_factory=dict)

    @classmethod
    def from_json(cls, text: str) -> "Manifest":
        """Returns the manifest that `to_json` wrote.

        Raises:
          ValueError: it has changed.
        """
        content = json.loads(text)
        if not isinstance(content, dict) or content.pop("sha256", None) != _digest(content):
            raise ValueError(f"{FILE} does not match its checksum")
        leaves, frozen = (
            {
                path: Leaf(dtype, tuple(shape), sha256)
                for path, (dtype, shape, sha256) in content.get(part, {}).items()
            }
            for part in ("leaves", "frozen")
        )
        return cls(content["step"], content["metrics"], leaves, frozen)

    def to_json(self) -> str:
        """Returns the manifest as JSON with its own checksum."""
        content = {
            "step": self.step,
            "metrics": dict(self.metrics),
            "leaves": {path: [*leaf] for path, leaf in self.leaves.items()},
        }
        if self.frozen:
            content["frozen"] = {path: [*leaf] for path, leaf in self.frozen.items()}
        return json.dumps({**content, "sha256": _digest(content)})

    def misfit(self, tree: PyTree) -> str:
        """Returns how the saved state's structure differs from this one's, "" if it does not.

        Arrays of networks are named before those of optimizers, which differ with them.
        """
        wanted = {
            path: (str(leaf.dtype), np.shape(leaf)) for path, leaf in leaves_by_path(tree).items()
        }
        saved = {path: (leaf.dtype, leaf.shape) for path, leaf in self.leaves.items()}
        paths = sorted(wanted.keys() | saved.keys(), key=lambda path: ("/opt_state/" in path, path))
        for path in paths:
            there, here = saved.get(path), wanted.get(path)
            if there != here:
                both = (f"{x[0]} {list(x[1])}" if x else "none" for x in (there, here))
                return "{}: {} there, {} now".format(path, *both)
        return ""

    def changed_frozen(self, frozen: PyTree) -> str:
        """Returns the path of the first weight that does not learn and yet has changed, or "".

        Those that only one of both has are passed over: another version of a network keeps them in
        another form.
        """
        now = described(frozen) if self.frozen else {}
        common = sorted(now.keys() & self.frozen.keys())
        return next((path for path in common if now[path] != self.frozen[path]), "")

    def changed_leaf(self, tree: PyTree) -> str:
        """Returns the path of the first array that differs from what was saved, or ""."""
        for path, leaf in leaves_by_path(tree).items():
            if checksum(leaf) != self.leaves[path].sha256:
                return path
        return ""


def described(tree: PyTree) -> dict[str, Leaf]:
    """Returns dtype, shape and checksum of each array by its path; computes all checksums."""
    return {
        path: Leaf(str(leaf.dtype), np.shape(leaf), checksum(leaf))
        for path, leaf in leaves_by_path(tree).items()
    }


def read_manifest(checkpoint: Path) -> Manifest | None:
    """Returns the manifest of a checkpoint, a folder named by its step.

    Returns None if it is older than manifests.

    Raises:
      DamagedError: it is damaged, or of another step.
    """
    try:
        if not (checkpoint / ITEM).exists():
            items = json.loads((checkpoint / "_CHECKPOINT_METADATA").read_text())["item_handlers"]
            if ITEM not in items:
                return None
        described = Manifest.from_json((checkpoint / ITEM / FILE).read_text())
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DamagedError(reason_of(error)) from error
    if str(described.step) != checkpoint.name:
        raise DamagedError(f"it was saved at step {described.step}")
    return described


def reason_of(error: Exception) -> str:
    """Returns the reason of an error in one line."""
    if isinstance(error, OSError) and error.filename:
        return f"{Path(error.filename).name}: {error.strerror}"
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200].rstrip(".")


def checksum(array: Array | np.ndarray | np.generic) -> str:
    """Returns the SHA-256 of an array's bytes, row by row, in hexadecimal digits."""
    rows = np.ascontiguousarray(array).reshape(-1)
    return hashlib.sha256(rows.view(np.uint8).data).hexdigest()


def _digest(content: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


class ManifestHandler(ocp.AsyncCheckpointHandler):  # type: ignore[misc]  # Orbax has no types
    """Makes Orbax write the manifest of a state beside the state."""

    async def async_save(self, directory: Any, args: "SaveManifest") -> list[ocp.future.Future]:
        """Computes and writes on its own thread; only in the main process."""

        async def write() -> None:
            if jax.process_index() == 0:
                leaves = described(args.tree)
                manifest = Manifest(args.step, args.metrics, leaves, args.frozen)
                (directory / FILE).write_text(manifest.to_json())

        return [ocp.future.CommitFutureAwaitingContractedSignals(write(), name=ITEM)]

    def save(self, directory: object, *args: object, **kwargs: object) -> NoReturn:
        """Required by Orbax's base class; its managers call only `async_save`."""
        raise NotImplementedError("a manifest is saved with its checkpoint, asynchronously")

    def restore(self, directory: object, *args: object, **kwargs: object) -> NoReturn:
        """Not used: a manifest is read without Orbax, even from a damaged checkpoint."""
        raise NotImplementedError("a manifest is read by Manifest, without Orbax")


@ocp.args.register_with_handler(ManifestHandler, for_save=True, for_restore=True)
@dataclass
class SaveManifest(ocp.args.CheckpointArgs):  # type: ignore[misc]  # Orbax has no types
    """The input of `ManifestHandler`: a tree of NumPy arrays that must not change.

    Attributes:
      step: of the state.
      metrics: those that the best checkpoint is chosen by.
      tree: the state.
      frozen: weights that do not learn.
    """

    step: int
    metrics: Mapping[str, float]
    tree: PyTree
    frozen: Mapping[str, Leaf]
