"""The fast layers equal the plain ones, in value and in every gradient."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from common.networks.layers import (
    BatchNorm,
    Conv,
    ConvTranspose,
    UpsampleConv,
    dropout,
)
from common.ops import (
    Form,
    conv,
    conv_transpose,
    depthwise_conv,
    forms_for,
    grouped_conv,
    max_pool_2x2,
    plain_forms,
    upsample_conv,
)
from common.ops.forms import form_on_target
from tests.combinations import combinations

EXPLICIT = ((1, 2), (0, 1))


def normal(*shape: int, seed: int = 0, dtype: Any = np.float32) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape).astype(dtype))


def value_and_gradients(function: Callable[..., jax.Array], *inputs: jax.Array) -> list[jax.Array]:
    cotangent = jax.eval_shape(function, *inputs)
    cotangent = normal(*cotangent.shape, seed=9, dtype=cotangent.dtype)

    @jax.jit  # operation by operation, each test would compile dozens of programs
    def run(cotangent: jax.Array, *inputs: jax.Array) -> list[jax.Array]:
        y, pullback = jax.vjp(function, *inputs)
        return [y, *pullback(cotangent)]

    return run(cotangent, *inputs)


def assert_equal(ours: list[jax.Array], plain: list[jax.Array], tolerance: float = 1e-5) -> None:
    assert len(ours) == len(plain)
    for a, b in zip(ours, plain, strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * np.abs(b).max())


def assert_forms_agree(
    layer: Callable[..., jax.Array], *inputs: jax.Array, tolerance: float = 1e-5, **options: Any
) -> None:
    ours, plain = (
        value_and_gradients(
            lambda *inputs, form=form: layer(*inputs, **options, form=form), *inputs
        )
        for form in ("products", "lax")
    )
    assert_equal(ours, plain, tolerance)


def assert_second_derivatives_agree(
    layer: Callable[..., jax.Array], x: jax.Array, kernel: jax.Array
) -> None:
    """Of a penalty on the slope toward the images, in both forms."""

    def penalty(kernel: jax.Array, form: Form) -> jax.Array:
        toward_x = jax.grad(lambda x: jnp.tanh(layer(x, kernel, form=form)).sum())(x)
        return (toward_x**2).sum()

    gradient = jax.jit(jax.grad(penalty), static_argnums=1)
    assert_equal([gradient(kernel, "products")], [gradient(kernel, "lax")])


class TestForm:
    def test_a_cpu_takes_products_and_an_accelerator_takes_lax(self, monkeypatch):
        monkeypatch.setattr(jax, "default_backend", lambda: "cpu")
        assert form_on_target() == "products"
        monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
        assert form_on_target() == "lax"

    def test_a_program_can_be_for_other_hardware_than_runs(self):
        with forms_for("tpu"):
            assert form_on_target() == "lax"
            with forms_for("cpu"):
                assert form_on_target() == "products"
        assert form_on_target() == "products"

    def test_plain_forms_are_plain_for_large_kernels_too(self):
        x, kernel = jnp.ones((1, 20, 20, 1)), jnp.ones((15, 15, 1, 1))
        assert "fft" in str(jax.make_jaxpr(lambda *both: conv(*both, 1))(x, kernel))
        with plain_forms():
            text = str(jax.make_jaxpr(lambda *both: conv(*both, 1))(x, kernel))
        assert "fft" not in text and "conv_general_dilated" in text

    def test_a_named_form_overrides_the_platform(self):
        assert form_on_target("lax") == "lax"
        assert form_on_target("products") == "products"


class TestConv:
    @pytest.mark.parametrize(
        ("padding", "stride", "size", "features"),
        combinations(["SAME", "VALID", EXPLICIT], [1, 2], [1, 3, 4], [1, 6]),
    )
    def test_equals_lax_with_gradients(self, padding, stride, size, features):
        x, kernel = normal(2, 9, 8, 16), normal(size, size, 16, features)
        assert_forms_agree(conv, x, kernel, stride=stride, padding=padding)

    @pytest.mark.parametrize(
        ("padding", "size"),
        combinations(
            ["SAME", "VALID", EXPLICIT, ((3, 0), (0, 4))],
            [(3, 3), (2, 5), (4, 1), (1, 4)],
            together=1,
        ),
    )
    def test_of_many_channels_equals_lax_with_gradients(self, padding, size):
        x, kernel = normal(2, 9, 7, 32), normal(*size, 32, 40)
        assert_forms_agree(conv, x, kernel, padding=padding)

    def test_equals_flax_same_padding_of_even_images(self):
        x = normal(2, 8, 8, 3)
        layer = nn.Conv(5, (3, 3), strides=2)
        variables = jax.jit(layer.init)(jax.random.key(0), x)
        ours = Conv(5, 3, stride=2).apply(variables, x)
        np.testing.assert_allclose(ours, layer.apply(variables, x), atol=1e-6)

    def test_is_cross_correlation(self):
        x = jnp.arange(9.0).reshape(1, 3, 3, 1)
        kernel = jnp.zeros((3, 3, 1, 1)).at[0, 2, 0, 0].set(1.0)
        assert conv(x, kernel, padding="VALID").item() == x[0, 0, 2, 0]

    @pytest.mark.parametrize("features", [1, 8, 32])
    def test_second_derivatives_exist_and_agree(self, features):
        """Gradient penalties differentiate a gradient."""
        channels = max(16, features)
        x, kernel = normal(1, 5, 5, channels), normal(3, 3, channels, features)
        assert_second_derivatives_agree(conv, x, kernel)


class TestDepthwiseConv:
    @pytest.mark.parametrize(
        ("padding", "stride", "size"),
        combinations(["SAME", "VALID", EXPLICIT], [1, 2, 3], [1, 3, 4, 5]),
    )
    def test_equals_lax_with_gradients(self, padding, stride, size):
        x, kernel = normal(2, 9, 8, 6), normal(size, size, 1, 6)
        assert_forms_agree(depthwise_conv, x, kernel, stride=stride, padding=padding)

    def test_is_a_convolution_of_each_channel(self):
        x, kernel = normal(2, 7, 7, 3), normal(3, 3, 1, 3)
        apart = [conv(x[..., c : c + 1], kernel[..., c : c + 1]) for c in range(3)]
        np.testing.assert_allclose(depthwise_conv(x, kernel), jnp.concatenate(apart, -1), atol=1e-5)


class TestGroupedConv:
    @pytest.mark.parametrize(
        ("padding", "group", "channels"),
        combinations(["SAME", "VALID", EXPLICIT], [2, 16], [16, 96], together=1),
    )
    def test_equals_lax_with_gradients(self, padding, group, channels):
        x, kernel = normal(2, 6, 5, channels), normal(3, 3, group, channels)
        assert_forms_agree(grouped_conv, x, kernel, padding=padding)

    def test_is_a_convolution_of_each_group(self):
        x, kernel = normal(2, 7, 7, 6), normal(3, 3, 2, 6)
        apart = [conv(x[..., c : c + 2], kernel[..., c : c + 2]) for c in (0, 2, 4)]
        np.testing.assert_allclose(grouped_conv(x, kernel), jnp.concatenate(apart, -1), atol=1e-5)

    def test_second_derivatives_agree(self):
        assert_second_derivatives_agree(grouped_conv, normal(1, 5, 5, 32), normal(3, 3, 16, 32))


class TestConvTranspose:
    @pytest.mark.parametrize(
        ("padding", "stride", "size"),
        combinations(["SAME", "VALID", EXPLICIT], [1, 2, 3], [1, 2, 3, 4, 5]),
    )
    def test_equals_lax_with_gradients(self, padding, stride, size):
        x, kernel = normal(2, 5, 4, 3), normal(size, size, 3, 6)
        assert_forms_agree(conv_transpose, x, kernel, stride=stride, padding=padding)

    def test_one_pixel_becomes_a_4x4_image(self):
        x, kernel = normal(3, 1, 1, 8), normal(4, 4, 8, 5)
        assert conv_transpose(x, kernel, 1, "VALID").shape == (3, 4, 4, 5)
        assert_forms_agree(conv_transpose, x, kernel, stride=1, padding="VALID")

    @pytest.mark.parametrize("padding", ["SAME", "VALID"])
    @pytest.mark.parametrize(("size", "stride"), [(4, 2), (2, 2), (3, 2), (4, 1), (2, 3)])
    def test_equals_flax(self, padding, size, stride):
        x = normal(2, 4, 5, 3)
        layer = nn.ConvTranspose(6, (size, size), strides=(stride, stride), padding=padding)
        variables = jax.jit(layer.init)(jax.random.key(0), x)
        ours = ConvTranspose(6, size, stride, padding).apply(variables, x)
        np.testing.assert_allclose(ours, layer.apply(variables, x), atol=1e-6)

    def test_places_taps_as_pytorch_does_once_the_kernel_is_reversed(self):
        """y[s i - 1 + a] += x[i] weight[a], for kernel 4, stride 2, padding 1."""
        x, weight = normal(1, 3, 3, 1), normal(4, 4, 1, 1)
        expected = np.zeros((8, 8))
        for i in range(3):
            for j in range(3):
                expected[2 * i : 2 * i + 4, 2 * j : 2 * j + 4] += x[0, i, j, 0] * weight[..., 0, 0]
        ours = conv_transpose(x, weight[::-1, ::-1])
        np.testing.assert_allclose(ours[0, ..., 0], expected[1:-1, 1:-1], atol=1e-5)

    def test_unknown_padding_is_refused(self):
        with pytest.raises(ValueError, match="CIRCULAR"):
            conv_transpose(normal(1, 2, 2, 1), normal(4, 4, 1, 1), 2, "CIRCULAR")

    def test_second_derivatives_exist_and_agree(self):
        assert_second_derivatives_agree(conv_transpose, normal(1, 3, 3, 2), normal(4, 4, 2, 3))


class TestUpsampleConv:
    @pytest.mark.parametrize("shape", [(2, 5, 4, 3), (1, 1, 1, 2), (2, 1, 3, 4), (6, 24, 20, 3)])
    def test_equals_repetition_and_convolution_with_gradients(self, shape):
        x, kernel, bias = normal(*shape), normal(3, 3, shape[-1], 6), normal(6)
        assert_forms_agree(upsample_conv, x, kernel)
        assert_forms_agree(
            lambda x, kernel, bias, form: upsample_conv(x, kernel, form, bias), x, kernel, bias
        )

    def test_sums_over_chunks_keep_more_than_the_precision_of_a_narrow_type(self):
        """A running sum in bfloat16 would stop growing at 256 times what is added."""
        x, kernel = 1 + normal(512, 32, 32, 1), normal(3, 3, 1, 1)

        def gradients(dtype: Any) -> list[jax.Array]:
            def mean(kernel: jax.Array, bias: jax.Array) -> jax.Array:
                y = upsample_conv(x.astype(dtype), kernel, "products", bias)
                return y.astype(jnp.float32).mean()

            gradient = jax.jit(jax.grad(mean, (0, 1)))
            return [
                g.astype(jnp.float32) for g in gradient(kernel.astype(dtype), jnp.zeros(1, dtype))
            ]

        assert_equal(gradients(jnp.bfloat16), gradients(jnp.float32), tolerance=1e-2)

    def test_keeps_its_input_and_no_products(self):
        """XLA would make ReLU's gradient of the products: twice the output and more."""

        def loss(kernel: jax.Array, x: jax.Array) -> jax.Array:
            return (jax.nn.relu(upsample_conv(x, kernel, form="products")) ** 2).sum()

        kernel = jax.ShapeDtypeStruct((3, 3, 16, 16), jnp.float32)
        images = jax.ShapeDtypeStruct((8, 64, 64, 16), jnp.float32)
        compiled = jax.jit(jax.grad(loss, (0, 1))).lower(kernel, images).compile()
        output = 4 * images.size * 4  # bytes
        assert compiled.memory_analysis().temp_size_in_bytes < 2.5 * output

    def test_offset_images_lose_no_precision(self):
        """The differences of neighbours are small beside their mean; only they may round."""
        assert_forms_agree(upsample_conv, 100 + normal(2, 8, 8, 16), normal(3, 3, 16, 8))

    def test_second_derivatives_exist_and_agree(self):
        x, kernel = normal(6, 24, 20, 2), normal(3, 3, 2, 3)  # of several chunks

        def penalty(kernel: jax.Array, form: Form) -> jax.Array:
            def loss(x: jax.Array, kernel: jax.Array) -> jax.Array:
                return jnp.tanh(upsample_conv(x, kernel, form)).sum()

            return sum((part**2).sum() for part in jax.grad(loss, (0, 1))(x, kernel))

        gradient = jax.jit(jax.grad(penalty), static_argnums=1)
        ours, plain = (gradient(kernel, form) for form in ("products", "lax"))
        assert_equal([ours], [plain])


