"""A run in Weights & Biases: in WORKDIR/wandb, and sent only if WANDB_MODE=online is set."""

import os
from collections.abc import Mapping

from common.report.images import Picture
from common.training.followed import Followed


class WandbTracker:
    """Numbers, pictures and settings in Weights & Biases; see `Tracker`.

    Its rows are those of metrics.jsonl, with the step as a number of its own: its own counter would
    leave out the steps that a resumed run does again.
    """

    def __init__(self, run: Followed) -> None:
        """Begins the run, or goes on with it."""
        os.environ.setdefault("WANDB_MODE", "offline")
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        self._image = wandb.Image
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or "triptych",
            name=run.name,
            dir=run.workdir,
            id=run.identifier or None,
            resume=None if os.environ["WANDB_MODE"] == "offline" else "allow",
            settings=wandb.Settings(console="off", silent=True),
        )
        self._run.config.update(dict(run.settings), allow_val_change=True)
        self._run.define_metric("*", step_metric="step")
        self.identifier: str = self._run.id
        sent = f"wandb sync {run.workdir}/wandb/offline-run-*-{self.identifier}"
        self.where: str = sent if self._run.offline else self._run.url

    def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        """Writes numbers at a step."""
        self._run.log({"step": step, **scalars})

    def write_images(self, step: int, images: Mapping[str, Picture]) -> None:
        """Writes pictures at a step."""
        pictures = {name: self._image(picture) for name, picture in images.items()}
        self._run.log({"step": step, **pictures})

    def close(self) -> None:
        """Ends this session of the run."""
        self._run.finish()
