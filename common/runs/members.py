"""The members of an ensemble, as its `ensemble.json` names them.

{"members": [{"run": "../vgg16", "checksum": "9c56..."}, ...]}

A member's folder is relative to the ensemble's, so that both can move together. Its checksum covers
all that its predictions depend on: the checkpoint that is used, settings, classes, size of images.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from common.config.tasks import declared_of
from common.data.prepared.prepared import DataCard
from common.program.errors import UserError
from common.program.files import sha256_of, write_atomically
from common.program.json_files import build, conform, read_object
from common.program.settings import flatten
from common.runs import manifest
from common.runs.changes import continuable

ENSEMBLE = "ensemble.json"
_AGAIN = "make the ensemble again in another --workdir, with --mode=ensemble"


@dataclass(frozen=True)
class Member:
    """A run of an ensemble: its folder, and the checksum of what its predictions depend on."""

    run: str
    checksum: str


def read_members(workdir: Path) -> Mapping[Path, str]:
    """Returns the checksum of each member by its workdir, in order.

    Raises:
      UserError: ensemble.json is damaged.
    """
    file = workdir / ENSEMBLE
    listed = read_object(file, _AGAIN).get("members")
    try:
        members = [
            build(Member, one) for one in conform(listed, tuple[Mapping[str, Any], ...], "members")
        ]
        if not members:
            raise ValueError("it has no members")
    except ValueError as error:
        raise UserError(f"{file} is damaged: {error}; {_AGAIN}.") from error
    return {Path(os.path.normpath(workdir / one.run)): one.checksum for one in members}


def write_members(workdir: Path, members: Mapping[Path, str]) -> None:
    """Writes what `read_members` reads."""
    listed = [
        {"run": os.path.relpath(run.resolve(), workdir.resolve()), "checksum": checksum}
        for run, checksum in members.items()
    ]
    write_atomically(workdir / ENSEMBLE, json.dumps({"members": listed}, indent=2) + "\n")


def checksum_of(workdir: Path, config: ConfigDict, card: DataCard, step: int) -> str:
    """Returns the checksum of all that a run's predictions depend on.

    Settings that have their defaults, and such as may change on resume, do not count.

    Args:
      workdir: of the run.
      config: of the run.
      card: of its data.
      step: of the checkpoint.

    Raises:
      UserError: the checkpoint has no checksums.
    """
    declared, free = declared_of(config.task), continuable(config.task)
    defaults = dict(flatten(declared.defaults())) if declared else {}
    settings = {
        name: value
        for name, value in flatten(config)
        if name not in free and value != defaults.get(name)
    }
    try:
        saved = sha256_of(workdir / "checkpoints" / str(step) / manifest.ITEM / manifest.FILE)
    except OSError as error:
        raise UserError(
            f"The checkpoint of step {step} in {workdir} has no checksums, as of an early version;"
            " train the run a little longer."
        ) from error
    shape = [card.image_size, card.channels, card.classes, card.mask_classes]
    whole = json.dumps([settings, shape, saved], sort_keys=True)
    return hashlib.sha256(whole.encode()).hexdigest()


def check_member(workdir: Path, checksum: str, expected: str, ensemble: Path) -> None:
    """Refuses a member that has changed.

    Raises:
      UserError: naming it.
    """
    if checksum != expected:
        raise UserError(
            f"{workdir}, a member of the ensemble in {ensemble}, has changed since that was made"
            f" (its checksum is {checksum[:8]} instead of {expected[:8]}); put it back as it was,"
            f" or {_AGAIN}."
        )
