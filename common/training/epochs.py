"""The order of the data as a function of (seed, step) only.

The training stream is one epoch after another, each a permutation of all examples. A batch may
span two epochs, so nothing is dropped and every example is seen equally often.
"""

from functools import lru_cache

import numpy as np
from jaxtyping import Int


@lru_cache(maxsize=2)  # a batch can span the end of one epoch and the start of the next
def epoch_order(seed: int, epoch: int, num_examples: int) -> Int[np.ndarray, " num_examples"]:
    """Returns the permutation of `num_examples` indices in which one epoch visits them."""
    return np.random.default_rng([seed, epoch]).permutation(num_examples)


def batch_indices(
    step: int, batch_size: int, seed: int, num_examples: int, shuffle: bool
) -> Int[np.ndarray, " batch_size"]:
    """Returns the examples of the global batch of one step (the first step is 0)."""
    positions = np.arange(step * batch_size, (step + 1) * batch_size)
    if not shuffle:
        return positions % num_examples
    epochs, within = np.divmod(positions, num_examples)
    picked = np.empty(batch_size, np.int64)
    for epoch in np.unique(epochs):
        here = epochs == epoch
        picked[here] = epoch_order(seed, int(epoch), num_examples)[within[here]]
    return picked
