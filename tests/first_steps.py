"""Runs the first steps of a GAN on however many devices there are, and saves what came out.

python tests/first_steps.py float32 OUT.npz acgan_covid 32   draws; losses, gradients of one step
python tests/first_steps.py float64 OUT.npz acgan_covid 32   parameters after five steps

The config comes from configs/; the number is the size of the images.
"""

import sys
from functools import partial
from importlib import import_module

import jax
import jax.numpy as jnp
import numpy as np

from common.data.phantoms import lung_ct
from common.data.prepared.prepared import DataCard
from common.devices import placement
from common.devices.axis import AXIS
from common.learning.randomness import example_keys, step_key
from common.training import dispatch
from common.training.dispatch import Block
from common.training.task import make_task, new_state
from gan.drawing import draw_latents
from gan.steps import DROPOUT_REAL, LATENTS


def draws(gan, position):
    """Returns the latents and a dropout mask of the first step, as each device draws them."""
    from common.networks.layers import dropout

    rng = step_key(jax.random.key(0), jnp.int32(0))
    latents = draw_latents(gan, example_keys(rng, LATENTS, position))
    ones = jnp.ones((position.shape[0], 8, 8, 4))
    return latents, dropout(ones, example_keys(rng, DROPOUT_REAL, position), 0.25)


def main(dtype, out, name, size):
    if dtype == "float64":
        jax.config.update("jax_enable_x64", True)
    config = import_module(f"configs.{name}").get_config()
    batch, num = config.data.batch_size, 5 * config.data.batch_size
    card = DataCard("phantoms", ("COVID", "NonCOVID"), {"train": num}, size, 1, "0", True, 0)
    phantoms = lung_ct(0, num, size)
    task = make_task(config, card)
    state = task.load_frozen(new_state(task, 0))
    to_dtype = partial(jnp.asarray, dtype=dtype)
    state = jax.tree.map(lambda x: to_dtype(x) if x.dtype == jnp.float32 else x, state)
    devices = jax.device_count()
    state = placement.replicate(state)
    examples = placement.replicate({"image": phantoms.images, "label": phantoms.labels})
    saved = {}
    position = placement.shard(np.arange(batch, dtype=np.int32).reshape(devices, -1))
    latents, mask = jax.pmap(partial(draws, task.gan), AXIS)(position)
    saved["latents"], saved["mask"] = (
        np.asarray(x).reshape(batch, *x.shape[2:]) for x in (latents, mask)
    )
    num_steps = 1 if dtype == "float32" else 5
    advance = None
    for step in range(num_steps):
        rows = np.arange(step * batch, (step + 1) * batch, dtype=np.int32)
        block = Block(examples, placement.shard(rows.reshape(devices, 1, 1, -1)), 1)
        advance = advance or dispatch.compile_advance(task, [0], state, block)
        state, metrics, _ = advance.run(state, advance.empty_metrics(), block)
        if step == 0:
            computed = placement.to_host(metrics).compute()
            saved |= {f"metric/{name}": np.asarray(value) for name, value in computed.items()}
    state = placement.to_host(state)
    for player in ("generator", "discriminator"):
        network = getattr(state, player)
        for path, leaf in jax.tree_util.tree_leaves_with_path(network.params):
            saved[f"params/{player}{jax.tree_util.keystr(path)}"] = leaf
        # After one step Adam's first moment is (1 - beta1) times the gradient.
        kept = config.optimizer[player].beta1
        for path, leaf in jax.tree_util.tree_leaves_with_path(network.opt_state[0].mu):
            saved[f"gradient/{player}{jax.tree_util.keystr(path)}"] = leaf / (1 - kept)
        for path, leaf in jax.tree_util.tree_leaves_with_path(network.batch_stats):
            saved[f"stats/{player}{jax.tree_util.keystr(path)}"] = leaf
    np.savez(out, **saved)


if __name__ == "__main__":
    main(*sys.argv[1:4], size=int(sys.argv[4]))
