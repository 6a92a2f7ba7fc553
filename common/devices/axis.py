"""The axis over which a batch is spread: its name, and the devices along it."""

from functools import cache

import jax

AXIS = "batch"


@cache
def all_devices() -> list[jax.Device]:
    """Returns all devices, those of one process next to each other: rows of the batch lie so."""
    return [d for process in range(jax.process_count()) for d in jax.local_devices(process)]
