"""End to end: at the equilibrium the densities are equal and the discriminator says 1/2."""

import json
import time

import jax
import pytest

from common.data.prepared.prepared import prepare
from common.runs.workdir import open_run
from common.training.task import make_task
from gan.density import measure
from gan.sampling import Sampler


@pytest.mark.slow
def test_the_one_dimensional_gan_reaches_its_equilibrium_in_a_minute(launch, tmp_path, monkeypatch):
    started = time.monotonic()
    launch("--config=configs/toy_gan_1d.py", f"--workdir={tmp_path / 'run'}", optimised=True)
    seconds = json.loads((tmp_path / "run" / "run.json").read_text())["wall_seconds"]
    assert seconds < 60 and seconds < time.monotonic() - started
    monkeypatch.setenv("TRIPTYCH_CACHE", str(tmp_path / "cache"))
    run = open_run(tmp_path / "run")
    task = make_task(run.config, run.card)
    with run.checkpoints as checkpoints:
        state = checkpoints.restore(
            checkpoints.latest_step(), jax.eval_shape(lambda: task.init(jax.random.key(0)))
        )
    split = prepare(run.config.data).splits["test"]
    seen = measure(task.gan, Sampler(task.gan), state, split.read(range(len(split)))["image"])
    assert seen.indecision < 0.1
    assert seen.distance < 0.15
    # The map from z to x preserves order or reverses it, as in the figure: no density is lost.
    spread = seen.drawn.std() / seen.data.std()
    assert 0.8 < spread < 1.2
