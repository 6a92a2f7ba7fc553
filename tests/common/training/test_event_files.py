"""What TensorBoard's own reader finds in a run's event files."""

import math
from itertools import count

import numpy as np
import pytest

from common.training.event_files import EventWriter, open_event_writer
from tests.event_reader import read_events

GREY = np.arange(12, dtype=np.uint8).reshape(3, 4, 1)
COLOUR = np.arange(36, dtype=np.uint8).reshape(3, 4, 3)


def test_tensorboard_reads_the_numbers_and_pictures(tmp_path):
    writer = EventWriter(tmp_path)
    writer.write_scalars(10, {"train/loss": 0.5, "val/f1 of COVID+": 1.0})
    writer.write_scalars(20, {"train/loss": math.inf, "val/auroc": math.nan})
    writer.write_images(20, {"samples": GREY, "masks": COLOUR})
    found = read_events(tmp_path)  # nobody closed the file
    writer.close()
    assert found["train/loss"] == {10: 0.5, 20: math.inf}
    assert found["val/f1 of COVID+"] == {10: 1} and math.isnan(found["val/auroc"][20])
    np.testing.assert_array_equal(found["samples"][20], GREY)
    np.testing.assert_array_equal(found["masks"][20], COLOUR)


def test_a_resumed_run_shows_no_step_twice(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("time.time", map(float, count(1_700_000_000)).__next__)
    for restored, steps in ((0, (7,)), (0, (10, 20, 30)), (20, (30, 40)), (30, (40,))):
        writer = open_event_writer(tmp_path / "metrics", restored)
        for step in steps:
            writer.write_scalars(step, {"train/loss": float(restored + step)})
        writer.close()
    assert read_events(tmp_path / "metrics") == {"train/loss": {10: 10, 20: 20, 30: 50, 40: 70}}


def test_a_workdir_that_was_removed_is_not_made_anew(tmp_path):
    with pytest.raises(FileNotFoundError):
        open_event_writer(tmp_path / "run" / "metrics", 0)
    assert not (tmp_path / "run").exists()
