"""Times the generator's update of the 200x200 convolutional GAN here against PyTorch, in turn.

    python bench/cnn_gan.py [--batch_size=8] [--image_size=200] [--rounds=3] [--steps=1]
                            [--variant=NCHW]

The update: latents and fresh dropout masks, through the generator and the discriminator, binary
cross-entropy toward "real", back through both, Adam. Ours is a training step without the
discriminator's update, dispatched as `launch.py` does it. PyTorch convolves with the last kernel,
50x50 at 200x200, directly; ours goes through the Fourier domain. Both run on the CPU, with huge
pages. Of PyTorch's variants NCHW was the fastest: one image of 200x200 took it 32 s on a busy
machine; channels_last and torch.compile were stopped after 216 s.

Prints one table; none when the two are not the same function of the same weights. A ratio compares
two neighbouring rounds.

With --rounds=1 on two cores of an AMD EPYC that other programs were using too (2026-11-24):

    s per update                          2.55 here, 152 in PyTorch 2.13
    times as fast                         59.7 (of processor time 62.3)
    largest difference, same weights      images 5e-5, gradients 2e-5

Nearly all of it is the Fourier transform.
"""

import argparse
import importlib.util
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from acgan_ours import software
from clu.parameter_overview import count_parameters
from frame import (
    Contender,
    Row,
    Spent,
    circumstances,
    end,
    first_steps,
    interleave,
    positive,
    say,
    spread,
    table,
)
from jaxtyping import Array, Key
from ml_collections import ConfigDict

from common import metrics
from common.data.augmentation import Augmentation
from common.data.prepared import DataCard
from common.errors import UserError
from common.huge_pages import restart_with_huge_pages
from common.training import parallel
from common.training.task import Batch, Metrics
from configs.cnn_gan_chest_xray import get_config
from gan.state import GANState, make_gan
from gan.steps import draw_fakes, generator_step
from gan.task import GANTask

TOLERANCE = 1e-4
WARM_UP_STEPS = 2  # of ours; an update of PyTorch takes so long that its first is enough
_FEW = 2  # images, where PyTorch is not timed
# As the original description counts them.
KNOWN_PARAMETERS = {200: (83_724_547, 247_905)}


class Sameness(NamedTuple):
    """What the two have in common.

    Attributes:
      parameters: numbers in the generator and in the discriminator, equal in both frameworks.
      images: the largest difference between two pixels, as a share of the largest pixel.
      gradients: the largest difference between two entries of the gradient of the loss toward the
        same weight of the generator, as a share of the largest entry.
    """

    parameters: tuple[int, int]
    images: float
    gradients: dict[str, float]

    @property
    def difference(self) -> float:
        """Returns the largest of all."""
        return max(self.images, *self.gradients.values())


class GeneratorTask(GANTask):
    """A GAN's training without the discriminator's update, on latents that are given."""

    def train_step(
        self, state: GANState, batch: Batch, rng: Key[Array, ""]
    ) -> tuple[GANState, Metrics]:
        """Updates the generator."""
        position = batch["position"]
        generated = draw_fakes(self.gan, state, batch["latent"], jnp.zeros_like(position))
        state, outputs = generator_step(self.gan, state, generated, rng, position)
        return replace(state, step=state.step + 1), metrics.averages(outputs)


