"""VGG16's convolutions: the known size, and the features that PyTorch computes of a photograph."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_sample_image

from common.networks.vgg16 import NAMES, VGG16, bundled_weights, to_imagenet_range, vgg16_params
from common.networks.weight_files import read_weights
from common.program.errors import UserError


def test_it_has_the_parameters_of_the_publication():
    images = jnp.zeros((1, 32, 32, 3))
    shapes = jax.eval_shape(lambda: VGG16().init(jax.random.key(0), images))["params"]
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == 14_714_688
    assert tuple(shapes) == NAMES


@pytest.mark.parametrize(("size", "left"), [(32, 1), (64, 2), (100, 3)])
def test_features_are_a_thirty_second_of_the_image(size, left):
    images = jnp.zeros((2, size, size, 3))
    shape = jax.eval_shape(lambda: VGG16().init_with_output(jax.random.key(0), images))[0].shape
    assert shape == (2, left, left, 512)


def test_without_the_package_the_weights_are_asked_for(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"triptych\[pretrained\]"):
        bundled_weights()


def test_features_of_a_photograph_are_those_of_pytorch():
    torch = pytest.importorskip("torch", reason="there is no torch: pip install -e '.[bench]'")
    try:
        file = bundled_weights()
    except UserError as error:
        pytest.skip(str(error))
    params = vgg16_params(read_weights(file), str(file))
    photograph = load_sample_image("china.jpg")[100:324, 200:424].astype(np.float32) / 255
    images = to_imagenet_range(photograph[None])
    found = np.asarray(jax.jit(VGG16().apply)({"params": params}, jnp.asarray(images)))

    x, last = torch.from_numpy(images).permute(0, 3, 1, 2), 0
    for name in NAMES:
        block = int(name[5])
        if block != last and last:
            x = torch.nn.functional.max_pool2d(x, 2)
        last = block
        kernel, bias = (torch.from_numpy(params[name][part]) for part in ("kernel", "bias"))
        x = torch.relu(torch.nn.functional.conv2d(x, kernel.permute(3, 2, 0, 1), bias, padding=1))
    expected = torch.nn.functional.max_pool2d(x, 2).permute(0, 2, 3, 1).numpy()
    assert found.shape == (1, 7, 7, 512) and expected.max() > 10
    np.testing.assert_allclose(found, expected, atol=1e-4 * expected.max())
    # The weights are of a network that has seen photographs: its features are sparse.
    assert 0.6 < (found == 0).mean() < 0.99
