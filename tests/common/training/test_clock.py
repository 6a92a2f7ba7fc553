"""When things are due; what counts as idle."""

import time

import jax.numpy as jnp
import pytest

from common.config.defaults import TrainSettings
from common.training.clock import DeviceClock, Due, Schedule


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
    assert schedule.due(7) == Due(log=True, evaluate=False, save=True, draw=True, stop=False)
    assert [s for s in range(1, 8) if schedule.due(s).draw] == [3, 6, 7]


def test_saving_ends_a_logging_interval_and_the_last_state_is_always_saved():
    schedule = Schedule(num_steps=9, log=5, evaluate=0, checkpoint=4, picture=0)
    assert [s for s in range(1, 10) if schedule.due(s).save] == [4, 8, 9]
    assert [s for s in range(1, 10) if schedule.due(s).log] == [4, 5, 8, 9]
    assert Schedule(9, 5, 0, 0, 0).due(9).save


def test_epochs_are_counted_in_the_global_batch():
    settings = TrainSettings(num_steps="2 epochs", log_every="1 epoch")
    schedule = Schedule.of(settings, steps_per_epoch=425 / 32)
    assert (schedule.num_steps, schedule.log) == (27, 14)  # 13.28 steps an epoch, rounded up


class Machine:
    """A clock that moves only when told to, and a device that works along it."""

    def __init__(self):
        self.time = self.busy_until = 100.0

    def now(self):
        return self.time

    def work(self, seconds):
        """Queues work behind what is running; returns what stands for its result."""
        self.busy_until = max(self.time, self.busy_until) + seconds
        return Work(self, self.busy_until)


class Work:
    """What a dispatch makes, and the future of when it is ready."""

    def __init__(self, machine, end):
        self.machine, self.end = machine, end

    def done(self):
        return self.machine.time >= self.end

    def result(self):
        self.machine.time = max(self.machine.time, self.end)
        return self.end


def make_clock(machine):
    return DeviceClock(machine.now, watch=lambda work: work)


def run(machine, clock, num_steps, seconds=1.0, between=0.125):
    for _ in range(num_steps):
        clock.before_dispatch()
        clock.after_dispatch(machine.work(seconds))
        machine.time += between  # Python between two dispatches


def test_a_queue_that_never_runs_empty_is_never_idle():
    machine = Machine()
    clock = make_clock(machine)
    run(machine, clock, 10)
    clock.finish()
    clock.stop()
    assert (clock.idle_seconds, clock.seconds) == (0.0, 10.0)


def test_a_pause_in_which_nothing_is_queued_is_idle():
    machine = Machine()
    clock = make_clock(machine)
    run(machine, clock, 3)
    clock.finish()
    machine.time += 2.0  # a picture
    run(machine, clock, 3)
    clock.finish()
    machine.time += 4.0  # the last picture
    clock.stop()
    assert clock.idle_seconds == pytest.approx(6.0)
    assert clock.idle_share == pytest.approx(6.0 / 12.0)


def test_evaluation_is_work():
    machine = Machine()
    clock = make_clock(machine)
    run(machine, clock, 3)
    clock.finish()
    machine.time += 2.5
    clock.evaluated(2.0)
    run(machine, clock, 1)
    clock.finish()
    clock.stop()
    assert clock.idle_seconds == pytest.approx(0.5)


def test_a_clock_that_starts_anew_has_seen_nothing():
    machine = Machine()
    clock = make_clock(machine)
    starve(machine, clock, 2, data_seconds=3.0)
    machine.time += 8.0
    clock.restart()
    machine.time += 8.0  # what is compiled meanwhile does not count
    run(machine, clock, 4)
    clock.finish()
    clock.stop()
    assert (clock.idle_seconds, clock.data_seconds, clock.seconds) == (0.0, 0.0, 4.0)
    assert clock.lap() == 0.0


def starve(machine, clock, num_steps, data_seconds):
    for _ in range(num_steps):
        with clock.waiting_for_data():
            machine.time += data_seconds
        clock.before_dispatch()
        clock.after_dispatch(machine.work(1.0))


def test_a_device_without_data_is_idle_for_as_long_as_it_has_nothing_to_do():
    machine = Machine()
    clock = make_clock(machine)
    starve(machine, clock, 11, data_seconds=1.25)  # a little slower than the step
    clock.stop()
    assert clock.data_seconds == pytest.approx(10 * 0.25)
    assert clock.idle_seconds == pytest.approx(10 * 0.25)
    assert clock.data_wait_share == pytest.approx(2.5 / 13.5)


def test_data_that_comes_while_the_device_works_costs_nothing():
    machine = Machine()
    clock = make_clock(machine)
    starve(machine, clock, 11, data_seconds=0.75)
    assert (clock.data_seconds, clock.idle_seconds) == (0.0, 0.0)


def test_an_interval_has_its_own_share_of_waiting():
    machine = Machine()
    clock = make_clock(machine)
    starve(machine, clock, 1, data_seconds=5.0)  # before the first dispatch nothing counts
    starve(machine, clock, 4, data_seconds=2.0)
    assert clock.lap() == pytest.approx(0.5)
    starve(machine, clock, 4, data_seconds=0.5)
    assert clock.lap() == 0.0


def test_a_pause_before_the_data_is_not_waiting_for_data():
    machine = Machine()
    clock = make_clock(machine)
    starve(machine, clock, 1, data_seconds=0.0)
    clock.finish()
    machine.time += 3.0  # a picture
    starve(machine, clock, 1, data_seconds=1.0)
    assert (clock.data_seconds, clock.idle_seconds) == (1.0, 4.0)


def test_what_really_runs_is_seen_to_end():
    clock = DeviceClock()
    clock.before_dispatch()
    clock.after_dispatch(jnp.ones(3) * 2)
    clock.finish()
    time.sleep(0.02)
    clock.stop()
    assert 0.02 <= clock.idle_seconds <= clock.seconds
