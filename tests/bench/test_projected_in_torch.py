"""The benchmark's projected GAN in PyTorch learns as ours does: losses and gradients of a step."""

import copy
import sys
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
from common.training.task import make_task  # noqa: E402
from gan.losses import adversarial_loss  # noqa: E402
from gan.networks import per_image  # noqa: E402
from gan.terms import diversity  # noqa: E402

NUM = 6


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Our GAN and PyTorch's training with its weights, and a batch for both."""
    config = rows.settings(rows.row_named("acgan_best_64"), tmp_path_factory.mktemp("cache"))
    config.data.update(image_size=16, batch_size=NUM, num_phantoms=16)
    config.model.generator.width = 8
    with config.unlocked():
        config.model.discriminator.update(seen_size=32, classifier=True)
    for name in ("translation", "cutout", "brightness", "contrast"):
        config.discriminator_augment[name] = 0.0
    prepared = prepare(config.data)
    task = make_task(config, prepared.card)
    like = task.load_frozen(jax.eval_shape(task.init, jax.random.key(0)))
    numbers = np.random.default_rng(0)

    def filled(leaf):
        fan_in = np.prod(leaf.shape[:-1]) or 1
        return numbers.normal(0, fan_in**-0.5, leaf.shape).astype(np.float32)

    variables = {}
    for name in ("generator", "discriminator"):
        state = getattr(like, name)
        params, stats = jax.tree.map(filled, (state.params, state.batch_stats))
        stats = jax.tree.map(np.abs, stats)
        variables[name] = ours._moved(state.applied(params, stats), numbers)
    examples = prepared.splits["train"].read(range(NUM))
    training = pytorch.contender(config, examples, 2, 1, "NCHW")
    training.load(dict(ours._named(variables)))
    return task.gan, variables, training, examples


def tensors(*arrays):
    """Images NHWC as NCHW, labels as int64."""
    made = [torch.from_numpy(np.array(array)) for array in arrays]
    return [x.permute(0, 3, 1, 2) if x.ndim == 4 else x.long() if x.ndim == 1 else x for x in made]


def test_both_losses_and_their_gradients_are_ours(pair):
    gan, variables, training, examples = pair
    real, labels = (
        to_signed_unit(jnp.asarray(examples["image"])),
        jnp.asarray(examples["label"], int),
    )
    latents = np.random.default_rng(1).normal(size=(NUM, gan.latent_size)).astype(np.float32)
    asked = jnp.arange(NUM) % 2
    generator, discriminator = (net.clone(axis_name="") for net in gan.networks)
    hinge = adversarial_loss("hinge")

    def apply(module, name, params, *inputs):
        changed = {**variables[name], "params": params}
        return module.apply(changed, *inputs, train=True, mutable=["batch_stats"])[0]

    def losses(params):
        fakes = apply(generator, "generator", params["generator"], jnp.asarray(latents), asked)

        def decided(fakes, params):
            both = jnp.concatenate([real, fakes]), jnp.concatenate([labels, asked])
            return apply(discriminator.clone(num_real=NUM), "discriminator", params, *both)

        def class_loss(logits, labels):
            rows = jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], 1)
            return -gan.weights.class_loss * rows.mean()

        def means(part, logits, half):
            return per_image([part(x[half]) for x in logits]).mean()

        (first, second) = slice(NUM), slice(NUM, None)
        of_critic = decided(jax.lax.stop_gradient(fakes), params["discriminator"])
        logits, classes = of_critic
        critic = means(hinge.real, logits, first) + means(hinge.fake, logits, second)
        critic += class_loss(classes[first], labels) + class_loss(classes[second], asked)
        logits, classes = decided(fakes, jax.lax.stop_gradient(params["discriminator"]))
        drawn = means(hinge.generator, logits, second) + class_loss(classes[second], asked)
        drawn += gan.weights.terms["diversity"] * diversity(fakes, asked, real, labels)
        return critic + drawn, (critic, drawn)

    fast = {"xla_backend_optimization_level": 0}
    params = {name: tree["params"] for name, tree in variables.items()}
    step = jax.jit(jax.value_and_grad(losses, has_aux=True), compiler_options=fast)
    (_, expected), gradients = step(params)

    images, of_images, of_fakes = tensors(real, labels, asked)
    networks = training._networks.plain
    fakes = networks["generator"].train()(torch.from_numpy(latents), of_fakes)
    networks["discriminator"].train()
    shown = training.show(images, fakes)
    critic = training.discriminator_loss(shown, of_images, of_fakes)
    critic.backward()
    networks["discriminator"].requires_grad_(False)
    drawn = training.generator_loss(shown, of_images, of_fakes)
    drawn.backward()
    np.testing.assert_allclose([critic.item(), drawn.item()], expected, rtol=1e-4)

    weights = dict(ours._named(variables))
    changed = dict(ours._named({name: {"params": tree} for name, tree in gradients.items()}))
    for name, network in networks.items():
        ours_in_torch = copy.deepcopy(network)
        torch_weights.copy_weights({**weights, **changed}, name, ours_in_torch)
        pairs = dict(ours_in_torch.named_parameters())
        learning = {key: x.grad for key, x in network.named_parameters() if x.grad is not None}
        assert len(learning) == sum(path.startswith(name) for path in changed)
        for key, gradient in learning.items():
            # Not entry by entry: rounding decides which side of a ReLU6's edge a value is on.
            difference = (pairs[key] - gradient).norm() / (gradient.norm() + 1e-4)
            assert difference <= 5e-3, f"{name}/{key}"


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
