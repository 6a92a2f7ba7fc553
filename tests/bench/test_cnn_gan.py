"""The convolutional GAN's update against an independent reference: the same one in PyTorch."""

import sys
from functools import partial
from pathlib import Path

import jax
import numpy as np
import optax
import pytest

torch = pytest.importorskip("torch", reason="there is no torch: pip install --editable '.[bench]'")
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))

import cnn_gan  # noqa: E402
from cnn_gan_torch import VARIANTS, Setting, TorchUpdate  # noqa: E402

from gan.networks.cnn_gan import Generator  # noqa: E402

torch.set_num_threads(1)  # on a busy machine two wait for each other, many times as long
SIZE = 60  # the smallest whose last kernel, 15x15, goes through the Fourier domain


def test_images_and_gradients_of_the_update_are_those_of_pytorch():
    same = cnn_gan.compare(SIZE)
    layers = ("dense", "double_1", "double_2", "to_image")
    assert set(same.gradients) == {f"{n}.{part}" for n in layers for part in ("weight", "bias")}
    assert same.difference < 1e-4


@pytest.mark.parametrize("size", [SIZE - 4, SIZE])
def test_the_last_kernel_at_this_size_goes_through_the_fourier_domain(size):
    generator = Generator(size, channels=3, num_classes=1)
    draw = jax.make_jaxpr(partial(generator.init_with_output, train=False))
    jaxpr = draw(jax.random.key(0), np.zeros((1, 256), np.float32), np.zeros(1, np.int32))
    assert ("fft" in str(jaxpr)) == (size == SIZE)


@pytest.mark.parametrize("variant", VARIANTS[:2], ids=lambda variant: variant.name)
def test_pytorch_updates_the_generator_alone_by_the_same_adam(variant):
    latents = np.random.default_rng(0).normal(size=(2, 256)).astype(np.float32)
    update = TorchUpdate(Setting(latents, 16, 3, 0.0), variant)
    settings = cnn_gan.settings(16, 2).optimizer.generator
    adam = optax.adam(settings.learning_rate, settings.beta1, settings.beta2, settings.epsilon)

    def copies(network):
        return {name: array.numpy().copy() for name, array in network.state_dict().items()}

    expected, still = copies(update.generator), copies(update.discriminator)
    state = adam.init(expected)
    for _ in range(2):  # the first hardly depends on the betas
        updates, state = adam.update(update.gradients(), state)
        expected = optax.apply_updates(expected, updates)
        update.run(1)
    for name, array in copies(update.generator).items():
        np.testing.assert_allclose(array, expected[name], atol=1e-6, err_msg=name)
    for name, array in copies(update.discriminator).items():
        np.testing.assert_array_equal(array, still[name], err_msg=name)
