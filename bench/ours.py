"""This project as a contender: the feed, dispatches, clock and modes of `launch.py`."""

import time
from collections.abc import Iterator
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import flax
import jax
import jax.numpy as jnp
import numpy as np
from frame import forget_peak, peak_bytes
from jax.tree_util import tree_flatten_with_path, tree_unflatten
from ml_collections import ConfigDict
from PIL import Image
from rows import NUM_FILES, Row, settings

from classify.inference import Inference
from common.config.tasks import find_mode, options_of
from common.data.phantoms import brain_mri
from common.data.prepared.prepared import Prepared, prepare
from common.data.settings import DataSettings
from common.data.transforms import to_unit
from common.devices import placement
from common.learning.network import join_frozen, split_frozen
from common.program.memory import give_back_freed_memory
from common.runs.workdir import open_run
from common.training import dispatch
from common.training.clock import DeviceClock
from common.training.feed import open_feed
from common.training.replicas import one_of, shapes_side_by_side, side_by_side
from common.training.speed import matrix_rate
from common.training.task import make_task, new_state
from common.training.train import train

Arrays = dict[str, np.ndarray]

_FEW = 4  # images for comparing two networks
_DRAWN = 100  # different slices; the folder repeats them


def software() -> str:
    """Returns the versions, and the devices of JAX."""
    device = jax.devices()[0].device_kind
    return f"JAX {jax.__version__}, Flax {flax.__version__} ({jax.device_count()} x {device})"


class Training:
    """A run, or several replicas, without evaluations, pictures and checkpoints.

    Attributes:
      idle_share: share of the last `run`'s time in which no compiled step ran.
    """

    def __init__(self, config: ConfigDict, prepared: Prepared) -> None:
        task = make_task(config, prepared.card)
        self.idle_share, self._count = 0.0, config.train.replicas
        seeds = range(config.seed, config.seed + config.train.replicas)
        data = DataSettings.of(config.data)
        self._feed = open_feed(data, prepared, task.batches, seeds)
        self._step = 0
        like = task.load_frozen(jax.eval_shape(task.init, jax.random.key(config.seed)))
        self._advance = dispatch.compile_advance(
            task,
            seeds,
            placement.stand_in(shapes_side_by_side(like, len(seeds))),
            self._feed.example_block(),
            low_memory=config.train.low_memory,
        )
        frozen = split_frozen(like)[1]
        states = [join_frozen(new_state(task, seed), frozen) for seed in seeds]
        self._state = placement.place(side_by_side(states))

    def run(self, num_steps: int) -> None:
        """Runs steps, waits for them and reads their metrics, as the loop does when it logs."""
        clock, metrics = DeviceClock(), self._advance.empty_metrics()
        end = self._step + num_steps
        while self._step < end:
            count = min(self._feed.max_steps, end - self._step)
            block = self._feed.block(self._step, count)
            clock.before_dispatch()
            self._state, metrics, done = self._advance.run(self._state, metrics, block)
            clock.after_dispatch(done)
            self._step += count
        clock.stop()
        self.idle_share = clock.idle_share
        for i in range(self._count):
            placement.to_host(one_of(metrics, i, self._count)).compute()

    def flops(self) -> float:
        """Returns the floating-point operations of a step on all devices."""
        return self._advance.flops() * jax.local_device_count()


class _Mode:
    """A mode of `launch.py` that writes files, with the network of `train_apart`."""

    def __init__(self, row: Row, config: ConfigDict, scratch: Path) -> None:
        self._run = open_run(scratch / "run")
        self._mode = find_mode(config.task, row.work)
        more = {"num_images": NUM_FILES} if row.work == "generate" else {"threshold": 0.5}
        self._options = options_of(config.task)(
            input=str(scratch / "slices"), output=str(scratch / "ours"), overwrite=True, **more
        )

    def run(self, times: int) -> None:
        """Runs the mode."""
        for _ in range(times):
            self._mode(self._run, self._options)


class _Forward:
    """Classifying the same batch repeatedly."""

    def __init__(self, config: ConfigDict, prepared: Prepared) -> None:
        task: Any = make_task(config, prepared.card)
        state = task.init(jax.random.key(config.seed))
        self._images = prepared.splits["train"].read(range(config.data.batch_size))["image"]
        self._inference = Inference(task.classifier, state.average, config.data.batch_size)

    def run(self, times: int) -> None:
        """Classifies the batch."""
        for _ in range(times):
            self._inference.logits(self._images)


class Ours:
    """What the worker runs for this project.

    Attributes:
      software: versions.
      run: runs a number of steps and waits for them.
      first_step: seconds from building to the end of the first step.
    """

    def __init__(self, row: Row, scratch: Path) -> None:
        config = settings(row, scratch / "cache")
        self._dtype = config.train.dtype
        prepared = prepare(config.data)
        if row.work in ("generate", "predict"):
            train_apart(config, scratch / "run")
        if row.work == "predict":
            draw_slices(scratch / "slices", config.data.image_size)
        started = time.perf_counter()
        contender: Any
        if row.work == "train":
            contender = Training(config, prepared)
        elif row.work == "forward":
            contender = _Forward(config, prepared)
        else:
            contender = _Mode(row, config, scratch)
        self.software, self.run = software(), contender.run
        self.run(1)
        self.first_step = time.perf_counter() - started
        self._contender = contender
        self._peak = peak_bytes()
        write_example(config, prepared, scratch)  # with its own networks and states
        give_back_freed_memory()
        forget_peak()

    def facts(self) -> dict[str, float]:
        """Returns facts that only this project knows."""
        peak = max(self._peak, peak_bytes())
        known: dict[str, float] = {
            "peak_bytes": peak,
            "matrix_flops_per_second": matrix_rate(self._dtype),
        }
        if isinstance(self._contender, Training):
            known |= {
                "flops": self._contender.flops(),
                "idle_share": self._contender.idle_share,
            }
        return known


