"""Winograd's form equals the plain one, in value and in every gradient."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from common.learning.barrier import in_order
from common.networks.layers import BatchNorm, Conv
from common.ops import conv, convolutions, plain_forms
from common.ops.blocks import Kernel, lax_conv
from common.ops.winograd import conv_winograd, fills_tiles
from common.program.memory import low_memory_options
from tests.combinations import combinations

SHAPES = [  # images; one of whole tiles, one whose tiles overhang, one that is cut
    ((2, 8, 8, 5), ((1, 1), (1, 1))),
    ((1, 13, 7, 4), ((0, 2), (1, 0))),
    ((3, 6, 9, 2), ((1, 1), (-1, 0))),
]


def images_kernel_and_bias(shape, size):
    rng = np.random.default_rng(0)
    shapes = shape, (size, size, shape[-1], 6), (6,)
    return (jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in shapes)


def assert_close(ours, plain):
    for a, b in zip(*map(jax.tree.leaves, (ours, plain)), strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * float(jnp.abs(b).max()))


@pytest.mark.parametrize(("size", "of"), combinations([2, 3], SHAPES, together=1))
def test_equals_the_plain_form_with_gradients_of_both_orders(size, of):
    """The second order is what a gradient penalty takes."""
    shape, pads = of

    def value_and_gradients(form, *inputs):
        @jax.jit  # operation by operation, dozens of programs would be compiled
        def run(*inputs):
            return form(*inputs, pads), [gradient(*inputs) for gradient in both]

        def loss(*inputs):
            return (form(*inputs, pads) ** 2).sum()

        def penalty(*inputs):
            return sum((part**2).sum() for part in jax.grad(loss, (0, 1, 2))(*inputs))

        both = jax.grad(loss, (0, 1, 2)), jax.grad(penalty, (0, 1, 2))
        return run(*inputs)

    inputs = list(images_kernel_and_bias(shape, size))
    plain = value_and_gradients(lambda x, k, b, pads: lax_conv(x, k, 1, pads) + b, *inputs)
    ours = value_and_gradients(lambda x, k, *rest: conv_winograd(x, Kernel(k), *rest), *inputs)
    assert_close(ours, plain)


def test_does_without_a_bias():
    x, kernel, bias = images_kernel_and_bias(*SHAPES[0][:1], 3)
    pads = SHAPES[0][1]
    value, pullback = jax.vjp(lambda x, k: conv_winograd(x, Kernel(k), None, pads), x, kernel)
    biased, biased_pullback = jax.vjp(
        lambda x, k: conv_winograd(x, Kernel(k), bias, pads), x, kernel
    )
    assert_close(value + bias, biased)
    assert_close(pullback(value), biased_pullback(value))


def test_the_gradient_of_the_image_alone_takes_no_gradient_of_the_kernel():
    """As the generator's, through the discriminator; in order, it would else wait for it."""

    def products(*arguments):
        def loss(x, kernel, bias):
            return (conv_winograd(x, Kernel(kernel), bias, SHAPES[0][1]) ** 2).sum()

        inputs = images_kernel_and_bias(*SHAPES[0][:1], 3)
        return jax.jit(jax.grad(loss, arguments)).lower(*inputs).as_text().count("dot_general")

    assert products(0, 1, 2) == 3 and products(0, 2) == products(0) == 2


def test_is_what_a_convolution_of_many_channels_takes_on_a_cpu(monkeypatch):
    x, kernel = jnp.zeros((2, 16, 16, 64)), jnp.zeros((3, 3, 64, 64))
    called = []
    monkeypatch.setattr(convolutions, "conv_winograd", lambda x, *_: called.append(x.shape) or x)
    conv(x, kernel)
    assert called == [x.shape]
    with plain_forms():
        conv(x, kernel)
    conv(x.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16))
    conv(x[:, :9], kernel)  # too few pixels
    conv(x[..., :3], kernel[:, :, :3])  # too few channels
    conv(x[:1], kernel)  # whatever the batch: a device's share takes the same form
    assert called == [x.shape, (1, *x.shape[1:])]


