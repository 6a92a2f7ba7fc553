"""The network of FID: its size, and that it computes what the package pytorch-fid computes."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from common.networks.inception import Inception, pretrained, resize
from common.program.errors import UserError

# What pytorch-fid 0.3.0 makes of the weights and the image below: means of 128 features each.
FEATURES = (
    *(4.35703, 3.83088, 4.00101, 4.43032, 4.18669, 3.74328, 4.53117, 3.39284),
    *(5.06989, 3.57082, 4.47675, 3.59869, 3.33305, 4.06856, 5.1916, 5.33324),
)


@pytest.fixture(scope="module")
def shapes():
    return jax.eval_shape(Inception().init, jax.random.key(0), jnp.zeros((1, 64, 64, 1)))


@pytest.fixture(scope="module")
def weights(shapes):
    """Random weights under the names of the published file."""
    rng = np.random.default_rng(0)
    arrays = {"fc.weight": np.zeros((1008, 2048)), "fc.bias": np.zeros(1008)}
    for name in sorted(shapes["params"]):
        layer, kind = name.rsplit("_", 1)
        if kind == "conv":
            shape = [shapes["params"][name]["kernel"].shape[axis] for axis in (3, 2, 0, 1)]
            deviation = (2 / np.prod(shape[1:])) ** 0.5
            arrays[f"{layer}.conv.weight"] = deviation * rng.standard_normal(shape, np.float32)
        else:
            for part in ("weight", "bias", "running_mean", "running_var"):
                low, high = (-0.2, 0.2) if part in ("bias", "running_mean") else (0.5, 1.5)
                arrays[f"{layer}.bn.{part}"] = rng.uniform(
                    low, high, shapes["params"][name]["bias"].shape
                )
    return {name: array.astype(np.float32) for name, array in arrays.items()}


@pytest.fixture(scope="module")
def file(weights, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "inception.npz"
    np.savez(path, **weights)
    return path


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(1).random((1, 64, 64, 1), np.float32)


def test_it_has_the_parameters_of_the_publication(shapes):
    count = {kind: sum(leaf.size for leaf in jax.tree.leaves(shapes[kind])) for kind in shapes}
    assert count == {"params": 21_785_568, "batch_stats": 34_432}
    # As Keras counts: with a last layer of 1,000 classes, and BatchNorm without a scale.
    assert sum(count.values()) + 2049 * 1000 - count["batch_stats"] // 2 == 23_851_784


def test_features_are_those_of_pytorch_fid(file, image):
    (features,) = jax.jit(Inception().apply)(pretrained(file), image)
    np.testing.assert_allclose(features.reshape(16, 128).mean(1), FEATURES, atol=1e-4)


def test_every_block_is_that_of_pytorch_fid(file, weights, image, monkeypatch):
    theirs = pytest.importorskip("pytorch_fid.inception", reason="there is no pytorch-fid")
    import torch

    arrays = {name: torch.from_numpy(array) for name, array in weights.items()}
    monkeypatch.setattr(theirs, "load_state_dict_from_url", lambda *_, **__: arrays)
    trunk, maps = theirs.fid_inception_v3(), {}
    for name, block in trunk.named_children():
        block.register_forward_hook(lambda _, __, y, name=name: maps.update({name: y.numpy()}))
    monkeypatch.setattr(theirs, "fid_inception_v3", lambda: trunk)
    with torch.no_grad():
        rgb = torch.from_numpy(image.transpose(0, 3, 1, 2)).expand(-1, 3, -1, -1)
        features = theirs.InceptionV3().eval()(rgb)[0].numpy()
    run = jax.jit(partial(Inception().apply, mutable=["intermediates"]))
    found, kept = run(pretrained(file), image)
    assert len(kept["intermediates"]) == 11
    for name, (block,) in kept["intermediates"].items():
        expected = maps[name].transpose(0, 2, 3, 1)
        np.testing.assert_allclose(block, expected, atol=1e-5 * expected.max())
    np.testing.assert_allclose(found, features[..., 0, 0], atol=1e-4)


@pytest.mark.parametrize(("height", "width"), [(64, 48), (299, 299), (400, 751)])
def test_images_are_resized_as_by_pytorch(height, width):
    torch = pytest.importorskip("torch", reason="there is no torch: pip install -e '.[bench]'")
    images = np.random.default_rng(0).random((2, height, width, 3), np.float32)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(images).permute(0, 3, 1, 2), (299, 299), mode="bilinear"
    )
    found = jax.jit(resize, static_argnums=1)(images, 299)
    np.testing.assert_allclose(found, expected.permute(0, 2, 3, 1), atol=1e-6)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"fc.weight": np.zeros((1000, 2048))},
            r"other\.npz holds a different Inception .* pt_incep",
        ),
        ({"Mixed_7c.branch_pool.conv.weight": np.zeros((2, 2))}, r"other\.npz has no Mixed_7c"),
    ],
)
def test_other_networks_are_refused(weights, tmp_path, changed, message):
    np.savez(tmp_path / "other.npz", **{**weights, **changed})
    with pytest.raises(UserError, match=message):
        pretrained(tmp_path / "other.npz")