def train_apart(config: ConfigDict, workdir: Path) -> None:
    """Trains a run of two steps in a separate process, as `launch.py` would, unless it exists.

    Raises:
      ChildProcessError: the training failed.
    """
    if workdir.exists():
        return
    config.train.update(num_steps="2", checkpoint_every="2")
    training = get_context("spawn").Process(target=train, args=(config, workdir))
    training.start()
    training.join()
    if training.exitcode:
        raise ChildProcessError(f"training in {workdir} ended with {training.exitcode}")


def draw_slices(folder: Path, size: int) -> None:
    """Writes the phantom slices to segment."""
    folder.mkdir(exist_ok=True)
    images = brain_mri(0, _DRAWN, size).images
    for number in range(NUM_FILES):
        Image.fromarray(images[number % len(images)]).save(folder / f"{number:05d}.png")


def write_example(config: ConfigDict, prepared: Prepared, scratch: Path) -> None:
    """Writes weights, inputs and outputs of the networks; a rival's outputs must be equal.

    No weight has its initial value: biases of 0 or scales of 1 would hide errors.
    """
    weights, inputs, outputs = example(config, prepared)
    for name, arrays in (("weights", weights), ("inputs", inputs), ("outputs", outputs)):
        _save(scratch / f"{name}.npz", arrays)
    batch = prepared.splits["train"].read(range(min(256, prepared.card.num_examples["train"])))
    _save(scratch / "examples.npz", batch)


def _save(file: Path, arrays: Arrays) -> None:
    save: Any = np.savez  # its type mistakes names for its own arguments
    save(file, **arrays)


def example(config: ConfigDict, prepared: Prepared) -> tuple[Arrays, Arrays, Arrays]:
    """Returns weights by path, and inputs and outputs of inference by name."""
    task: Any = make_task(config, prepared.card)
    numbers = np.random.default_rng(1)
    state = task.load_frozen(new_state(task, config.seed))
    images = prepared.splits["train"].read(range(_FEW))["image"]
    if config.task == "gan":
        networks = {"generator": state.generator, "discriminator": state.discriminator}
        variables = {name: _moved(network.variables, numbers) for name, network in networks.items()}
        players = task.gan.networks
        latents = numbers.normal(size=(_FEW, task.gan.latent_size)).astype(np.float32)
        labels = (np.arange(_FEW) % task.gan.num_classes).astype(np.int32)
        noise = {"noise_keys": jax.random.split(jax.random.key(0), _FEW)}
        noise = noise if players.generator.noisy else {}
        drawn = _infer(players.generator, variables["generator"], latents, labels, **noise)
        decided = _infer(players.discriminator, variables["discriminator"], drawn, labels)
        inputs = {"latents": latents, "labels": labels}
        scales = {"logits": decided.logits}
        if isinstance(decided.logits, tuple):
            scales = {f"logits_{i}": scale for i, scale in enumerate(decided.logits)}
        outputs = {name: np.asarray(x) for name, x in {"images": drawn, **scales}.items()}
        if decided.class_logits is not None:
            outputs["class_logits"] = np.asarray(decided.class_logits)
        weights = dict(_named(variables))
    else:
        network = task.segmenter.network if config.task == "unet" else task.classifier.network
        variables = _moved(state.network.variables, numbers)
        inputs = {"images": images}
        logits = _infer(network, variables, to_unit(jnp.asarray(images)))
        outputs = {"logits": np.asarray(logits)}
        weights = dict(_named({"network": variables}))
    return weights, inputs, outputs


def _infer(network: Any, variables: Any, *inputs: Any, **keys: Any) -> Any:
    """Applies a network; outside the parallel step BatchNorm has no axis."""
    if hasattr(network, "axis_name"):
        network = network.clone(axis_name="")
    return jax.jit(partial(network.apply, train=False))(variables, *inputs, **keys)


def _moved(variables: Any, numbers: np.random.Generator) -> Any:
    """Moves what begins as zeros and ones, such as biases and scales, away from it.

    Not how much noise there is: each rival draws its own.
    Spectral norm's power iteration is at its end, where that of any rival ends, too.
    """
    learning = {name: tree for name, tree in variables.items() if name != "frozen"}
    leaves, structure = tree_flatten_with_path(learning)
    kernels = {"/".join(key.key for key in path[1:]): leaf for path, leaf in leaves}

    def moved(path: Any, leaf: Any) -> Any:
        if any(key.key.endswith("_grain") for key in path):
            return leaf
        name, _, kind = path[-1].key.rpartition("/")
        if kind in {"u", "sigma"}:
            matrix = np.reshape(kernels[name], (-1, kernels[name].shape[-1]))
            _, values, right = np.linalg.svd(matrix, full_matrices=False)
            return values[0] if kind == "sigma" else right[:1]
        if kind in {"kernel", "embedding"} and np.any(leaf):
            return leaf
        return leaf + np.abs(0.1 * numbers.normal(size=leaf.shape)).astype(np.float32)

    return {**variables, **tree_unflatten(structure, [moved(*pair) for pair in leaves])}


def _named(networks: Any) -> Iterator[tuple[str, np.ndarray]]:
    """Yields "generator/norm_1/mean" and the array from {"generator": {"batch_stats": ...}}."""
    collections = {"params", "batch_stats", "frozen"}
    for path, leaf in tree_flatten_with_path(networks)[0]:
        names = [key.key for key in path if key.key not in collections]
        if "/" not in names[-1]:  # not the state of a power iteration
            yield "/".join(names), np.asarray(leaf)
