"""Checkpoints: what is kept, what comes back, and what a torn one does."""

from types import SimpleNamespace

import numpy as np
import pytest

from common.program.errors import UserError
from common.runs.checkpoints import Checkpoints
from common.training.numbers import Numbers


def state(step):
    return {"step": np.int32(step), "params": {"w": np.full((3, 2), step, np.float32)}}


def steps_in(folder):
    return sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit())


def test_a_state_comes_back_as_it_was(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(7, state(7), {})
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.latest_step() == 7
        restored = checkpoints.restore(7, state(0))
    np.testing.assert_array_equal(restored["params"]["w"], state(7)["params"]["w"])
    assert restored["step"] == 7 and restored["step"].dtype == np.int32


def test_the_last_few_are_kept(tmp_path):
    with Checkpoints(tmp_path, keep_last=2) as checkpoints:
        for step in (1, 2, 3, 4):
            checkpoints.save(step, state(step), {})
    assert steps_in(tmp_path) == [3, 4]


@pytest.mark.parametrize(("best_is", "best"), [("highest", 2), ("lowest", 3)])
def test_the_best_is_kept_beside_the_last(tmp_path, best_is, best):
    scores = {1: 0.5, 2: 0.9, 3: 0.1, 4: 0.6, 5: 0.4}
    with Checkpoints(tmp_path, keep_last=1, best_metric="val/f1", best_is=best_is) as checkpoints:
        for step, score in scores.items():
            checkpoints.save(step, state(step), {"val/f1": score, "val/loss": 1.0})
    assert steps_in(tmp_path) == [best, 5]
    with Checkpoints(tmp_path, best_metric="val/f1", best_is=best_is) as checkpoints:
        assert checkpoints.best(state(0))[0] == best


def test_without_a_named_metric_the_newest_is_the_best(tmp_path):
    with Checkpoints(tmp_path, keep_last=2) as checkpoints:
        assert checkpoints.best(state(0)) is None
        for step in (1, 2):
            checkpoints.save(step, state(step), {"val/f1": -float(step)})
    assert Checkpoints(tmp_path).best(state(0))[0] == 2


def test_saving_a_step_again_does_nothing(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(3, state(3), {})
        checkpoints.save(3, state(4), {})
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.restore(3, state(0))["params"]["w"][0, 0] == 3


def test_a_checkpoint_of_other_networks_is_refused(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(3, state(3), {})
    other = {"step": np.int32(0), "params": {"w": np.zeros((5, 2), np.float32)}}
    with Checkpoints(tmp_path) as checkpoints, pytest.raises(UserError, match="step 3"):
        checkpoints.restore(3, other)


def test_a_score_that_has_no_value_any_more_chooses_no_checkpoint(tmp_path):
    """A network that finds nothing any more has no precision: not the one of the step before."""
    latest = {"train/loss": 1.0, "val/precision": 0.9}
    numbers = SimpleNamespace(latest=latest, writers=None, _checkpoints=Checkpoints(tmp_path))
    Numbers.write(numbers, 4, 3, {"val/loss": 0.5}, {})
    assert numbers.latest == {"train/loss": 1.0, "val/loss": 0.5}
