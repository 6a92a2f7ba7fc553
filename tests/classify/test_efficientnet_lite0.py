"""EfficientNet-Lite0: its size, and that its published weights see what is on a photograph."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_sample_image

from classify.networks.efficientnet_lite0 import STAGES, Network, pretrained
from common.networks.efficientnet_lite import bundled_weights
from common.networks.weight_files import read_weights
from common.program.errors import UserError

SIZE = 224


@pytest.fixture(scope="module")
def weights():
    """The published layers, all of them, and the file that they came from."""
    try:
        found, file = pretrained(None, ""), bundled_weights()
    except UserError as error:
        pytest.skip(str(error))
    arrays = read_weights(file)
    classes = {"kernel": arrays["_fc.weight"].T, "bias": arrays["_fc.bias"]}
    params = {**found["params"], "classes": classes}
    return {"params": params, "batch_stats": found["batch_stats"]}, file


@pytest.fixture(scope="module")
def photograph():
    """A palace."""
    return load_sample_image("china.jpg")[100 : 100 + SIZE, 200 : 200 + SIZE] / np.float32(255)


def test_it_has_the_parameters_of_the_publication():
    images = jnp.zeros((1, 64, 64, 3))
    shapes = jax.eval_shape(lambda: Network(1000).init(jax.random.key(0), images, train=True))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes["params"])) == 4_652_008
    names = set(shapes["params"]) - {"classes"}
    assert all(sum(name.startswith(stage) for stage in STAGES) == 1 for name in names)


def test_published_weights_are_of_every_layer_but_the_last(weights):
    images = jnp.zeros((1, 64, 64, 1))
    like = jax.eval_shape(lambda: Network(1000).init(jax.random.key(0), images, train=True))
    for collection in ("params", "batch_stats"):
        shapes = jax.tree.map(lambda leaf: leaf.shape, dict(like[collection]))
        assert jax.tree.map(lambda leaf: leaf.shape, weights[0][collection]) == shapes


def test_a_palace_is_taken_for_a_palace(weights, photograph):
    logits = jax.jit(lambda v, x: Network(1000).apply(v, x, train=False))(
        weights[0], photograph[None]
    )
    palace, monastery = 698, 663  # of ImageNet's classes
    assert np.argsort(-logits[0])[:2].tolist() == [palace, monastery]


def test_logits_are_those_of_pytorch(weights, photograph):
    torch = pytest.importorskip("torch", reason="there is no torch: pip install -e '.[bench]'")
    package = pytest.importorskip(
        "efficientnet_lite_pytorch", reason="pip install efficientnet_lite_pytorch"
    )
    theirs = package.EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=str(weights[1])
    )
    pixels = (photograph[None] * 255 - 127) / 128
    with torch.no_grad():
        expected = theirs.eval()(torch.from_numpy(pixels).permute(0, 3, 1, 2)).numpy()
    logits = jax.jit(lambda v, x: Network(1000).apply(v, x, train=False))(
        weights[0], photograph[None]
    )
    np.testing.assert_allclose(logits, expected, atol=1e-5 * abs(expected).max())


def test_stored_statistics_stay_in_training():
    """A program that gives back each of them as it came, or none."""
    images = jnp.zeros((4, 32, 32, 1))
    for stored in (True, False):
        network = Network(2, stored_statistics=stored, axis_name="")

        def after(stats, params, network=network):
            variables = {"params": params, "batch_stats": stats}
            return network.apply(variables, images, train=True, mutable=["batch_stats"])[1]

        variables = jax.eval_shape(lambda n=network: n.init(jax.random.key(0), images, train=True))
        program = jax.make_jaxpr(after)(variables["batch_stats"], variables["params"]).jaxpr
        places = zip(program.outvars, program.invars, strict=False)  # the statistics come first
        assert {gives is takes for gives, takes in places} == {stored}


def test_weights_of_another_network_are_refused(tmp_path):
    for arrays in ({"kernel": np.zeros(3)}, {"_conv_stem.weight": np.zeros(3)}):
        np.savez(tmp_path / "w.npz", **arrays)
        with pytest.raises(UserError, match="does not hold the weights of this network"):
            pretrained(tmp_path / "w.npz", "")
