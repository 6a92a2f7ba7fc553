"""The order of the data as a function of (seed, step) only.

The training stream is one epoch after another, each a permutation of all examples. A batch may
span two epochs, so nothing is dropped and every example is seen equally often. Where classes are
balanced, they take turns, and each has a stream of its own: rare images are seen more often.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from jaxtyping import Int


@lru_cache(maxsize=64)  # streams: of each class, and of each replica
def _orders(
    seed: int, num_examples: int, *stream: int
) -> Callable[[int], Int[np.ndarray, " num_examples"]]:
    """Returns epoch -> the permutation of `num_examples` indices in which it visits them.

    Streams have numbers; that of all examples has none.
    """

    @lru_cache(maxsize=2)  # a batch can span the end of one epoch and the start of the next
    def order(epoch: int) -> Int[np.ndarray, " num_examples"]:
        return np.random.default_rng([seed, epoch, *stream]).permutation(num_examples)

    return order


def batch_indices(
    step: int,
    batch_size: int,
    seed: int,
    num_examples: int,
    shuffle: bool,
    labels: Int[np.ndarray, " num_examples"] | None = None,
) -> Int[np.ndarray, " batch_size"]:
    """Returns the examples of the global batch of one step (the first step is 0).

    With labels, one class after the other has a place in the batch; images without a label (-1)
    are one more class.
    """
    positions = np.arange(step * batch_size, (step + 1) * batch_size)
    if labels is None:
        return _visited(positions, seed, num_examples, shuffle)
    classes = np.unique(labels).tolist()
    picked = np.empty(batch_size, np.int64)
    for turn, label in enumerate(classes):
        mine, examples = positions % len(classes) == turn, np.flatnonzero(labels == label)
        of_class = positions[mine] // len(classes)
        stream = label % 2**32  # numbers of streams are not negative
        picked[mine] = examples[_visited(of_class, seed, len(examples), shuffle, stream)]
    return picked


def _visited(
    positions: Int[np.ndarray, " some"], seed: int, num_examples: int, shuffle: bool, *stream: int
) -> Int[np.ndarray, " some"]:
    """Returns which examples are at some positions of a stream, which repeats all of them."""
    if not shuffle:
        return positions % num_examples
    epochs, within = np.divmod(positions, num_examples)
    order = _orders(seed, num_examples, *stream)
    picked = np.empty(len(positions), np.int64)
    for epoch in np.unique(epochs).tolist():
        here = epochs == epoch
        picked[here] = order(epoch)[within[here]]
    return picked