def test_tiles_are_to_be_filled():
    images = jnp.zeros((1, 9, 9, 2))
    assert fills_tiles(images, (8, 8)) and fills_tiles(images, (14, 14))
    assert not fills_tiles(images, (9, 9)) and not fills_tiles(images, (1, 4))
    assert not fills_tiles(images.astype(jnp.bfloat16), (8, 8))


def test_is_not_kept_in_memory_from_the_start_of_a_program_on():
    """Four layers with gradients need but their chunks more memory than in the plain form."""

    def bytes_of(form):
        def loss(kernels, x):
            for kernel in kernels:
                x = jax.nn.relu(conv(x, kernel, form=form))
            return (x**2).mean()

        shapes = [jax.ShapeDtypeStruct((3, 3, 64, 64), jnp.float32)] * 4
        images = jax.ShapeDtypeStruct((16, 64, 64, 64), jnp.float32)
        compiled = jax.jit(jax.grad(loss)).lower(shapes, images).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    points = 4 * 36 * 256 * 64  # bytes of a chunk's tiles there
    assert bytes_of("products") <= bytes_of("lax") + 6 * points


def test_a_layer_keeps_its_input_once_and_not_padded_too():
    size = 8 * 64 * 64 * 16 * 4  # bytes of a layer's images

    def bytes_of(layers):
        def loss(kernels, x):
            for kernel in kernels:
                x = jax.nn.relu(conv_winograd(x, Kernel(kernel), None, ((1, 1), (1, 1))))
            return (x**2).sum()

        kernels = [jax.ShapeDtypeStruct((3, 3, 16, 16), jnp.float32)] * layers
        images = jax.ShapeDtypeStruct((8, 64, 64, 16), jnp.float32)
        compiled = jax.jit(jax.grad(loss)).lower(kernels, images).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert bytes_of(8) - bytes_of(4) < 4 * 1.2 * size


class Layers(nn.Module):
    """3x3 convolutions with ReLU."""

    number: int
    norm: bool

    @nn.compact
    def __call__(self, x):
        for _ in range(self.number):
            x = Conv(32)(x)
            if self.norm:
                x = BatchNorm(0.9, 1e-3, "")(x, use_running_average=False)
            x = nn.relu(x)
        return x


def images_kept_by(layers):
    """Returns how many batches of a layer's output the gradient of layers has in memory."""
    images = jax.ShapeDtypeStruct((8, 64, 64, 32), jnp.float32)
    variables = dict(jax.eval_shape(layers.init, jax.random.key(0), images))

    def loss(params, rest, x):
        y, _ = layers.apply({"params": params, **rest}, x, mutable=["batch_stats"])
        return (y**2).mean()

    lowered = jax.jit(jax.grad(loss)).lower(variables.pop("params"), variables, images)
    compiled = lowered.compile(low_memory_options())
    return compiled.memory_analysis().temp_size_in_bytes / (4 * images.size)


def test_an_output_is_not_kept_without_its_bias_too():
    """What BatchNorm needs of the forward pass is the biased output; its own is made again."""
    assert images_kept_by(Layers(8, norm=True)) - images_kept_by(Layers(4, norm=True)) < 4 * 1.2


def test_a_layers_gradients_are_all_taken_before_those_of_the_layer_below():
    """Else the gradients toward the outputs are all kept until those of the weights are taken."""
    assert images_kept_by(Layers(4, norm=False)) < 4 + 2.5


def test_parts_in_order_need_the_memory_of_one():
    def bytes_of(parts):
        def gradients(kernel, images, step):
            total = jnp.zeros_like(kernel)
            for part in jnp.split(images, parts):
                total, waiting = in_order(step >= 0, (total, part))
                total = total + jax.grad(lambda k, x: jnp.tanh(conv(x.astype(k.dtype), k)).sum())(
                    kernel, waiting
                )
            return total

        kernel = jax.ShapeDtypeStruct((3, 3, 64, 64), jnp.float32)
        images = jax.ShapeDtypeStruct((4 * parts, 32, 32, 64), jnp.uint8)
        step = jax.ShapeDtypeStruct((), jnp.int32)
        compiled = jax.jit(gradients).lower(kernel, images, step).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert bytes_of(6) < 1.2 * bytes_of(2)
