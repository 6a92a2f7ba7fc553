"""When things are due; what counts as idle."""

import time

from common.training.clock import DeviceClock, Schedule
from common.training.config import default_config


def test_dispatches_end_at_every_boundary_wherever_a_run_was_interrupted():
    schedule = Schedule(num_steps=100, log=10, evaluate=25, checkpoint=0, picture=40)
    for start in (0, 3, 11, 24):
        step, ends = start, []
        while step < 100:
            step = schedule.next_boundary(step)
            ends.append(step)
        assert ends == [e for e in (10, 20, 25, 30, 40, 50, 60, 70, 75, 80, 90, 100) if e > start]


def test_everything_with_a_cadence_is_due_at_the_end():
    schedule = Schedule(num_steps=7, log=5, evaluate=0, checkpoint=100, picture=3)
    assert schedule.due(schedule.log, 7) and schedule.due(schedule.checkpoint, 7)
    assert not schedule.due(schedule.evaluate, 7)
    assert [s for s in range(1, 8) if schedule.due(schedule.picture, s)] == [3, 6, 7]


def test_epochs_are_counted_in_the_global_batch():
    config = default_config()
    config.train.update(num_steps="2 epochs", log_every="1 epoch")
    schedule = Schedule.from_config(config, num_examples=425)
    assert (schedule.num_steps, schedule.log) == (27, 14)  # 13.28 steps an epoch, rounded up


class Work:
    """Stands for an array that a dispatch makes."""

    def __init__(self, seconds):
        self.end = time.perf_counter() + seconds

    def is_ready(self):
        return time.perf_counter() >= self.end

    def block_until_ready(self):
        time.sleep(max(0.0, self.end - time.perf_counter()))


def test_a_queue_that_never_runs_empty_is_never_idle():
    clock = DeviceClock()
    end = time.perf_counter()
    for _ in range(5):
        clock.before_dispatch()
        end = max(end, time.perf_counter()) + 0.03
        clock.after_dispatch(Work(end - time.perf_counter()))
    assert clock.idle_seconds == 0


def test_time_between_the_end_of_the_work_and_the_next_dispatch_is_idle():
    clock = DeviceClock()
    clock.before_dispatch()
    clock.after_dispatch(Work(0.01))
    clock.finish()
    time.sleep(0.05)
    clock.before_dispatch()
    assert 0.05 <= clock.idle_seconds < 0.09
    assert 0 < clock.idle_share < 1


def test_other_compiled_work_is_not_idle():
    clock = DeviceClock()
    clock.before_dispatch()
    clock.after_dispatch(Work(0))
    clock.finish()
    time.sleep(0.05)
    clock.count_as_busy()
    clock.before_dispatch()
    assert clock.idle_seconds < 0.02
