"""The U-Net: known parameter counts, shapes, and that it sees as far as it should."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from common.networks.unet import UNet
from gan.networks import dcgan

TINY = UNet(1, width=4, depth=3, axis_name="")


def parameters(network, channels):
    size = network.multiple
    images = jnp.zeros((1, size, size, channels))
    variables = jax.eval_shape(lambda: network.init(jax.random.key(0), images, train=True))
    return variables["params"], variables["batch_stats"]


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def test_the_originals_first_convolution_has_896_parameters():
    params, _ = parameters(UNet(1, norm_output=True), 3)
    assert count(params["down_0_conv_1"]) == 896


def test_the_originals_parameters_layer_by_layer():
    """Counted from ORIGINALS' description: two 3x3 convolutions a level, 2x2 up-convolutions."""
    widths = (32, 64, 128, 256, 512)
    convolutions, norms, before = 0, 0, 3
    for width in widths:
        convolutions += 9 * before * width + width + 9 * width * width + width
        norms += 2 * width
        before = width
    for width in reversed(widths[:-1]):
        convolutions += 4 * 2 * width * width + width
        convolutions += 9 * 2 * width * width + width + 9 * width * width + width
        norms += 2 * width
    convolutions += 32 + 1
    norms += 1
    params, batch_stats = parameters(UNet(1, norm_output=True), 3)
    assert count(params) == convolutions + 2 * norms
    assert count(batch_stats) == 2 * norms
    assert count(params) + count(batch_stats) == 7_771_877


@pytest.mark.parametrize("depth", [1, 2, 5])
@pytest.mark.parametrize(
    ("outputs", "channels", "encoder"),
    [(1, 1, "levels"), (1, 3, "levels"), (4, 3, "levels"), (4, 3, "dcgan")],
)
def test_output_has_the_size_of_the_input(depth, outputs, channels, encoder):
    network = UNet(outputs, width=4, depth=depth, axis_name="", encoder=encoder)
    size = 3 * network.multiple
    images = jnp.zeros((2, size, 2 * size, channels))
    variables = jax.eval_shape(lambda: network.init(jax.random.key(0), images, train=True))
    logits = jax.eval_shape(lambda given: network.apply(given, images, train=False), variables)
    assert logits.shape == (2, size, 2 * size, outputs)


def test_its_way_down_can_be_the_layers_of_a_discriminator():
    discriminator = dcgan.Discriminator(32, 3, 1, width=4, axis_name="")  # of three layers
    images, labels = jnp.zeros((1, 32, 32, 3)), jnp.zeros(1, int)
    given = jax.eval_shape(
        lambda: discriminator.init(jax.random.key(0), images, labels, train=True)
    )
    params, batch_stats = parameters(UNet(1, width=4, depth=3, axis_name="", encoder="dcgan"), 3)
    for own, other in ((params, given["params"]), (batch_stats, given["batch_stats"])):
        shared = own.keys() & other.keys()
        assert shared == {name for name in other if name.endswith(("_1", "_2"))}
        assert {name: own[name] for name in shared} == {name: other[name] for name in shared}


def test_a_shift_by_the_multiple_shifts_the_output():
    images = jnp.zeros((1, 64, 64, 1)).at[0, 24:32, 24:32].set(1)
    variables = jax.jit(lambda: TINY.init(jax.random.key(0), images, train=True))()
    apply = jax.jit(lambda images: TINY.apply(variables, images, train=False))
    there, moved = apply(images), apply(jnp.roll(images, TINY.multiple, 1))
    np.testing.assert_allclose(moved[:, 20:44], there[:, 16:40], atol=1e-5)


def test_the_last_norm_centres_the_logits():
    network = UNet(1, width=4, depth=2, norm_output=True, axis_name="")
    images = jax.random.normal(jax.random.key(1), (4, 16, 16, 3))
    variables = jax.jit(lambda: network.init(jax.random.key(0), images, train=True))()
    apply = jax.jit(lambda given: network.apply(given, images, train=True, mutable="batch_stats"))
    logits, _ = apply(variables)
    np.testing.assert_allclose(logits.mean(), 0, atol=1e-5)
    np.testing.assert_allclose(logits.std(), 1, rtol=0.02)
