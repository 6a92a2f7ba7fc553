"""A run in MLflow: in WORKDIR/mlflow, or on the server that MLFLOW_TRACKING_URI names."""

import os
import re
import time
from collections.abc import Mapping

from common.report.images import Picture
from common.training.followed import Followed

_MOST_PARAMETERS = 100  # in one call
_INVALID = re.compile(r"[^\w/.\- :]")  # in the name of a metric, as a class's name may be


class MLflowTracker:
    """Numbers, pictures and settings in MLflow; see `Tracker`.

    MLflow would rather have a database than files. These need no further package and no migration
    when MLflow is updated, and a workdir can be copied with them.
    """

    def __init__(self, run: Followed) -> None:
        """Begins the run, or goes on with it; its settings stay those that it began with."""
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow import MlflowClient

        folder = (run.workdir / "mlflow").absolute()
        place = os.environ.get("MLFLOW_TRACKING_URI") or folder.as_uri()
        self._client = MlflowClient(place)
        if run.identifier:
            self.identifier = run.identifier
            self._client.update_run(self.identifier, status="RUNNING")
        else:
            self.identifier = self._new_run(run)
        ui = f"MLFLOW_ALLOW_FILE_STORE=true mlflow ui --backend-store-uri {folder}"
        self.where = ui if place == folder.as_uri() else f"run {self.identifier} at {place}"

    def _new_run(self, run: Followed) -> str:
        from mlflow.entities import Param

        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or "triptych"
        experiment = self._client.get_experiment_by_name(name)
        number = experiment.experiment_id if experiment else self._client.create_experiment(name)
        identifier: str = self._client.create_run(number, run_name=run.name).info.run_id
        params = [Param(setting, str(value)) for setting, value in run.settings.items()]
        for first in range(0, len(params), _MOST_PARAMETERS):
            self._client.log_batch(identifier, params=params[first : first + _MOST_PARAMETERS])
        return identifier

    def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        """Writes numbers at a step."""
        from mlflow.entities import Metric

        now = time.time_ns() // 1_000_000
        metrics = [
            Metric(_INVALID.sub("_", name), float(value), now, step)
            for name, value in scalars.items()
        ]
        self._client.log_batch(self.identifier, metrics=metrics)

    def write_images(self, step: int, images: Mapping[str, Picture]) -> None:
        """Writes pictures at a step."""
        for name, picture in images.items():
            self._client.log_image(self.identifier, picture, key=name, step=step)

    def close(self) -> None:
        """Ends this session of the run."""
        self._client.set_terminated(self.identifier)
