"""The processes of a run: who they are, what they agree on, their shares of a batch."""

import os
from collections.abc import Callable
from typing import TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from common.program.errors import UserError
from common.program.words import counted

Result = TypeVar("Result")


def start_distributed(coordinator: str, num_processes: int, process_id: int) -> None:
    """Joins the other processes: those that the arguments name, else those of the cluster.

    Where srun, mpirun or a TPU pod started several processes, JAX reads from the environment how
    many there are and where; elsewhere this process is alone.
    """
    # It would take SIGTERM for itself; common/program/interrupts.py says what becomes of that.
    jax.config.update("jax_enable_preemption_service", False)
    if coordinator:
        jax.distributed.initialize(coordinator, num_processes, process_id)
    elif _processes_of_cluster() > 1:
        jax.distributed.initialize()


def _processes_of_cluster() -> int:
    """Returns how many processes the launcher started; 1 where there is none."""
    env = os.environ
    return max(
        int(env.get("SLURM_STEP_NUM_TASKS", 1)),
        int(env.get("OMPI_COMM_WORLD_SIZE", 1)),
        len(env.get("TPU_WORKER_HOSTNAMES", "").split(",")),
    )


def is_main_process() -> bool:
    """Says whether this process writes logs, pictures and the config."""
    return jax.process_index() == 0


def alone() -> bool:
    """Says whether this is the only process."""
    return jax.process_count() == 1


def all_succeed(error: Exception | None) -> None:
    """Ends every process when one has met an error, so that none waits for it forever.

    Every process must call it at the same time.

    Raises:
      Exception: this process's own.
      UserError: another one has one.
    """
    failed = any_process(error is not None)
    if error is not None:
        raise error
    if failed:
        raise UserError("Another process has met an error; its message says which.")


def any_process(flag: bool) -> bool:
    """Says whether the flag is set in any process; every process must call it at the same time."""
    return bool(highest(flag))


def highest(number: int) -> int:
    """Returns the highest number of all processes; every one must call it at the same time."""
    if alone():
        return number
    return int(np.max(multihost_utils.process_allgather(np.array(number, np.int32))))


def local_batch_size(batch_size: int) -> int:
    """Returns this process's share of the global batch.

    Raises:
      UserError: the batch does not divide by the number of devices.
    """
    devices = jax.device_count()
    if batch_size % devices:
        near = max(devices, round(batch_size / devices) * devices)
        raise UserError(
            f"config.data.batch_size is {batch_size} and does not divide by"
            f" {counted(devices, 'device')};"
            f" set --config.data.batch_size={near}."
        )
    return batch_size // jax.process_count()


def main_process_first(work: Callable[[], Result]) -> Result | None:
    """Runs work in the main process while the others wait; its errors end them all."""
    return together(work if is_main_process() else lambda: None)


def together(work: Callable[[], Result]) -> Result:
    """Runs work in every process; an error in one ends them all."""
    try:
        result = work()
    except Exception as error:
        all_succeed(error)
        raise
    all_succeed(None)
    return result
