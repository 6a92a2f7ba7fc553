"""What is last known of a run, over its sessions."""

import json
from unittest.mock import Mock

from ml_collections import ConfigDict

from common.data.prepared.prepared import DataCard
from common.runs.checkpoints import Checkpoints
from common.runs.workdir import Run, read_record
from common.training.loop import Loop, latest_of
from common.training.train import _recorder


def test_of_a_kind_only_what_was_measured_last_counts():
    before = {"train/loss": 2.0, "val/loss": 1.0, "val/f1_c": 0.0}
    assert latest_of(before, {"val/loss": 3.0}) == {"train/loss": 2.0, "val/loss": 3.0}
    assert latest_of(before, {}) == before


def test_a_score_that_has_no_value_any_more_does_not_come_back_from_an_earlier_session(tmp_path):
    earlier = {"metrics": {"train/loss": 2.0, "val/loss": 1.0, "val/f1_c": 0.0}}
    (tmp_path / "run.json").write_text(json.dumps(earlier))
    run = Run(tmp_path, ConfigDict(), Mock(spec=DataCard))
    record = _recorder(run, examples_per_step=8)
    clock = Mock(seconds=1.0, idle_share=0.0, data_wait_share=0.0)
    loop = Mock(
        spec=Loop,
        clock=clock,
        step=6,
        clocked_from=3,
        latest={"val/loss": 3.0},
        warnings=[],
        checkpoints=Mock(spec=Checkpoints, latest_step=lambda: 6),
        advance=Mock(flops=lambda: 1.0),
        writers=None,
    )
    record(loop)
    assert read_record(tmp_path)["metrics"] == {"train/loss": 2.0, "val/loss": 3.0}
