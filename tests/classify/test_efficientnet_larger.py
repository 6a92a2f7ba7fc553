"""EfficientNet-Lite1 and Lite2: their size, and that their published weights see a palace."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_sample_image

from common.networks.efficientnet_lite import STAGES, bundled_weights
from common.networks.weight_files import read_weights


def network_of(number):
    return importlib.import_module(f"classify.networks.efficientnet_lite{number}")


@pytest.mark.parametrize(
    ("number", "parameters"),
    [pytest.param(1, 5_416_680, marks=pytest.mark.slow), (2, 6_092_072)],
)
def test_they_have_the_parameters_of_the_publication(number, parameters):
    images = jnp.zeros((1, 64, 64, 3))
    network = network_of(number).Network(1000)
    shapes = jax.eval_shape(lambda: network.init(jax.random.key(0), images, train=True))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes["params"])) == parameters
    names = set(shapes["params"]) - {"classes"}
    assert all(sum(name.startswith(stage) for stage in STAGES) == 1 for name in names)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "size"), [(1, 240), (2, 260)])
def test_a_palace_is_taken_for_a_palace(number, size):
    """Needs the package of weights, or an index that pip reaches."""
    module, arrays = network_of(number), read_weights(bundled_weights(number))
    found = module.pretrained(None, "")
    head = {"kernel": arrays["_fc.weight"].T, "bias": arrays["_fc.bias"]}
    variables = {
        "params": {**found["params"], "classes": head},
        "batch_stats": found["batch_stats"],
    }
    photograph = load_sample_image("china.jpg")[100 : 100 + size, 200 : 200 + size]
    images = photograph[None] / np.float32(255)
    logits = module.Network(1000).apply(variables, images, train=False)
    palace = 698  # of ImageNet's classes
    assert int(logits[0].argmax()) == palace