class OurUpdate:
    """The generator's update, over and over on the same latents.

    Attributes:
      gan: the networks.
      state: on the devices.
    """

    def __init__(self, config: ConfigDict) -> None:
        size, devices = parallel.local_batch_size(config.data.batch_size), jax.local_device_count()
        task, state = random_start(config)
        self.gan = task.gan
        self.state = parallel.replicate(state)
        rows = np.broadcast_to(np.arange(size // devices), (devices, 1, 1, size // devices))
        latents = latents_of(config).reshape(devices, size // devices, -1)
        examples = parallel.shard({"latent": latents})
        self._block = parallel.Block(examples, parallel.shard(rows), num_steps=1)
        self._advance = parallel.compile_advance(task, config.seed, self.state, self._block)

    def run(self, num_steps: int) -> None:
        """Makes updates, waits for them and reads their metrics, as the loop does when it logs."""
        values = self._advance.empty_metrics()
        for _ in range(num_steps):
            self.state, values, _ = self._advance.run(self.state, values, self._block)
        jax.block_until_ready(self.state)
        parallel.to_host(values).compute()


def main() -> None:
    """Measures and prints the table."""
    flags = _parse()
    restart_with_huge_pages()  # as launch.py does; PyTorch, in the same process, has them too
    if not importlib.util.find_spec("torch"):
        end("torch cannot be found: pip install --editable '.[bench]'", 2)
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_compilation_cache", False)
    # Else PyTorch's threads wait for each other in busy loops: where another program needed a core,
    # too, an update took five to eight times the processor time.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    with tempfile.TemporaryDirectory(prefix="triptych-cnn-gan-") as cache:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = cache  # empty: torch.compile starts afresh, too
        try:
            print(measure(flags))
        except UserError as error:
            end(str(error), 2)


def measure(flags: argparse.Namespace) -> str:
    """Returns the table; says on the way what has been done, for it takes long.

    Raises:
      UserError: a size that the networks or the devices cannot have.
    """
    from cnn_gan_torch import VARIANTS
    from cnn_gan_torch import software as software_of_theirs

    load, size = os.getloadavg()[0], flags.image_size
    config = settings(size, flags.batch_size)
    variant = next(v for v in VARIANTS if v.name == flags.variant)
    same = _rows_of_sameness(size, variant)
    start = time.perf_counter()
    our_update = OurUpdate(config)
    initial = parallel.to_host(our_update.state)
    our_update.run(1)
    ours = Contender(software(), our_update.run, time.perf_counter() - start)
    say(f"first update here: {ours.first_step:.1f} s")
    start = time.perf_counter()
    their_update = start_theirs(config, initial, variant)
    their_update.run(1)
    theirs = Contender(
        f"{software_of_theirs()}, {variant.name}", their_update.run, time.perf_counter() - start
    )
    say(f"first update of PyTorch: {theirs.first_step:.1f} s")
    ours.run(WARM_UP_STEPS)
    spent = interleave([ours.run, theirs.run], flags.steps, flags.rounds)
    rows = [
        (f"CNN-GAN {size}x{size}x3, batch {flags.batch_size}", "this project", "PyTorch"),
        ("software", ours.software, theirs.software),
        *_rows_of_times(spent, flags),
        ("first update, with building and compiling, s", *first_steps(ours, theirs)),
        *same,
        *circumstances(load),
    ]
    return table(rows)


def settings(image_size: int, batch_size: int, dropout_rate: float = 0.25) -> ConfigDict:
    """Returns the experiment at this size."""
    config = get_config()
    config.data.update(image_size=image_size, batch_size=batch_size)
    config.optimizer.half_batches = False  # they are the discriminator's, and must be even
    config.model.discriminator.dropout_rate = dropout_rate
    return config


def latents_of(config: ConfigDict) -> np.ndarray:
    """Returns the latents of every update, those of the whole batch."""
    shape = (config.data.batch_size, config.model.generator.latent_size)
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


def random_start(config: ConfigDict) -> tuple[GeneratorTask, GANState]:
    """Returns the task and its state at step 0, but with biases of 1 and -1.

    Leaky ReLU has two slopes, and where its input is 0 up to rounding either may be taken. With
    biases near 0 that happened to one activation in a million, and one at 64x64 was enough to
    change the gradient by 1 %; with these hardly any activation is near 0.
    """
    data, numbers = config.data, np.random.default_rng(2)
    examples = {"train": data.batch_size}
    card = DataCard("random", ("NORMAL",), examples, data.image_size, data.channels, "0", True, 0)
    task = GeneratorTask(make_gan(config, card), card, Augmentation(), config.train.picture_grid)

    def moved(path: Any, leaf: Any) -> Any:
        if path[-1].key != "bias":
            return leaf
        return numbers.choice(np.array([-1, 1], np.float32), leaf.shape)

    state = jax.jit(task.init)(jax.random.key(config.seed))
    generator, discriminator = (
        replace(network, params=jax.tree_util.tree_map_with_path(moved, network.params))
        for network in (state.generator, state.discriminator)
    )
    return task, replace(
        state, generator=generator, discriminator=discriminator, average=generator.params
    )


def start_theirs(config: ConfigDict, state: GANState, variant: Any = None) -> Any:
    """Returns PyTorch's update from the same weights."""
    from cnn_gan_torch import VARIANTS, TorchUpdate, copy_weights

    update = TorchUpdate(_for_theirs(config), variant or VARIANTS[0])
    copy_weights(state.generator.params, update.generator)
    copy_weights(state.discriminator.params, update.discriminator)
    return update


def compare(image_size: int, variant: Any = None) -> Sameness:
    """Compares numbers of parameters, images and gradients, from the same weights.

    Our gradient is that of the very update that is timed: of Adam's first moment, after one.

    Raises:
      ValueError: they have other weights, or numbers that say nothing.
    """
    from cnn_gan_torch import in_their_layout

    config = settings(image_size, _FEW, dropout_rate=0.0)
    latents, ours = latents_of(config), OurUpdate(config)
    initial = parallel.to_host(ours.state)
    networks = initial.generator.params, initial.discriminator.params
    draw = jax.jit(partial(ours.gan.networks.generator.apply, train=False))
    images = draw({"params": networks[0]}, latents, np.zeros(_FEW, np.int32))
    ours.run(1)
    decay = 1 - config.optimizer.generator.beta1
    moment = parallel.to_host(ours.state.generator.opt_state[0].mu)
    gradients = in_their_layout(jax.tree.map(lambda leaf: leaf / decay, moment))
    theirs = start_theirs(config, initial, variant)
    expected = theirs.gradients()
    if gradients.keys() != expected.keys():
        raise ValueError(f"gradients of {sorted(gradients)} here, of {sorted(expected)} there")
    counts = tuple(map(count_parameters, networks))
    if counts != tuple(map(_count, (theirs.generator, theirs.discriminator))):
        raise ValueError("the networks in PyTorch have other numbers of parameters")
    return Sameness(
        (counts[0], counts[1]),
        _difference("images", np.asarray(images), theirs.images()),
        {name: _difference(name, gradients[name], leaf) for name, leaf in expected.items()},
    )


def _difference(name: str, ours: np.ndarray, theirs: np.ndarray) -> float:
    """Returns the largest difference of two entries, as a share of the largest entry."""
    largest = float(np.abs(theirs).max())
    if not largest > 1e-9:
        raise ValueError(f"{name}: no entry is larger than {largest}, nothing was compared")
    return float(np.abs(ours - theirs).max()) / largest


def _count(network: Any) -> int:
    return sum(weight.numel() for weight in network.parameters())


def _for_theirs(config: ConfigDict) -> Any:
    """Returns a `Setting`."""
    from cnn_gan_torch import Setting

    data, rate = config.data, config.model.discriminator.dropout_rate
    return Setting(latents_of(config), data.image_size, data.channels, rate)


def _rows_of_sameness(image_size: int, variant: Any) -> list[Row]:
    """Compares the two and ends the program where they are not the same."""
    same = compare(image_size, variant)
    said = ", ".join(f"{name} {difference:.0e}" for name, difference in same.gradients.items())
    say(f"same weights, largest differences: images {same.images:.0e}; gradients {said}")
    if not same.difference <= TOLERANCE:
        end(f"Not the same function: with the same weights they differ by {same.difference}.", 1)
    if same.parameters != KNOWN_PARAMETERS.get(image_size, same.parameters):
        end(f"Not the original networks: {same.parameters} parameters.", 1)
    counts = "{:,} + {:,}".format(*same.parameters)
    gradients = max(same.gradients.values())
    return [
        ("parameters, generator + discriminator", counts, counts),
        ("largest difference of images, same weights", f"{same.images:.0e}", ""),
        ("largest difference of gradients, relative to the largest", f"{gradients:.0e}", ""),
    ]


def _rows_of_times(spent: Sequence[Sequence[Spent]], flags: argparse.Namespace) -> list[Row]:
    """Returns medians over the rounds, and the ratios of each pair of rounds."""
    walls = [[each.wall / 1e3 for each in rounds] for rounds in spent]
    cpus = [[each.cpu / 1e3 for each in rounds] for rounds in spent]
    per_second = [f"{flags.batch_size / statistics.median(wall):.3g}" for wall in walls]
    pairs = list(zip(*spent, strict=True))
    of_wall = spread([theirs.wall / ours.wall for ours, theirs in pairs])
    of_cpu = spread([theirs.cpu / ours.cpu for ours, theirs in pairs])
    rounds = f"median (range), rounds: {flags.rounds}, updates in a round: {flags.steps}"
    return [
        (f"s per update, {rounds}", spread(walls[0]), spread(walls[1])),
        ("images per second at the median", per_second[0], per_second[1]),
        ("**times as fast**", f"**{of_wall}**", "1"),
        ("processor time, s per update", spread(cpus[0]), spread(cpus[1])),
        ("times less processor time", of_cpu, "1"),
    ]


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--batch_size", type=positive, default=8)
    parser.add_argument("--image_size", type=positive, default=200, help="a multiple of 4")
    parser.add_argument("--rounds", type=positive, default=3)
    parser.add_argument(
        "--variant", default="NCHW", choices=("NCHW", "channels_last", "torch.compile")
    )
    parser.add_argument("--steps", type=positive, default=1, help="updates in a round")
    flags = parser.parse_args()
    if flags.image_size % 4:
        parser.error(f"--image_size={flags.image_size} is not a multiple of 4")
    return flags


if __name__ == "__main__":
    main()
