"""The AC-GAN here, trained as `launch.py` does it: the same feed, dispatches and clock."""

import flax
import jax
from ml_collections import ConfigDict

from common.data.feed import open_feed
from common.data.prepared import Prepared
from common.training import parallel
from common.training.clock import DeviceClock
from common.training.task import make_task


def software() -> str:
    """Returns the versions, and what JAX computes on."""
    device = jax.devices()[0].device_kind
    return f"JAX {jax.__version__}, Flax {flax.__version__} ({jax.device_count()} x {device})"


class Ours:
    """A run without evaluations, pictures and checkpoints."""

    def __init__(self, config: ConfigDict, prepared: Prepared) -> None:
        task = make_task(config, prepared.card)
        self._state = parallel.replicate(jax.jit(task.init)(jax.random.key(config.seed)))
        self._feed, self._step = open_feed(config, prepared, task.batches), 0
        block = self._feed.block(0, 1)
        self._advance = parallel.compile_advance(task, config.seed, self._state, block)

    def run(self, num_steps: int) -> None:
        """Makes steps, waits for them and reads their metrics, as the loop does when it logs."""
        clock, metrics = DeviceClock(), self._advance.empty_metrics()
        end = self._step + num_steps
        while self._step < end:
            count = min(self._feed.max_steps, end - self._step)
            block = self._feed.block(self._step, count)
            clock.before_dispatch()
            self._state, metrics, done = self._advance.run(self._state, metrics, block)
            clock.after_dispatch(done)
            self._step += count
        clock.finish()
        jax.block_until_ready(self._state)
        parallel.to_host(metrics).compute()
