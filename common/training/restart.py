"""Whether a workdir's run resumes, and --restart: existing files are never ignored."""

import itertools
from pathlib import Path

from common.program.errors import UserError
from common.runs.checkpoints import Checkpoints
from common.runs.rows import METRICS, read_rows
from common.runs.workdir import read_record, update_record

_EARLIER = "earlier"
# The config is moved last: until then it shows, even after a kill, that the rest is ours.
_WRITTEN = (
    *("checkpoints", "metrics.jsonl", "metrics", "pictures", "profile", "error.log"),
    *("parameters.txt", "trackers.json", "mlflow", "wandb", "evaluation*"),
    *("training_images.npz", "report.html", "card.md", "run.json", "config.json"),
)


def check_progress(workdir: Path, checkpoints: Checkpoints, step: int) -> None:
    """Refuses to start over by itself if an earlier run must have had checkpoints.

    Args:
      workdir: of the run.
      checkpoints: those that are left.
      step: to resume from; 0 if there is no checkpoint.

    Raises:
      UserError: the checkpoints are gone.
    """
    if step:
        return
    record, rows = read_record(workdir), read_rows(workdir / METRICS)
    saved = record.get("saved_step", record.get("step", 0))
    reached = max([saved, record.get("step", 0), *(row["step"] for row in rows)])
    if saved or (reached and not checkpoints.folder.is_dir()):
        raise UserError(
            f"{workdir} was trained to step {reached} but its checkpoints are gone; put the folder"
            " checkpoints back, or start over with --restart, which keeps all remaining files."
        )


def record_saved(workdir: Path, checkpoints: Checkpoints) -> None:
    """Records the newest checkpoint in run.json once it is complete."""
    if (workdir / "run.json").exists():
        update_record(workdir, {"saved_step": saved_step(workdir, checkpoints)})


def saved_step(workdir: Path, checkpoints: Checkpoints) -> int:
    """Returns the step of the newest complete checkpoint, or the recorded one if it is gone."""
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
