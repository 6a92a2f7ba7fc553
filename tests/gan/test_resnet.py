"""The residual GAN: its blocks against plain formulas, its depth, its classes, its memory."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from common.program.errors import UserError
from gan.networks.resnet import (
    Discriminator,
    DownBlock,
    Generator,
    Layers,
    SelfAttention,
    UpBlock,
)
from tests.combinations import combinations

KEY = jax.random.key(0)
PLAIN = Layers(train=True, spectral_norm=False, orthogonal=False, axis_name="")
LIMITED = Layers(train=True, spectral_norm=True, orthogonal=True)
BIGGAN = {
    "generator": {"shared_class_size": 128, "hierarchical": True, "spectral_norm": True},
    "both": {"attention": 8, "orthogonal": True},
}

quick_jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def random(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def leaf_of(tree, *path):
    for name in path:
        tree = tree[name]
    return np.asarray(tree)


def conv(x, layer):
    """A convolution as a sum over the kernel's places."""
    kernel, bias = np.asarray(layer["kernel"]), np.asarray(layer.get("bias", 0.0))
    size, (_, rows, columns, _) = len(kernel), x.shape
    around = np.pad(x, ((0, 0), (size // 2,) * 2, (size // 2,) * 2, (0, 0)))
    places = [(i, j) for i in range(size) for j in range(size)]
    return bias + sum(around[:, i : i + rows, j : j + columns] @ kernel[i, j] for i, j in places)


def doubled(x):
    return np.repeat(np.repeat(x, 2, 1), 2, 2)


def halved(x):
    return (x[:, ::2, ::2] + x[:, 1::2, ::2] + x[:, ::2, 1::2] + x[:, 1::2, 1::2]) / 4


def normalised(x, params, name, style):
    modulation = params[f"{name}_modulation"]
    by = style @ np.asarray(modulation["kernel"]) + np.asarray(modulation["bias"])
    gain, shift = np.split(by[:, None, None], 2, -1)
    y = (x - x.mean((0, 1, 2))) / np.sqrt(x.var((0, 1, 2)) + 1e-5)
    y = y * np.asarray(params[name]["scale"]) + np.asarray(params[name]["bias"])
    return y * (1 + gain) + shift


def relu(x):
    return np.maximum(x, 0)


def made(module, *inputs, **options):
    """Returns a module's variables, none of them 0, as after some training."""
    variables = quick_jit(lambda: module.init(KEY, *inputs, **options))()
    leaves, tree = jax.tree.flatten(variables["params"])
    moved = [x + 0.1 * random(*x.shape, seed=i) for i, x in enumerate(leaves)]
    return {**variables, "params": jax.tree.unflatten(tree, moved)}


@cache
def compiled(module, **options):
    return quick_jit(partial(module.apply, mutable=["batch_stats"], **options))


def applied(module, variables, *inputs, **options):
    """Returns what a module computes, and its running statistics after it."""
    return compiled(module, **options)(variables, *inputs)


class TestBlocks:
    def test_one_that_doubles_is_the_sum_of_two_ways(self):
        block, x, style = UpBlock(5, PLAIN), random(3, 4, 4, 6), random(3, 2, seed=1)
        variables = made(block, x, style)
        params, x = variables["params"], np.asarray(x)
        y = conv(doubled(relu(normalised(x, params, "norm_1", style))), params["conv_1"])
        y = conv(relu(normalised(y, params, "norm_2", style)), params["conv_2"])
        expected = y + conv(doubled(x), params["shortcut"])
        found, _ = applied(block, variables, x, style)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)

    @pytest.mark.parametrize(("halves", "activated"), [(True, False), (False, True)])
    def test_one_that_halves_does_so_at_its_end(self, halves, activated):
        block, x = DownBlock(6, PLAIN, halves, activated), random(2, 4, 4, 6)
        variables = made(block, x)
        params, x = variables["params"], np.asarray(x)
        y = conv(relu(x) if activated else x, params["conv_1"])
        y = conv(relu(y), params["conv_2"])
        expected = halved(y + conv(x, params["shortcut"])) if halves else x + y
        found, _ = applied(block, variables, x)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)

    def test_spectral_norm_divides_each_kernel_by_its_largest_singular_value(self):
        x = random(2, 4, 4, 3)
        block, variables = DownBlock(6, LIMITED), made(DownBlock(6, LIMITED), x)
        for _ in range(60):
            found, changed = applied(block, variables, x)
            variables = {**variables, **changed}

        def divided(leaf):
            if leaf.ndim == 1:
                return leaf
            return leaf / np.linalg.svd(leaf.reshape(-1, leaf.shape[-1]), compute_uv=False)[0]

        params = jax.tree.map(lambda leaf: divided(np.asarray(leaf)), variables["params"])
        expected, _ = applied(DownBlock(6, PLAIN), {"params": params}, x)
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


def test_attention_is_that_of_a_loop_over_places():
    """Keys and values are the largest of 2x2 places."""
    attention, x = SelfAttention(PLAIN), random(2, 4, 6, 16)
    variables = made(attention, x)
    params = variables["params"]

    def product(name):
        return np.asarray(x) @ leaf_of(params, name, "kernel")[0, 0]

    def seen(y):
        return y.reshape(2, 2, 2, 3, 2, -1).max((2, 4)).reshape(2, 6, -1)

    queries, keys, values = product("queries"), seen(product("keys")), seen(product("values"))
    expected = np.array(x)
    for image in range(2):
        for row in range(4):
            for column in range(6):
                weights = np.exp([queries[image, row, column] @ key for key in keys[image]])
                mean = (weights / weights.sum()) @ values[image]
                added = mean @ leaf_of(params, "result", "kernel")[0, 0]
                expected[image, row, column] += params["share"] * added
    found, _ = applied(attention, variables, x)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert not quick_jit(lambda: attention.init(KEY, x))()["params"]["share"]


def shapes(module, *inputs):
    found, variables = jax.eval_shape(
        lambda *x: module.init_with_output(KEY, *x, train=True), *inputs
    )
    return found, variables["params"]


def count(params):
    return sum(x.size for x in jax.tree.leaves(params))


@pytest.mark.parametrize(
    ("size", "channels", "classes", "biggan"),
    combinations([32, 200, 256], [1, 3], [1, 10], [False, True]),
)
def test_depth_follows_the_image(size, channels, classes, biggan):
    of_data, labels = (size, channels, classes), jnp.zeros(2, int)
    both = BIGGAN["both"] if biggan and size != 200 else {}
    own = BIGGAN["generator"] if biggan else {}
    generator = Generator(*of_data, axis_name="", **own, **both)
    images, params = shapes(generator, jnp.zeros((2, 128)), labels)
    number = {32: 3, 200: 3, 256: 6}[size]
    assert images.shape == (2, size, size, channels) and f"double_{number}" in params
    assert f"double_{number + 1}" not in params
    assert generator.conditional == (classes > 1)
    decision, params = shapes(Discriminator(*of_data, **both), images, labels)
    assert decision.logits.shape == (2,) and decision.class_logits is None
    assert f"halve_{number}" in params and f"halve_{number + 1}" not in params


def test_the_biggan_keeps_its_numbers_of_parameters():
    """Of 128x128 ImageNet with the settings of its authors.

    What a conditional BatchNorm has beside the kernels of its modulation is not counted.
    """
    of_data, labels = (128, 3, 1000), jnp.zeros(1, int)
    settings = {"width": 96, "attention": 64, "orthogonal": True}
    generator = Generator(*of_data, latent_size=120, **settings, **BIGGAN["generator"])
    images, params = shapes(generator, jnp.zeros((1, 120)), labels)
    more = [
        layer["bias"] if "modulation" in name else layer
        for name, block in params.items()
        if name.startswith("double")
        for name, layer in block.items()
        if name.startswith("norm")
    ]
    assert count(params) - count(more) == 70_433_988
    assert count(shapes(Discriminator(*of_data, **settings), images, labels)[1]) == 87_982_370


class TestClasses:
    small = Generator(8, 1, 2, width=4, latent_size=6, axis_name="", hierarchical=True)

    def test_each_block_is_given_a_part_of_the_latent_and_the_class(self):
        _, params = shapes(self.small.clone(image_size=16), jnp.zeros((1, 6)), jnp.zeros(1, int))
        inputs = [params["start"]["kernel"].shape[0]]
        blocks = [params[f"double_{i}"] for i in (1, 2)]
        inputs += [block["norm_2_modulation"]["kernel"].shape[0] for block in blocks]
        assert inputs == [2, 2 + 2, 2 + 2]

    @pytest.mark.parametrize("shared_class_size", [0, 3])
    def test_shares_of_classes_draw_from_between_them(self, shared_class_size):
        generator = self.small.clone(shared_class_size=shared_class_size)
        latents = random(2, 6)
        variables = made(generator, latents, jnp.zeros(2, int), train=False)
        draw = partial(applied, generator, variables, latents, train=False)
        one, same, other = (
            draw(jnp.array(x))[0] for x in ([1, 1], [[0.0, 1]] * 2, [[0.5] * 2] * 2)
        )
        np.testing.assert_allclose(one, same, atol=1e-6)
        assert jnp.abs(one - other).max() > 1e-3

    def test_the_logit_grows_with_the_product_of_features_and_class(self):
        critic, images = Discriminator(8, 1, 2, width=4, spectral_norm=False), random(2, 8, 8, 1)
        variables = made(critic, images, jnp.zeros(2, int), train=False)
        decide = partial(applied, critic, train=False)
        first, second = (decide(variables, images, jnp.full(2, label))[0].logit for label in (0, 1))
        table = variables["params"]["class"]["embedding"]
        at_class = {"kernel": (table[1] - table[0])[:, None], "bias": jnp.zeros(1)}
        params = {**variables["params"], "real_or_generated": at_class}
        params["class"] = {"embedding": jnp.zeros_like(table)}
        expected = decide({"params": params}, images, jnp.zeros(2, int))[0].logit
        np.testing.assert_allclose(second - first, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("player", ["generator", "discriminator"])
def test_computing_blocks_again_changes_memory_alone(player):
    labels = jnp.array([0, 1])
    if player == "generator":
        module, x = TestClasses.small, random(2, 6)
    else:
        module, x = Discriminator(8, 1, 2, width=4), random(2, 8, 8, 1)
    variables = made(module, x, labels, train=True)

    def gradient(remat):
        def loss(params):
            call = partial(module.clone(remat=remat).apply, mutable=["batch_stats"])
            found, changed = call({**variables, "params": params}, x, labels, train=True)
            return (getattr(found, "logits", found) ** 2).sum(), changed

        return jax.grad(loss, has_aux=True)

    plain, again = (quick_jit(gradient(remat))(variables["params"]) for remat in (False, True))
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-4), plain, again)
    assert "remat" in str(jax.make_jaxpr(gradient(True))(variables["params"]))


def test_kernels_start_orthogonal_where_asked():
    params = quick_jit(lambda: DownBlock(6, LIMITED).init(KEY, random(1, 4, 4, 3)))()["params"]
    kernel = leaf_of(params, "conv_1", "kernel").reshape(-1, 6)
    np.testing.assert_allclose(kernel.T @ kernel, np.eye(6), atol=1e-5)


def test_attention_of_maps_that_there_are_not_is_refused():
    with pytest.raises(UserError, match=r"generator.attention is 64; .* one of 4, 8, the sizes"):
        shapes(Generator(16, 1, 1, attention=64), jnp.zeros((1, 128)), jnp.zeros(1, int))
