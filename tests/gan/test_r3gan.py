"""The R3GAN: its block against plain formulas, how it starts, its depth and its classes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan.networks.r3gan import Block, Discriminator, Generator
from tests.combinations import combinations
from tests.gan.test_resnet import KEY, applied, conv, made, quick_jit, random, shapes


def leaky(x):
    return np.where(x > 0, x, 0.2 * x)


def test_a_block_mixes_maps_in_groups_of_sixteen():
    block, x = Block(8), random(2, 4, 4, 16)
    variables = made(block, x)
    params = variables["params"]
    y = leaky(conv(np.asarray(x), params["widen"]) + np.asarray(params["bias_1"]))
    kernel = np.asarray(params["mix"]["kernel"])
    assert kernel.shape == (3, 3, 16, 32)
    groups = [slice(0, 16), slice(16, 32)]
    y = np.concatenate([conv(y[..., g], {"kernel": kernel[..., g]}) for g in groups], -1)
    y = conv(leaky(y + np.asarray(params["bias_2"])), params["narrow"])
    found, _ = applied(block, variables, x)
    np.testing.assert_allclose(found, np.asarray(x) + y, rtol=1e-4, atol=1e-4)


def test_blocks_start_as_nothing_and_their_kernels_the_smaller_the_more_there_are():
    x = random(2, 4, 4, 64)
    for number in (1, 16):
        params = quick_jit(lambda number=number: Block(number).init(KEY, x))()["params"]
        gain = np.sqrt(2 / 1.04) * number**-0.25
        for name, inputs in (("widen", 64), ("mix", 9 * 16)):
            spread = np.std(params[name]["kernel"])
            np.testing.assert_allclose(spread, gain / np.sqrt(inputs), rtol=0.03)
        assert not params["narrow"]["kernel"].any()
    found, _ = applied(Block(16), {"params": params}, x)
    np.testing.assert_array_equal(found, x)


@pytest.mark.parametrize(
    ("size", "channels", "classes", "remat"),
    combinations([32, 256], [1, 3], [1, 10], [False, True]),
)
def test_depth_follows_the_image(size, channels, classes, remat):
    of_data, labels = (size, channels, classes), jnp.zeros(2, int)
    generator = Generator(*of_data, remat=remat)
    images, params = shapes(generator, jnp.zeros((2, 64)), labels)
    number = {32: 3, 256: 6}[size]
    assert images.shape == (2, size, size, channels)
    assert generator.conditional == (classes > 1)
    decision, of_critic = shapes(Discriminator(*of_data, remat=remat), images, labels)
    assert decision.logits.shape == (2,) and decision.class_logits is None
    for player in (params, of_critic):
        assert f"block_{number}_1" in player and f"block_{number + 1}_0" not in player
    widest = params["block_0_0"]["narrow"]["kernel"].shape[-1]
    assert widest == of_critic[f"block_{number}_0"]["narrow"]["kernel"].shape[-1] == 8 * 32


def test_the_class_is_drawn_and_asked_for():
    """The logit is a product: that of half of each class is the mean of both."""
    generator = Generator(8, 1, 2, width=8, latent_size=6, class_size=4)
    critic = Discriminator(8, 1, 2, width=8, class_size=4)
    latents = random(2, 6)
    variables = made(generator, latents, jnp.zeros(2, int), train=False)

    def draw(labels):
        return applied(generator, variables, latents, jnp.array(labels), train=False)[0]

    one, same, other = (draw(x) for x in ([1, 1], [[0.0, 1]] * 2, [[0.5, 0.5]] * 2))
    np.testing.assert_allclose(one, same, atol=1e-6)
    assert jnp.abs(one - other).max() > 1e-4
    of_critic = made(critic, one, jnp.zeros(2, int), train=False)

    def decide(labels):
        return applied(critic, of_critic, one, jnp.array(labels), train=False)[0].logits

    first, second, mean = (decide(x) for x in ([0, 0], [1, 1], [[0.5, 0.5]] * 2))
    np.testing.assert_allclose(mean, (first + second) / 2, rtol=1e-4, atol=1e-5)
    assert jnp.abs(first - second).max() > 1e-4


def test_computes_in_the_dtype_of_a_narrow_input():
    critic = Discriminator(8, 1, 2, width=8)
    images = jnp.zeros((2, 8, 8, 1), jnp.bfloat16)
    decision, params = shapes(critic, images, jnp.zeros(2, int))
    assert decision.logits.dtype == jnp.bfloat16
    assert all(x.dtype == jnp.float32 for x in jax.tree.leaves(params))
