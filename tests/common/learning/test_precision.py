"""train.dtype="bfloat16": narrow products, wide parameters, nearly the same step."""

from importlib import import_module

import jax
import jax.numpy as jnp
import pytest

from common.data.prepared.prepared import prepare
from common.devices.axis import AXIS
from common.ops import plain_forms
from common.training.task import make_task

PRODUCTS = ("dot_general", "conv_general_dilated")
CONFIGS = (
    "acgan_covid",
    "cnn_gan_chest_xray",
    "dcgan_chest_xray",
    "dense_gan_mnist",
    "small_cnn_chest_xray",
    "unet_brain_mri",
    "vgg16_covid",
)


def training_step(name, dtype, tmp_path):
    """Returns a step of a tiny experiment on one device, what starts it, and its batch."""
    config = import_module(f"configs.{name}").get_config("tiny")
    config.data.update(cache_dir=str(tmp_path), num_phantoms=16)
    config.train.dtype = dtype
    prepared = prepare(config.data)
    task = make_task(config, prepared.card)
    num = task.batches.examples
    batch = {**prepared.splits["train"].read(range(num)), "position": jnp.arange(num)}

    def step(state, batch):
        return task.train_step(state, batch, jax.random.key(1))

    return jax.vmap(step, axis_name=AXIS), task.init, jax.tree.map(lambda x: x[None], batch)


def operations(jaxpr):
    """Yields every operation of a program, those of its parts included."""
    for operation in jaxpr.eqns:
        yield operation
        for part in jax.tree.leaves(list(operation.params.values()), is_leaf=is_program):
            if is_program(part):
                yield from operations(getattr(part, "jaxpr", part))


def is_program(part):
    return hasattr(getattr(part, "jaxpr", part), "eqns")


@pytest.mark.parametrize("name", CONFIGS)
def test_products_are_narrow_and_the_state_is_wide(name, tmp_path):
    """As an accelerator runs them, in the plain forms; forward and backward."""
    step, init, batch = training_step(name, "bfloat16", tmp_path)
    state = jax.eval_shape(jax.vmap(init), jax.random.split(jax.random.key(0), 1))
    with plain_forms():
        program = jax.make_jaxpr(lambda *args: jax.tree.leaves(step(*args)))(state, batch)
    types = {
        operand.aval.dtype.name
        for operation in operations(program.jaxpr)
        if operation.primitive.name in PRODUCTS
        for operand in operation.invars
    }
    # The confusion matrix of the metrics is a product, too, of float32.
    of_metrics = set() if "gan" in name else {"float32"}
    assert types == {"bfloat16"} | of_metrics
    expected = [leaf.dtype for leaf in jax.tree.leaves(state)]
    assert [leaf.dtype for leaf in program.out_avals][: len(expected)] == expected
    assert jnp.bfloat16 not in {leaf.dtype for leaf in program.out_avals}


@pytest.mark.parametrize(
    "name", [pytest.param("dense_gan_mnist", marks=pytest.mark.slow), "small_cnn_chest_xray"]
)
def test_a_step_is_nearly_that_of_float32(name, tmp_path):
    losses, state = [], None
    for dtype in ("float32", "bfloat16"):
        step, init, batch = training_step(name, dtype, tmp_path)
        state = state or jax.jit(jax.vmap(init))(jax.random.split(jax.random.key(0), 1))
        _, metrics = jax.jit(step)(state, batch)
        values = jax.tree.map(lambda x: x[0], metrics).compute()
        losses.append({k: float(v) for k, v in values.items() if "loss" in k or "norm" in k})
    assert losses[0]
    assert losses[0] != losses[1]
    for metric, value in losses[0].items():
        assert losses[1][metric] == pytest.approx(value, rel=0.05), metric
