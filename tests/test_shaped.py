"""While tests run, an array of another shape than is stated is an error."""

import jax.numpy as jnp
import pytest
from jaxtyping import TypeCheckError

from common.ops.depthwise import depthwise_conv
from tests.shaped import files


def test_a_wrong_shape_or_type_is_an_error():
    kernel = jnp.ones((3, 3, 1, 4))
    assert depthwise_conv(jnp.ones((1, 8, 8, 4)), kernel).shape == (1, 8, 8, 4)
    with pytest.raises(TypeCheckError, match="batch height width channels"):
        depthwise_conv(jnp.ones((8, 8, 4)), kernel)
    with pytest.raises(TypeCheckError):
        depthwise_conv(jnp.ones((1, 8, 8, 4)), kernel, "2")


def test_every_file_that_states_shapes_is_checked():
    assert {"common.ops.depthwise", "gan.networks", "gan.losses", "common.scores.ssim"} < {*files()}
    assert "common.program.words" not in files()
