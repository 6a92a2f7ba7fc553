"""The processes of a run: their identity, their agreements, their shares of a batch."""

import os
from collections.abc import Callable
from typing import TypeVar

import jax
import numpy as np
from jax._src.clusters import ClusterEnv  # JAX has no other way to ask who the processes are
from jax.experimental import multihost_utils

from common.devices.relay import relay_to
from common.devices.roll_call import meet
from common.devices.watch import Watch
from common.program.errors import PeerError, UserError
from common.program.words import counted

Result = TypeVar("Result")

_NEVER = 10**6  # seconds


def start_distributed(coordinator: str, num_processes: int, process_id: int) -> None:
    """Joins the other processes: those in the arguments, else those of the cluster.

    If srun, mpirun or a TPU pod started several processes, JAX reads their number and addresses
    from the environment; otherwise this process is alone.

    Raises:
      UserError: they do not find each other.
    """
    if coordinator:
        _join(coordinator, num_processes, process_id)
    elif _processes_of_cluster() > 1:
        where, count, number, _ = ClusterEnv.auto_detect_unset_distributed_params(
            *(None, None, None, None, None), initialization_timeout=300
        )
        if where is None or count is None or number is None:
            raise UserError(
                "Several processes were started, but not in a way that JAX knows; give each"
                " --coordinator, --num_processes and --process_id."
            )
        _join(where, count, number)


def _join(coordinator: str, count: int, number: int) -> None:
    """Connects this process with the others, and watches over them from now on."""
    meeting = meet(coordinator, count, number)
    Watch(meeting.links).begin()
    # JAX would handle SIGTERM itself, which common/program/interrupts.py does.
    jax.config.update("jax_enable_preemption_service", False)
    host, port = coordinator.rpartition(":")[0], meeting.jax_port
    near = relay_to(host, port) if number else port
    # It would abort where another process is silent; common/devices/watch.py ends this one then.
    jax.distributed.initialize(f"127.0.0.1:{near}", count, number, heartbeat_timeout_seconds=_NEVER)


def _processes_of_cluster() -> int:
    """Returns the number of processes that the launcher started; 1 without a launcher."""
    env = os.environ
    return max(
        int(env.get("SLURM_STEP_NUM_TASKS", 1)),
        int(env.get("OMPI_COMM_WORLD_SIZE", 1)),
        len(env.get("TPU_WORKER_HOSTNAMES", "").split(",")),
    )


def is_main_process() -> bool:
    """Returns whether this process writes logs, pictures and the config."""
    return jax.process_index() == 0


def alone() -> bool:
    """Returns whether this is the only process."""
    return bool(jax.process_count() == 1)


def all_succeed(error: Exception | None) -> None:
    """Ends every process when one has failed, so that none waits for it forever.

    All processes must call it together.

    Raises:
      Exception: this process's own error.
      PeerError: another process failed.
    """
    failed = any_process(error is not None)
    if error is not None:
        raise error
    if failed:
        raise PeerError("Another process has failed; see its message.")


def any_process(flag: bool) -> bool:
    """Returns whether the flag is set in any process; all processes must call it together."""
    return bool(highest(flag))


def highest(number: int) -> int:
    """Returns the highest number of all processes; all must call it together."""
    if alone():
        return number
    return int(np.max(multihost_utils.process_allgather(np.array(number, np.int32))))


def local_batch_size(batch_size: int, *, is_part: bool = False) -> int:
    """Returns this process's share of the global batch, or of a part of it.

    Raises:
      UserError: the batch is not divisible by the number of devices.
    """
    devices = jax.device_count()
    if batch_size % devices and is_part:
        raise UserError(
            f"config.optimizer.accumulate leaves {batch_size} images in each part of a batch, which"
            f" is not divisible by {counted(devices, 'device')}; lower it, or change"
            " config.data.batch_size."
        )
    if batch_size % devices:
        near = max(devices, round(batch_size / devices) * devices)
        raise UserError(
            f"config.data.batch_size is {batch_size}, which is not divisible by"
            f" {counted(devices, 'device')};"
            f" set --config.data.batch_size={near}."
        )
    share: int = batch_size // jax.process_count()
    return share


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
