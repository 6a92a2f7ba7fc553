"""The axis that a batch is spread over: its name, and the devices along it."""

from functools import cache

import jax

AXIS = "batch"


@cache
def all_devices() -> list[jax.Device]:
    """Returns all devices, grouped by process, in the order of the batch's rows."""
    return [d for process in range(jax.process_count()) for d in jax.local_devices(process)]
