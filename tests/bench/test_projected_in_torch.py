"""The benchmark's projected GAN in PyTorch learns as ours does: one step of both."""

import copy
import sys
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="there is no torch: pip install -e '.[bench]'")
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))

import ours  # noqa: E402
import pytorch  # noqa: E402
import rows  # noqa: E402
import torch_terms  # noqa: E402
import torch_weights  # noqa: E402

from common.data.prepared.prepared import prepare  # noqa: E402
from common.data.transforms import augment_images, to_signed_unit  # noqa: E402
from common.devices.axis import AXIS  # noqa: E402
from common.training.task import make_task  # noqa: E402
from gan.drawing import draw_fakes  # noqa: E402
from gan.networks import Keys  # noqa: E402
from gan.networks.projected import _noise  # noqa: E402
from gan.steps import Real, discriminator_step, generator_step  # noqa: E402

SIZE, NUM = 32, 6  # the smallest images whose maps are grained and excited
PLAYERS = ("generator", "discriminator")


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Our GAN and its state, PyTorch's training with the same weights, and a batch for both."""
    config = rows.settings(rows.row_named("acgan_best_64"), tmp_path_factory.mktemp("cache"))
    config.data.update(image_size=SIZE, batch_size=NUM, num_phantoms=16)
    config.model.generator.width = 8
    config.model.discriminator.seen_size = SIZE
    for name in ("translation", "cutout", "brightness", "contrast"):
        config.discriminator_augment[name] = 0.0
    prepared = prepare(config.data)
    task = make_task(config, prepared.card)
    like = task.load_frozen(jax.eval_shape(task.init, jax.random.key(0)))
    numbers = np.random.default_rng(0)

    def filled(leaf):
        fan_in = np.prod(leaf.shape[:-1]) or 1
        return numbers.normal(0, fan_in**-0.5, leaf.shape).astype(np.float32)

    networks, variables = {}, {}
    for name in PLAYERS:
        network = getattr(like, name)
        params, stats = jax.tree.map(filled, (network.params, network.batch_stats))
        stats = jax.tree.map(np.abs, stats)
        made = variables[name] = ours._moved(network.applied(params, stats), numbers)
        optimizer = getattr(task.gan, f"{name}_optimizer")
        networks[name] = replace(
            network,
            params=made["params"],
            batch_stats=made["batch_stats"],
            opt_state=optimizer.init(made["params"]),
        )
    average = variables["generator"]["params"]
    state = replace(like, step=jnp.int32(0), average=average, **networks)
    examples = prepared.splits["train"].read(range(NUM))
    training = pytorch.contender(config, examples, 2, 1, "NCHW")
    training.load(dict(ours._named(variables)))
    return task.gan, state, training, examples


def tensors(*arrays):
    """Images NHWC as NCHW, labels as int64."""
    made = [torch.from_numpy(np.array(array)) for array in arrays]
    return [x.permute(0, 3, 1, 2) if x.ndim == 4 else x.long() if x.ndim == 1 else x for x in made]


def test_both_losses_and_their_gradients_are_ours(pair, monkeypatch):
    """Those of our step itself; the generator's are of the critic before its update."""
    gan, state, training, examples = pair
    real = Real(to_signed_unit(jnp.asarray(examples["image"])), jnp.asarray(examples["label"], int))
    latents = np.random.default_rng(1).normal(size=(NUM, gan.latent_size)).astype(np.float32)
    asked, position, key = jnp.arange(NUM) % 2, jnp.arange(NUM), jax.random.key(0)
    noise_keys = jax.random.split(key, NUM)

    def update(state):
        generated = draw_fakes(gan, state, jnp.asarray(latents), asked, None, noise_keys)
        beside = *real, generated.images, generated.labels
        one, of_one = discriminator_step(gan, state, *beside, key, position)
        other, of_other = generator_step(gan, state, generated, key, position, real)
        after = replace(other, discriminator=one.discriminator)
        return after, (of_one["discriminator_loss"], of_other["generator_loss"])

    on_one_device = jax.vmap(lambda _, state: update(state), (0, None), axis_name=AXIS)
    fast = {"xla_backend_optimization_level": 0}
    stepped = jax.jit(lambda state: on_one_device(jnp.zeros(1), state), compiler_options=fast)
    after, expected = jax.tree.map(lambda x: x[0], stepped(state))

    (noise,) = tensors(_noise(Keys(noise=noise_keys), jnp.zeros((NUM, SIZE, SIZE, 1))))
    monkeypatch.setattr(torch, "randn_like", lambda maps: noise)
    images, of_images, of_fakes = tensors(*real, asked)
    networks = {name: training._networks.plain[name].train() for name in PLAYERS}
    shown = training.show(images, networks["generator"](torch.from_numpy(latents), of_fakes))
    critic = training.discriminator_loss(shown, of_images, of_fakes)
    critic.backward()
    networks["discriminator"].requires_grad_(False)
    drawn = training.generator_loss(shown, of_images, of_fakes)
    drawn.backward()
    np.testing.assert_allclose([critic.item(), drawn.item()], expected, rtol=1e-4)
    weights = {name: getattr(state, name).variables for name in PLAYERS}
    for name, network in networks.items():
        # Adam's first moment is the gradient, since beta1 is 0.
        gradients = getattr(after, name).opt_state[0].mu
        ours_in_torch = copy.deepcopy(network)
        arrays = dict(ours._named({name: {**weights[name], "params": gradients}}))
        torch_weights.copy_weights(arrays, name, ours_in_torch)
        of_ours = dict(ours_in_torch.named_parameters())
        learning = {key: x.grad for key, x in network.named_parameters() if x.grad is not None}
        assert len(learning) == len(jax.tree.leaves(gradients))
        # Not entry by entry: rounding decides which side of a ReLU6's edge a value is on. It is all
        # that a bias before BatchNorm has for a gradient.
        rounding = 1e-5 * max(x.norm() for x in learning.values())
        apart = {key: (of_ours[key] - x).norm() for key, x in learning.items()}
        assert not {k: d for k, d in apart.items() if d > 5e-3 * learning[k].norm() + rounding}


def test_images_are_varied_as_ours_are(pair):
    """Mean and deviation at each place over many draws; black comes in at the edges."""
    settings = pair[0].augmentation.changed(
        {"translation": 0.125, "cutout": 0.3, "brightness": 0.1, "contrast": 0.2}
    )
    image = to_signed_unit(jnp.asarray(pair[3]["image"][:1]))
    many = jnp.repeat(image, 4000, 0)
    keys = jax.random.split(jax.random.key(0), len(many))
    expected = np.asarray(jax.jit(augment_images, static_argnums=2)(many, keys, settings))
    torch.manual_seed(0)
    (mine,) = tensors(many)
    found = torch_terms.augmented(mine, settings).permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(found.mean(0), expected.mean(0), atol=0.06)
    np.testing.assert_allclose(found.std(0), expected.std(0), atol=0.06)
