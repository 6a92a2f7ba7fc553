"""The patch discriminator and the residual generator, against their papers and plain NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from translate.networks import SMALLEST, PatchDiscriminator, ResidualGenerator

RNG = np.random.default_rng(0)


def made(network, images):
    return jax.jit(lambda: network.init(jax.random.key(0), images, train=True))()


def test_the_discriminator_sees_patches_of_70_pixels():
    """The gradient of one logit reaches 70 rows and columns, and no pixel more."""
    images = jnp.asarray(RNG.normal(size=(1, 128, 128, 1)), jnp.float32)
    network = PatchDiscriminator(width=4)
    variables = made(network, images)

    def logit(x):
        return network.apply(variables, x, train=False)[0, 7, 7, 0]

    reached = np.asarray(jax.jit(jax.grad(logit))(images))[0, ..., 0] != 0
    for axis in (0, 1):
        seen = np.flatnonzero(reached.any(axis))
        assert seen.max() - seen.min() + 1 == 70


def test_the_discriminator_has_the_size_of_its_paper():
    """For pairs of RGB images: 2,767,809 weights, and 14x14 patches of 128x128 pixels."""
    network, images = PatchDiscriminator(), jax.ShapeDtypeStruct((2, 128, 128, 6), jnp.float32)
    logits, variables = jax.eval_shape(
        lambda key, x: network.init_with_output(key, x, train=True), jax.random.key(0), images
    )
    assert logits.shape == (2, 14, 14, 1)
    assert sum(x.size for x in jax.tree.leaves(variables["params"])) == 2_767_809


def test_its_kernels_have_a_largest_singular_value_of_1():
    """With all kernels ten times as large, it decides as before."""
    network = PatchDiscriminator(width=2)
    images = jnp.asarray(RNG.normal(size=(2, SMALLEST, SMALLEST, 1)), jnp.float32)
    variables = made(network, images)
    params = variables["params"]
    larger = jax.tree.map(lambda x: 10 * x if x.ndim == 4 else x, params)
    decide = jax.jit(lambda p: network.apply({**variables, "params": p}, images, train=False))
    np.testing.assert_allclose(decide(larger), decide(params), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("norm", ["spectral", "instance"])
def test_the_discriminator_takes_its_smallest_image(norm):
    network = PatchDiscriminator(width=2, norm=norm)
    images = jnp.zeros((1, SMALLEST, SMALLEST, 1))
    logits = network.apply(made(network, images), images, train=False)
    assert logits.shape == (1, 1, 1, 1)


def convolved(x, kernel, bias, stride=1, mode="constant"):
    """A convolution as a sum over the places of its kernel."""
    size = len(kernel)
    before = (size - 1) // 2 if stride == 1 else 0  # "SAME" of an even side halved by 3x3
    x = np.pad(x, ((before, size - 1 - before),) * 2 + ((0, 0),), mode=mode)
    height, width = ((side - size) // stride + 1 for side in x.shape[:2])
    y = np.zeros((height, width, kernel.shape[-1])) + bias
    for row in range(size):
        for column in range(size):
            rows = slice(row, row + stride * height, stride)
            columns = slice(column, column + stride * width, stride)
            y += x[rows, columns] @ kernel[row, column]
    return y


def normalised(x):
    return (x - x.mean((0, 1))) / np.sqrt(x.var((0, 1)) + 1e-5)


def reference(params, x, blocks):
    """The residual generator of one image, in NumPy."""

    def layer(name, x, stride=1, mode="constant"):
        weights = {key: np.asarray(value, np.float64) for key, value in params[name].items()}
        return convolved(x, weights["kernel"], weights["bias"], stride, mode)

    x = np.maximum(normalised(layer("first", x, mode="reflect")), 0)
    for i in (1, 2):
        x = np.maximum(normalised(layer(f"halve_{i}", x, stride=2)), 0)
    for i in range(blocks):
        y = np.maximum(normalised(layer(f"block_{i}_conv_1", x, mode="reflect")), 0)
        x = x + normalised(layer(f"block_{i}_conv_2", y, mode="reflect"))
    for i in (1, 0):
        x = x.repeat(2, 0).repeat(2, 1)
        x = np.maximum(normalised(layer(f"double_{i}", x)), 0)
    return layer("output", x, mode="reflect")


def test_the_residual_generator_is_that_of_a_plain_reference():
    network = ResidualGenerator(out_channels=2, width=3, blocks=2)
    images = jnp.asarray(RNG.uniform(-1, 1, (2, 16, 24, 1)), jnp.float32)
    variables = made(network, images)
    found = jax.jit(lambda: network.apply(variables, images, train=True))()
    for image, values in zip(images, found, strict=True):
        wanted = reference(variables["params"], np.asarray(image, np.float64), 2)
        np.testing.assert_allclose(values, wanted, rtol=1e-3, atol=1e-3 * abs(wanted).max())
