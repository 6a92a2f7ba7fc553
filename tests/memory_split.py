"""A split whose examples are in memory, for tests of what reads from one."""

import numpy as np

from common.data.prepared.prepared import Split


def split_of(examples):
    """Returns the split of all examples, given as dicts of arrays, in order."""
    rows = np.arange(len(examples))
    return Split(examples, rows, tuple(f"{row}.png" for row in rows), ("",) * len(rows))
