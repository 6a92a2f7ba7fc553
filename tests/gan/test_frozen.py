"""Weights that do not learn: an argument of the step, named in checkpoints, never written there."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gan.networks
import gan.state
from common.data.prepared.prepared import DataCard
from common.devices import placement
from common.devices.axis import AXIS
from common.learning.network import NetworkState, split_frozen
from common.learning.randomness import step_key
from common.networks.layers import Dense
from common.program.errors import UserError
from common.runs.checkpoints import Checkpoints
from common.runs.manifest import checksum, read_manifest
from common.runs.workdir import open_run
from common.training import dispatch
from common.training.dispatch import Block
from common.training.task import new_state
from common.training.train import train
from configs import dense_gan_mnist
from gan.flags import GANOptions
from gan.generate import generate
from gan.networks import Decision, Networks, dense
from gan.quality.evaluate import evaluate
from gan.state import GANState
from gan.task import make_task
from tests.checkpoint_leaves import assert_same_leaves, read_leaves

SIZE, BATCH, FEATURES = 4, 8, 8_000  # 512 kB of frozen weights from 16 pixels
CARD = DataCard("test", ("A", "B"), {"train": 6 * BATCH}, SIZE, 1, "0", False, 0)
SHORT = GANOptions(images_per_class=8, extractors="pixels")


class Critic(gan.networks.Discriminator):
    """A discriminator by the mean of random features from a file: features -> 4096 -> logit."""

    file: str = ""

    def load_frozen(self):
        return {"kernel": np.load(self.file)} if self.file else {}

    def decide(self, images, labels, train, keys):
        x = images.reshape(len(images), -1)
        if self.file:
            kernel = self.variable("frozen", "kernel", jnp.zeros, (x.shape[-1], FEATURES)).value
            x = jnp.tanh(x @ kernel).reshape(len(x), x.shape[-1], -1).mean(-1)
        return Decision(Dense(1)(nn.relu(Dense(4096)(x)))[:, 0], None)


def write_weights(file, seed=0):
    kernel = np.random.default_rng(seed).normal(size=(SIZE**2, FEATURES)).astype(np.float32)
    np.save(file, kernel)


def config_of(num_steps=4):
    config = dense_gan_mnist.get_config("tiny").unlock()
    config.model.generator.update(widths=(8, 8), latent_size=6)
    config.model.discriminator = {}
    config.optimizer.half_batches = False
    config.quality.extractor = ""
    config.data.update(image_size=SIZE, batch_size=BATCH, num_phantoms=64, splits="70,15,15")
    config.train.update(num_steps=str(num_steps), checkpoint_every="2", log_every="2")
    config.train.update(picture_every="0", eval_every="2")
    return config.lock()


@pytest.fixture(scope="module")
def patch(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRIPTYCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield patch


@pytest.fixture(scope="module")
def use(patch):
    """Lets every GAN have the critic with the weights of a file, or without any."""

    def of(file):
        def networks(model, card):
            shape = (card.image_size, card.channels, len(card.classes))
            return Networks(dense.Generator(*shape, **model.generator), Critic(*shape, str(file)))

        patch.setattr(gan.state, "make_networks", networks)

    return of


@pytest.fixture
def weights(use, tmp_path):
    write_weights(tmp_path / "critic.npy")
    use(tmp_path / "critic.npy")
    return tmp_path / "critic.npy"


@pytest.fixture(scope="module")
def trained(use, tmp_path_factory):
    """A run of four steps; its weights are there for the tests of this file."""
    folder = tmp_path_factory.mktemp("trained")
    write_weights(folder / "critic.npy")
    use(folder / "critic.npy")
    assert train(config_of(), folder / "run")
    return folder / "run"


def size_of(checkpoint):
    return sum(file.stat().st_size for file in checkpoint.rglob("*") if file.is_file())


def test_a_checkpoint_names_them_and_is_no_larger(trained, use, tmp_path):
    use("")
    like = jax.eval_shape(make_task(config_of(), CARD).init, jax.random.key(0))
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(4, open_run(trained).best_state(like)[1], {})
    saved = trained / "checkpoints" / "4"
    assert size_of(saved) < 1.1 * size_of(tmp_path / "4")
    named = read_manifest(saved).frozen
    weights = np.load(trained.parent / "critic.npy")
    assert named == {"discriminator/kernel": ("float32", weights.shape, checksum(weights))}
    assert not [path for path in read_leaves(trained, 4) if "frozen" in path]


def test_a_run_resumes_bit_for_bit_and_refuses_other_weights(trained, weights, tmp_path):
    for num_steps in (2, 4):
        train(config_of(num_steps), tmp_path / "cut")
    assert_same_leaves(read_leaves(tmp_path / "cut", 4), read_leaves(trained, 4))
    write_weights(weights, seed=1)
    for go_on in (
        lambda: train(config_of(6), tmp_path / "cut"),
        lambda: evaluate(open_run(tmp_path / "cut"), SHORT),
    ):
        with pytest.raises(UserError, match=r"frozen weights discriminator/kernel .* checksum"):
            go_on()


def test_weights_that_only_one_version_of_a_network_has_are_not_compared(trained):
    described = read_manifest(trained / "checkpoints" / "4")
    weights = np.load(trained.parent / "critic.npy")
    for form in ({}, {"kernel": weights}, {"folded": weights}):
        assert not described.changed_frozen({"discriminator": form})
    changed = {"discriminator": {"kernel": weights + 1}}
    assert described.changed_frozen(changed) == "discriminator/kernel"


def test_evaluation_reads_them_and_generation_does_without(trained, use, tmp_path):
    use(trained.parent / "critic.npy")
    evaluate(open_run(trained), SHORT)
    assert (trained / "evaluation" / "evaluation.json").exists()
    use(tmp_path / "missing.npy")
    generate(open_run(trained), GANOptions(output=str(tmp_path / "drawn"), num_images=4))
    assert len(list((tmp_path / "drawn").rglob("0*.png"))) == 4


class TestAStep:
    @pytest.fixture
    def task(self, weights):
        return make_task(config_of(), CARD)

    @pytest.fixture
    def state(self, task):
        return task.load_frozen(new_state(task, 0))

    def test_neither_updates_nor_averages_nor_donates_them(self, task, state):
        images = np.random.default_rng(0).integers(0, 256, (48, SIZE, SIZE, 1)).astype(np.uint8)
        examples = {"image": images, "label": np.arange(48, dtype=np.int32) % 2}
        indices = np.arange(BATCH, dtype=np.int32).reshape(1, 1, 1, -1)
        placed = placement.place(state)
        block = Block(placement.replicate(examples), placement.shard(indices), 1)
        advance = dispatch.compile_advance(task, [0], placed, block)
        frozen = placed.discriminator.frozen["kernel"]
        after, _, _ = advance.run(placed, advance.empty_metrics(), block)
        assert after.discriminator.frozen["kernel"] is frozen and not frozen.is_deleted()
        assert placed.discriminator.params["Dense_0"]["kernel"].is_deleted()
        assert jax.tree.structure(after.average) == jax.tree.structure(state.generator.params)

    def test_they_are_counted_apart(self, task, state):
        table = task.describe(state)
        assert f"Frozen: {SIZE**2 * FEATURES:,} weights that do not learn" in table
        assert "Total: 73,729 --" in table  # 16 * 8 + 8, 8 + 1: the critic's own

    def test_four_devices_make_the_same_steps(self, task, state):
        with jax.enable_x64(True):
            wide = jax.tree.map(
                lambda x: jnp.asarray(x, jnp.float64) if x.dtype == jnp.float32 else x, state
            )
            one, several = (after_steps(task, wide, count) for count in (1, 4))
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-12), several, one
        )


def after_steps(task, state, devices, steps=5):
    """Returns the state of the first device after some steps on some devices."""
    random = np.random.default_rng(0)
    shape = (steps, devices, BATCH // devices)
    batches = {
        "image": random.integers(0, 256, (*shape, SIZE, SIZE, 1)).astype(np.uint8),
        "label": np.zeros(shape, np.int32),
        "position": np.tile(np.arange(BATCH).reshape(shape[1:]), (steps, 1, 1)),
    }

    def step(state, batch):
        return task.train_step(state, batch, step_key(jax.random.key(0), state.step))[0]

    run = jax.jit(jax.vmap(step, axis_name=AXIS))
    state = jax.tree.map(lambda x: jnp.stack([x] * devices), state)
    for number in range(steps):
        state = run(state, {name: rows[number] for name, rows in batches.items()})
    return jax.tree.map(lambda x: x[0], split_frozen(state)[0])


class TestControls:
    def state(self, **controls):
        params = {"w": np.ones(3, np.float32)}
        network = NetworkState(params, {}, ())
        return GANState(np.int32(1), network, network, params, controls)

    def test_are_saved_and_restored(self, tmp_path):
        state = self.state(strength=np.float32(0.25))
        with Checkpoints(tmp_path) as checkpoints:
            checkpoints.save(1, state, {})
        like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), state)
        assert Checkpoints(tmp_path).restore(1, like).controls["strength"] == np.float32(0.25)

    def test_a_checkpoint_without_any_is_as_those_of_before(self, tmp_path):
        with Checkpoints(tmp_path) as checkpoints:
            checkpoints.save(1, self.state(), {})
        assert Checkpoints(tmp_path).restore(1, self.state()).controls == {}
        assert not [path for path in read_manifest(tmp_path / "1").leaves if "controls" in path]
