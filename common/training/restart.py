"""Whether a workdir's run goes on, and --restart: what lies there is never taken for nothing."""

import itertools
from pathlib import Path

from common.program.errors import UserError
from common.runs.checkpoints import Checkpoints
from common.runs.workdir import read_record, update_record
from common.training.writers import read_jsonl

_EARLIER = "earlier"
# The config comes last: with it the rest is known to be ours, should a kill come between.
_WRITTEN = (
    *("checkpoints", "metrics.jsonl", "metrics", "pictures", "profile", "error.log"),
    *("evaluation*", "training_images.npz", "run.json", "config.json"),
)


def check_progress(workdir: Path, checkpoints: Checkpoints, step: int) -> None:
    """Refuses to begin anew by itself where a run has been that must have had checkpoints.

    Args:
      workdir: of the run.
      checkpoints: that are left.
      step: to go on from; 0 where there is no checkpoint.

    Raises:
      UserError: the checkpoints are gone.
    """
    if step:
        return
    record, rows = read_record(workdir), read_jsonl(workdir / "metrics.jsonl")
    saved = record.get("saved_step", record.get("step", 0))
    reached = max([saved, record.get("step", 0), *(row["step"] for row in rows)])
    if saved or (reached and not checkpoints.folder.is_dir()):
        raise UserError(
            f"{workdir} was trained to step {reached} and its checkpoints are gone; put the folder"
            " checkpoints back, or train anew with --restart, which loses nothing that is left."
        )


def record_saved(workdir: Path, checkpoints: Checkpoints) -> None:
    """Notes in run.json the newest checkpoint, once that is complete."""
    if (workdir / "run.json").exists():
        update_record(workdir, {"saved_step": saved_step(workdir, checkpoints)})


def saved_step(workdir: Path, checkpoints: Checkpoints) -> int:
    """Returns the step of the newest complete checkpoint; of those that are gone what was noted."""
    return checkpoints.latest_step() or int(read_record(workdir).get("saved_step", 0))


def begin_anew(workdir: Path) -> None:
    """Moves what an earlier run wrote to WORKDIR/earlier-1, or the next number."""
    written = [path for name in _WRITTEN for path in sorted(workdir.glob(name))]
    if not written:
        return
    free = (workdir / f"{_EARLIER}-{number}" for number in itertools.count(1))
    earlier = next(folder for folder in free if not folder.exists())
    earlier.mkdir()
    for path in written:
        path.rename(earlier / path.name)