class TestMaxPool:
    @pytest.mark.parametrize("shape", [(2, 6, 8, 3), (2, 7, 5, 3)])
    def test_equals_reduce_window_with_gradient(self, shape):
        assert_forms_agree(max_pool_2x2, normal(*shape))

    def test_among_equal_pixels_the_first_takes_the_whole_gradient(self):
        x = jnp.ones((1, 2, 2, 1)).at[0, 0, 0, 0].set(0.0)
        for form in ("products", "lax"):
            gradient = jax.grad(lambda x, form=form: max_pool_2x2(x, form).sum())(x)
            np.testing.assert_array_equal(gradient[0, ..., 0], [[0, 1], [0, 0]])

    def test_ties_everywhere_agree_with_reduce_window(self):
        assert_forms_agree(max_pool_2x2, jnp.round(normal(2, 16, 16, 3)))


class TestPrecisionAndPlatform:
    def test_float64_stays_float64_to_its_own_precision(self):
        with jax.enable_x64(True):
            x, kernel = normal(2, 5, 5, 16, dtype=np.float64), normal(3, 3, 16, 1, dtype=np.float64)
            assert_forms_agree(conv, x, kernel, tolerance=1e-13)
            assert_forms_agree(conv_transpose, x, kernel, tolerance=1e-13)
            assert_forms_agree(upsample_conv, x, kernel, tolerance=1e-13)
            assert_forms_agree(max_pool_2x2, x, tolerance=0)
            keys = jax.random.split(jax.random.key(0), 2)
            assert dropout(x, keys, 0.5).dtype == jnp.float64

    def test_modules_run_in_pmap_with_donated_buffers(self):
        x = normal(1, 2, 4, 4, 16)
        net = nn.Sequential([ConvTranspose(8), UpsampleConv(16), Conv(1)])
        params = jax.jit(net.init)(jax.random.key(0), x[0])

        def step(params: Any, x: jax.Array) -> Any:
            def loss(params: Any) -> jax.Array:
                return (net.apply(params, x) ** 2).mean()

            gradient = jax.lax.pmean(jax.grad(loss)(params), "batch")
            return jax.tree.map(lambda p, g: p - 0.1 * g, params, gradient)

        expected = step_alone(step, params, x)
        stacked = jax.tree.map(lambda p: p[None], params)
        moved = jax.pmap(step, "batch", donate_argnums=0)(stacked, x)
        for a, b in zip(jax.tree.leaves(moved), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(a[0], b, atol=1e-6)


def step_alone(step: Callable[..., Any], params: Any, x: jax.Array) -> Any:
    moved = jax.jit(jax.vmap(step, (None, 0), axis_name="batch"))(params, x)
    return jax.tree.map(lambda p: p[0], moved)


class TestModules:
    @pytest.mark.parametrize(
        ("module", "kernel_shape"),
        [
            (Conv(5), (3, 3, 2, 5)),
            (Conv(5, (1, 3)), (1, 3, 2, 5)),
            (ConvTranspose(5), (4, 4, 2, 5)),
            (UpsampleConv(5), (3, 3, 2, 5)),
        ],
    )
    def test_parameters_are_kernel_and_bias(self, module, kernel_shape):
        params = jax.jit(module.init)(jax.random.key(0), normal(1, 4, 4, 2))["params"]
        assert {name: value.shape for name, value in params.items()} == {
            "kernel": kernel_shape,
            "bias": (5,),
        }
        assert not params["bias"].any()
        limit = (6 / (np.prod(kernel_shape[:2]) * (2 + 5))) ** 0.5
        assert 0.8 * limit < float(jnp.abs(params["kernel"]).max()) <= limit

    @pytest.mark.parametrize("module", [Conv, ConvTranspose, UpsampleConv])
    def test_bias_is_added_to_every_pixel_and_can_be_left_out(self, module):
        x = normal(1, 4, 4, 2)
        bare = module(5, use_bias=False)
        params = bare.init(jax.random.key(0), x)["params"]
        assert set(params) == {"kernel"}
        bias = normal(5)
        biased = module(5).apply({"params": params | {"bias": bias}}, x)
        np.testing.assert_allclose(biased, bare.apply({"params": params}, x) + bias, atol=1e-6)

    def test_gradient_of_the_bias_is_the_sum_over_pixels(self):
        x = normal(2, 4, 4, 16)
        variables = Conv(1).init(jax.random.key(0), x)
        gradient = jax.grad(lambda v: Conv(1).apply(v, x).sum())(variables)["params"]["bias"]
        np.testing.assert_allclose(gradient, [2 * 4 * 4])


def leaves_with_gradients(run: Callable[..., Any], *inputs: Any) -> list[jax.Array]:
    """Output, gradients of the inputs, and changed statistics of a layer that has them."""

    @jax.jit
    def everything(*inputs: Any) -> Any:
        y, pullback, changed = jax.vjp(run, *inputs, has_aux=True)
        return y, pullback(normal(*y.shape, seed=2)), changed

    return jax.tree.leaves(everything(*inputs))


class TestBatchNorm:
    def test_equals_flax_in_value_gradients_and_running_moments(self):
        x = 3 + 2 * normal(4, 5, 5, 6)
        ours = BatchNorm(momentum=0.8, epsilon=1e-3, axis_name="")
        flax = nn.BatchNorm(momentum=0.8, epsilon=1e-3)
        variables = ours.init(jax.random.key(0), x, use_running_average=False)
        variables["params"] = {"scale": normal(6), "bias": normal(6, seed=1)}
        results = []
        for layer in (ours, flax):

            def run(x: jax.Array, params: Any, layer: nn.Module = layer) -> Any:
                return layer.apply(
                    variables | {"params": params},
                    x,
                    use_running_average=False,
                    mutable=["batch_stats"],
                )

            results.append(leaves_with_gradients(run, x, variables["params"]))
        assert_equal(*results)

    def test_running_moments_normalise_when_asked(self):
        x = normal(4, 6)
        layer = BatchNorm(momentum=0.8, epsilon=1e-3)
        variables = layer.init(jax.random.key(0), x, use_running_average=True)
        variables["batch_stats"] = {"mean": jnp.full(6, 2.0), "var": jnp.full(6, 4.0)}
        y = layer.apply(variables, x, use_running_average=True)
        np.testing.assert_allclose(y, (x - 2) / np.sqrt(4 + 1e-3), atol=1e-6)

    def test_moments_are_those_of_the_global_batch(self):
        """Gradients too: an example on one device moves the moments of all."""
        x = normal(4, 3, 3, 2) * jnp.arange(1.0, 5.0).reshape(4, 1, 1, 1)
        whole, split = (BatchNorm(0.8, 1e-3, axis_name=name) for name in ("", "batch"))
        variables = whole.init(jax.random.key(0), x, use_running_average=False)

        def one_device(x: jax.Array) -> Any:
            return whole.apply(variables, x, use_running_average=False, mutable=["batch_stats"])

        def two_devices(x: jax.Array) -> Any:
            def share(x: jax.Array) -> Any:
                return split.apply(variables, x, use_running_average=False, mutable=["batch_stats"])

            y, changed = jax.vmap(share, axis_name="batch")(x.reshape(2, 2, 3, 3, 2))
            return y.reshape(x.shape), jax.tree.map(lambda moments: moments[0], changed)

        results = []
        for run in (one_device, two_devices):
            results.append(leaves_with_gradients(run, x))
        assert_equal(*results)


class TestDropout:
    keys = staticmethod(lambda number: jax.random.split(jax.random.key(3), number))

    @pytest.mark.parametrize("rate", [0.25, 0.5, 0.3])
    def test_drops_the_rate_and_keeps_the_mean(self, rate):
        y = dropout(jnp.ones((8, 64, 64, 3)), self.keys(8), rate)
        spread = (rate * (1 - rate) / y.size) ** 0.5
        assert abs(float((y == 0).mean()) - rate) < 4 * spread
        np.testing.assert_allclose(y[y != 0], 1 / (1 - rate), rtol=2e-5)

    def test_an_example_depends_on_its_own_key_alone(self):
        x, keys = normal(6, 5, 7), self.keys(6)
        whole = dropout(x, keys, 0.5)
        halves = [dropout(x[a : a + 3], keys[a : a + 3], 0.5) for a in (0, 3)]
        np.testing.assert_array_equal(whole, jnp.concatenate(halves))

    def test_masks_of_examples_differ_and_neighbours_are_independent(self):
        dropped = np.asarray(dropout(jnp.ones((64, 4096)), self.keys(64), 0.5) == 0)
        for lag in (1, 2, 3, 4):
            both = (dropped[:, lag:] & dropped[:, :-lag]).mean()
            assert abs(both - 0.25) < 0.005
        assert abs((dropped[1:] & dropped[:-1]).mean() - 0.25) < 0.005

    def test_gradient_passes_the_same_mask(self):
        x, keys = jnp.ones((2, 9)), self.keys(2)
        gradient = jax.grad(lambda x: dropout(x, keys, 0.5).sum())(x)
        np.testing.assert_array_equal(gradient, dropout(x, keys, 0.5))

    def test_rate_zero_keeps_everything_and_rate_one_is_refused(self):
        x = normal(2, 5)
        np.testing.assert_array_equal(dropout(x, self.keys(2), 0.0), x)
        with pytest.raises(ValueError, match=r"\[0, 1\)"):
            dropout(x, self.keys(2), 1.0)
