"""The networks against an independent reference: the same ones in Keras on TensorFlow."""

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
import pytest


@pytest.fixture(scope="module")
def bench() -> Iterator[Callable[[str], ModuleType]]:
    """Imports a file of bench/ that needs Keras: not when tests are collected, by every worker."""
    for package in ("keras", "tensorflow"):
        pytest.importorskip(package)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).resolve().parents[2] / "bench")
        yield importlib.import_module


@pytest.mark.parametrize(("image_size", "channels", "num_classes"), [(16, 1, 2), (28, 3, 5)])
def test_acgan_is_the_function_that_keras_computes(bench, image_size, channels, num_classes):
    assert bench("keras_same").compare(image_size, channels, num_classes).difference < 1e-5


def test_acgan_has_the_original_numbers_of_parameters_in_keras_too(bench):
    assert bench("keras_same").compare(64, 1, 2).parameters == (3_533_001, 128_643)


@pytest.mark.parametrize("player", [0, 1], ids=["generator", "discriminator"])
def test_acgan_has_the_gradients_and_running_statistics_of_keras(bench, player):
    keras_networks, keras_same, tensorflow = map(
        bench, ("keras_networks", "keras_same", "tensorflow")
    )
    pairs = keras_same.make_pairs(16, 1, 2, dropout_rate=0.0)
    latents, labels, images = keras_same.random_inputs(pairs)
    module, variables, model = pairs[player]
    inputs = jax.tree.map(jnp.asarray, ((latents, labels), (images, labels))[player])
    keras_inputs = ([latents, labels[:, None]], images)[player]
    numbers = np.random.default_rng(3)
    shapes = [(len(images), *output.shape[1:]) for output in model.outputs]
    directions = [numbers.normal(size=shape).astype(np.float32) for shape in shapes]

    def ours(params):
        of_step = {**variables, "params": params}
        outputs, changed = module.apply(of_step, *inputs, train=True, mutable=["batch_stats"])
        outputs = (outputs,) if player == 0 else keras_same.probabilities(outputs)
        value = sum((y * d).sum() for y, d in zip(outputs, directions, strict=True))
        return value, changed["batch_stats"]

    compute = jax.jit(jax.value_and_grad(ours, has_aux=True))
    (value, stats), gradients = compute(variables["params"])
    with tensorflow.GradientTape() as tape:
        outputs = model(keras_inputs, training=True)
        outputs = outputs if isinstance(outputs, list) else [outputs]
        products = [y * d for y, d in zip(outputs, directions, strict=True)]
        expected = tensorflow.add_n([tensorflow.reduce_sum(product) for product in products])
    named = keras_networks.weights(model)
    trained = [key for key in named if key[0] == "params"]
    expected_gradients = tape.gradient(expected, [named[key].value for key in trained])
    np.testing.assert_allclose(value, expected, rtol=1e-4)
    for (_, layer, name), slices in zip(trained, expected_gradients, strict=True):
        gradient = tensorflow.convert_to_tensor(slices).numpy()  # the embedding's is sparse
        scale = np.abs(gradient).max()
        assert scale > 1e-3, f"{layer}/{name} has no gradient to compare"
        np.testing.assert_allclose(
            gradients[layer][name], gradient, atol=1e-3 * scale, err_msg=f"{layer}/{name}"
        )
    for collection, layer, name in named.keys() - set(trained):
        assert collection == "batch_stats"
        moved = named[collection, layer, name].numpy()
        np.testing.assert_allclose(stats[layer][name], moved, rtol=1e-4, atol=1e-5)
        assert np.abs(moved - variables[collection][layer][name]).max() > 1e-3


@pytest.mark.slow
def test_the_script_in_keras_trains_both_and_freezes_the_discriminator_in_combined(bench):
    keras_acgan, keras_networks = bench("keras_acgan"), bench("keras_networks")
    images = np.random.default_rng(0).uniform(-1, 1, (16, 16, 16, 1)).astype(np.float32)
    labels = np.arange(16, dtype=np.int32) % 2
    gan = keras_acgan.KerasGAN(images, labels, 2, 100, 8, jit_compile=False)
    gan.run(1)

    def copies():
        return [
            [weight.numpy() for weight in keras_networks.weights(model).values()]
            for model in (gan.generator, gan.discriminator)
        ]

    before = copies()
    gan.run(1)
    after = copies()
    for old, new in zip(before, after, strict=True):
        assert all(np.abs(a - b).max() > 0 for a, b in zip(old, new, strict=True))
    gan.combined.train_on_batch(
        [np.ones((8, 100)), np.zeros((8, 1))], [np.ones((8, 1)), np.zeros((8, 1))]
    )
    generator, discriminator = copies()
    assert all(np.abs(a - b).max() > 0 for a, b in zip(after[0][1:], generator[1:], strict=True))
    assert all((a == b).all() for a, b in zip(after[1], discriminator, strict=True))
