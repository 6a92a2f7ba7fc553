"""Runs that no training has touched: a workdir with a checkpoint of the state at the start."""

from pathlib import Path

import jax
from ml_collections import ConfigDict

from common.data.prepared.prepared import prepare
from common.devices import placement
from common.runs.workdir import Run, claim, exclusive
from common.training.task import make_task


def untrained(config: ConfigDict, workdir: Path, **card: object) -> Run:
    """Makes the workdir of a run; keywords replace fields of its data card."""
    found = prepare(config.data).card
    run = Run(workdir, config, type(found).from_dict({**found.to_dict(), **card}))
    task = make_task(config, run.card)
    with exclusive(workdir):
        claim(run)
        with run.checkpoints as checkpoints:
            state = jax.jit(task.init)(jax.random.key(config.seed))
            checkpoints.save(1, placement.to_host(placement.replicate(state)), {})
    return run
