"""Functions of any number of rows: one shape for all, and nothing of what fills the last one up."""

import numpy as np
import pytest

from common.devices.apply import by_batches, filled, in_batches, shared_batch


@pytest.mark.parametrize("num", [1, 3, 4, 9])
def test_rows_come_back_in_order_and_every_call_has_one_size(num):
    seen = []

    def double(rows, more):
        seen.append((len(rows), len(more)))
        return 2 * rows + more

    rows = np.arange(num)
    np.testing.assert_array_equal(by_batches(double, 4, rows, rows), 3 * rows)
    assert seen == [(4, 4)] * -(-num // 4)


def test_rows_are_filled_up_with_the_last_one():
    np.testing.assert_array_equal(filled(np.array([[1], [2]]), 4), [[1], [2], [2], [2]])


@pytest.mark.parametrize("num", [1, 5, 32])
def test_all_devices_share_a_batch(num):
    import jax

    assert shared_batch(5) % jax.local_device_count() == 0
    rows = np.arange(num, dtype=np.float32)[:, None]
    run = in_batches(lambda constant, x: x + constant, np.float32(1), 5)
    np.testing.assert_array_equal(run(rows), rows + 1)
