"""The order of the data is a function of (seed, step)."""

import numpy as np

from common.training.epochs import batch_indices


def stream(num_steps, seed=0, shuffle=True, batch_size=8, num_examples=30):
    batches = [batch_indices(s, batch_size, seed, num_examples, shuffle) for s in range(num_steps)]
    return np.concatenate(batches)


def test_every_epoch_visits_every_example_once_and_drops_nothing():
    whole = stream(15)  # 120 positions: 4 epochs of 30, batches crossing their ends
    for epoch in whole.reshape(4, 30):
        assert sorted(epoch) == list(range(30))


def test_epochs_and_seeds_differ():
    first, second = stream(15)[:30], stream(15)[30:60]
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, stream(15, seed=1)[:30])


def test_a_batch_does_not_depend_on_the_batches_before_it():
    np.testing.assert_array_equal(stream(10)[72:80], batch_indices(9, 8, 0, 30, True))


def test_without_shuffling_the_order_is_that_of_the_set():
    np.testing.assert_array_equal(stream(5, shuffle=False), np.arange(40) % 30)


def test_a_batch_larger_than_the_set_repeats_it():
    batch = batch_indices(0, 64, 0, 30, True)
    assert sorted(batch[:30]) == sorted(batch[30:60]) == list(range(30))
