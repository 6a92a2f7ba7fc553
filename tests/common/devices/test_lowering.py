"""Programs lowered for named hardware: the forms are its own, and the results those of here."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from common.devices.axis import AXIS
from common.devices.hardware import HERE, Hardware, find_hardware, missing_package, platform_of
from common.devices.lowering import Program, lower, operations_before_compiling
from common.ops import conv
from common.program.errors import UserError
from common.training.programs import programs_of
from common.training.task import make_task
from configs import acgan_covid, small_cnn_chest_xray, toy_gan_1d, unet_brain_mri
from tests.compile_step import card_of


@pytest.mark.parametrize(
    ("name", "platform"),
    [
        (HERE, None),
        ("v5e:2x4", "tpu"),
        ("v4:4x4x4", "tpu"),
        ("tpu7x:4x4x4", "tpu"),
        ("h100:8", "gpu"),
    ],
)
def test_a_name_says_the_platform(name, platform):
    assert platform_of(name) == platform


@pytest.mark.parametrize("name", ["", "v5litepod-256", "v5e", "a100:8", "h100"])
def test_other_names_are_refused(name):
    with pytest.raises(UserError, match="no hardware that can be compiled for"):
        missing_package(name)


def test_the_forms_are_those_of_the_target():
    """On a CPU this convolution and its gradients are products; a TPU has them in hardware."""
    x = jax.ShapeDtypeStruct((4, 16, 16, 64), jnp.float32)
    kernel = jax.ShapeDtypeStruct((3, 3, 64, 64), jnp.float32)

    def gradient(x, kernel):
        return jax.grad(lambda k: jnp.sum(conv(x, k, 1, "SAME") ** 2))(kernel)

    program = Program(gradient, (x, kernel), (0,))
    (here,) = find_hardware(HERE).devices
    text = {
        platform: lower(program, Hardware("test", platform, [here])).as_text()
        for platform in ("cpu", "tpu")
    }
    assert text["tpu"].count("stablehlo.convolution") == 2
    assert text["cpu"].count("stablehlo.convolution") < 2


@pytest.mark.parametrize("chips", [1, 4])
def test_operations_are_those_of_one_share(chips):
    """A product of [rows, 16] and [16, 32] has 2 x 16 x 32 operations a row; the sum has one."""
    x = jax.ShapeDtypeStruct((24, 16), jnp.float32)
    kernel = jax.ShapeDtypeStruct((16, 32), jnp.float32)
    program = Program(lambda x, k: jax.lax.psum(jnp.sum(x @ k), AXIS), (x, kernel), (0,))
    (here,) = find_hardware(HERE).devices
    rows = 24 // chips
    found = operations_before_compiling(program, Hardware("some", "gpu", [here] * chips))
    assert found == pytest.approx(rows * 2 * 16 * 32 + rows * 32, abs=2)


@pytest.mark.parametrize(
    ("module", "name"),
    [(acgan_covid, "generate"), (unet_brain_mri, "predict"), (small_cnn_chest_xray, "predict")],
)
def test_a_task_names_what_a_trained_network_computes(module, name):
    config = module.get_config("tiny")
    card = card_of(config)
    programs = programs_of(make_task(config, card), card)
    assert list(programs) == ["train_step", "eval_step", name]
    program = programs[name]
    found = jax.eval_shape(program.function, *program.arguments)
    assert found.shape[0] == program.arguments[program.shared[0]].shape[0]


def test_a_lowered_step_computes_what_the_step_does():
    config = toy_gan_1d.get_config("tiny").unlock()
    config.optimizer.discriminator_steps = 1
    card = card_of(config)
    task = make_task(config, card)
    program = programs_of(task, card)["train_step"]
    compiled = lower(program, find_hardware(HERE)).compile()
    state, (_, shapes, _, frozen) = jax.jit(task.init)(jax.random.key(0)), program.arguments
    rng = np.random.default_rng(0)
    batch = {name: jnp.asarray(rng.integers(0, 2, x.shape), x.dtype) for name, x in shapes.items()}
    key = jax.random.key(1)
    one = jax.tree.map(lambda x: x[None], (state, batch))
    step = jax.vmap(lambda s, b: task.train_step(s, b, key), axis_name=AXIS)
    wanted, _ = jax.jit(step)(*one)
    found, _ = compiled(state, batch, jax.random.key_data(key), frozen)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(a, b[0], rtol=1e-4, atol=1e-6)
