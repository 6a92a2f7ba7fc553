"""Each operation that is written as ONNX computes there what JAX does, for batches of any size."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from common.export.model import Model, Values

_WHY = "{} is not installed: install it with pip install -e '.[export]'"
pytest.importorskip("onnx", reason=_WHY.format("onnx"))
onnxruntime = pytest.importorskip("onnxruntime", reason=_WHY.format("onnxruntime"))

KERNEL = np.random.default_rng(0).standard_normal((3, 2, 4, 6), np.float32)
TABLE = np.random.default_rng(1).standard_normal((5, 3), np.float32)
SUM = jnp.arange(4.0)


def convolved(**options):
    named = {"window_strides": (1, 1), "padding": "SAME", **options}
    channels = 4 // named.get("feature_group_count", 1)
    layout = ("NHWC", "HWIO", "NHWC")
    return lambda x: lax.conv_general_dilated(
        x, KERNEL[:, :, :channels], dimension_numbers=layout, **named
    )


def doubled(padding):
    return lambda x: lax.conv_transpose(x, KERNEL, (2, 2), padding)


CASES = {
    "activations": lambda x: jax.nn.relu(x) + jax.nn.sigmoid(x) * jnp.tanh(x) + jax.nn.softplus(x),
    "arithmetic": lambda x: abs(x) ** 3 / (1 + x**2) - jnp.minimum(-x, 0.5) + lax.rsqrt(1 + x * x),
    "batch statistics of constants": lambda x: (x - SUM) * lax.rsqrt(SUM + 1e-3) + SUM,
    "broadcast and stacked": lambda x: jnp.concatenate([x, jnp.zeros_like(x) + SUM], -1),
    "comparisons": lambda x: jnp.where((x > 0) & (x != 1), x, 0.2 * x).astype(jnp.int32),
    "convolution": convolved(),
    "convolution, strided": convolved(window_strides=(2, 2), padding=((1, 0), (0, 2))),
    "convolution, in groups": convolved(feature_group_count=2),
    "convolution, dilated": convolved(rhs_dilation=(2, 1)),
    "convolution, transposed": doubled("SAME"),
    "convolution, transposed, longer": doubled("VALID"),
    "maxima": lambda x: lax.reduce_window(
        x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID"
    ),
    "sums": lambda x: lax.reduce_window(x, 0.0, lax.add, (1, 2, 3, 1), (1, 2, 1, 1), "SAME"),
    "maxima and sums": lambda x: x.max((1, 2)) - x.mean((1, 3)).sum(-1, keepdims=True),
    "mirrored": lambda x: jnp.pad(
        x[:, ::-1][:, :, 1:], ((0, 0), (2, 1), (1, 1), (0, 0)), "reflect"
    ),
    "products": lambda x: x.reshape(x.shape[0], -1)[:, :5] @ TABLE,
    "products of axes": lambda x: jnp.einsum("bhwc,bhvc->bwv", x, x),
    "repeated": lambda x: jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2),
    "rounded": lambda x: jnp.round(4 * x).clip(0, 5).astype(jnp.uint8),
    "rows of a table": lambda x: jnp.asarray(TABLE)[(abs(x[:, 0, 0, 0]) * 2).astype(jnp.int32)],
    "softmax": jax.nn.softmax,
    "split and transposed": lambda x: jnp.split(x.transpose(0, 2, 3, 1), 2, axis=2)[1],
}


@pytest.mark.parametrize("function", CASES.values(), ids=CASES)
def test_onnx_computes_what_jax_does(function):
    from common.export.onnx_model import to_onnx

    found = jax.eval_shape(function, jax.ShapeDtypeStruct((1, 6, 8, 4), np.float32))
    model = Model(
        function,
        {"x": Values((6, 8, 4), "float32", "")},
        Values(found.shape[1:], found.dtype.name, ""),
        0,
        {},
    )
    session = onnxruntime.InferenceSession(to_onnx(model, {}).SerializeToString())
    for size in (1, 3):
        x = np.random.default_rng(size).standard_normal((size, 6, 8, 4), np.float32)
        (theirs,) = session.run(None, {"x": x})
        np.testing.assert_allclose(theirs, function(jnp.asarray(x)), rtol=1e-5, atol=1e-5)
