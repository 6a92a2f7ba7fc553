"""What is last known of a run, over its sessions."""

import json
from unittest.mock import Mock

import pytest
from ml_collections import ConfigDict

from common.data.prepared.prepared import DataCard
from common.runs.checkpoints import Checkpoints
from common.runs.workdir import Run, read_record
from common.training.clock import DeviceClock
from common.training.numbers import Numbers, latest_of
from common.training.record import Recorder, record_utilisation


def test_of_a_kind_only_what_was_measured_last_counts():
    before = {"train/loss": 2.0, "val/loss": 1.0, "val/f1_c": 0.0}
    assert latest_of(before, {"val/loss": 3.0}) == {"train/loss": 2.0, "val/loss": 3.0}
    assert latest_of(before, {}) == before


def record_session(run, latest, flops=None):
    """Records a session that has timed three steps of 8 examples in a second."""
    checkpoints = Mock(spec=Checkpoints, latest_step=lambda: 6)
    clock = Mock(spec=DeviceClock, seconds=1.0, idle_share=0.0, data_wait_share=0.0)
    numbers = Mock(spec=Numbers, latest=latest, warnings=[], writers=None)
    Recorder(run, checkpoints, 8, flops).write(6, 3, clock, numbers)


@pytest.fixture
def run(tmp_path):
    config = ConfigDict({"train": {"dtype": "float32"}})
    return Run(tmp_path, config, Mock(spec=DataCard))


def test_a_score_that_has_no_value_any_more_does_not_come_back_from_an_earlier_session(run):
    earlier = {"metrics": {"train/loss": 2.0, "val/loss": 1.0, "val/f1_c": 0.0}}
    (run.workdir / "run.json").write_text(json.dumps(earlier))
    record_session(run, {"val/loss": 3.0})
    assert read_record(run.workdir)["metrics"] == {"train/loss": 2.0, "val/loss": 3.0}


def test_the_speed_is_that_of_the_steps_that_were_timed(run):
    record_session(run, {}, lambda: 1e9)
    record_utilisation(run)
    record = read_record(run.workdir)
    assert record["images_per_second"] == 24.0
    assert record["flops_per_second_and_device"] == 3e9
    share = 3e9 / record["matrix_flops_per_second"]
    assert record["utilisation"] == pytest.approx(share, abs=1e-4)


def test_a_short_training_says_nothing_of_operations(run):
    """Not even those of a longer session before it, which would not fit its images a second."""
    record_session(run, {}, lambda: 1e9)
    record_utilisation(run)
    record_session(run, {})
    record_utilisation(run)
    assert not {"flops_per_second_and_device", "utilisation"} & read_record(run.workdir).keys()
