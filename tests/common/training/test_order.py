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


class TestBalanced:
    labels = np.array([0] * 20 + [1] * 3 + [4] * 7)  # two classes have no image

    def stream(self, num_steps, shuffle=True, batch_size=6):
        batches = [
            batch_indices(step, batch_size, 0, 30, shuffle, self.labels)
            for step in range(num_steps)
        ]
        return np.concatenate(batches)

    def test_a_batch_has_as_many_images_of_each_class(self):
        for batch in self.stream(20).reshape(20, 6):
            classes, counts = np.unique(self.labels[batch], return_counts=True)
            assert (classes.tolist(), counts.tolist()) == ([0, 1, 4], [2, 2, 2])

    def test_every_image_of_a_class_comes_before_one_comes_again(self):
        seen = self.stream(70)  # 140 of each class
        for label, rows in ((0, range(20)), (1, range(20, 23)), (4, range(23, 30))):
            of_class = seen[self.labels[seen] == label]
            epochs = of_class[: len(of_class) // len(rows) * len(rows)].reshape(-1, len(rows))
            assert all(sorted(epoch) == list(rows) for epoch in epochs)
            assert len({tuple(epoch) for epoch in epochs}) > 1

    def test_a_batch_does_not_depend_on_the_batches_before_it(self):
        """Nor on how many classes fit in it."""
        whole = self.stream(8, batch_size=5)
        last = batch_indices(7, 5, 0, 30, True, self.labels)
        np.testing.assert_array_equal(whole[35:], last)

    def test_without_shuffling_each_class_comes_in_the_order_of_the_set(self):
        found = self.stream(2, shuffle=False).reshape(4, 3)
        assert found.tolist() == [[0, 20, 23], [1, 21, 24], [2, 22, 25], [3, 20, 26]]
