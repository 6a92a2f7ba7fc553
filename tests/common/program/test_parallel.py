"""Threads: results in order, and no more threads than CPUs that the process may use."""

import os
import sys
import threading

import pytest

from common.program import parallel
from common.program.parallel import in_parallel, num_cpus


def test_results_come_in_order_and_two_items_are_worked_on_at_a_time(monkeypatch):
    monkeypatch.setattr(parallel, "num_cpus", lambda: 2)
    both_here = threading.Barrier(2, timeout=30)

    def work(item):
        both_here.wait()
        return 2 * item

    assert in_parallel(work, range(6), "working") == [0, 2, 4, 6, 8, 10]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says which CPUs")
def test_only_the_cpus_count_that_the_process_may_use():
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert num_cpus() == 1
    finally:
        os.sched_setaffinity(0, before)
