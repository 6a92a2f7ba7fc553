"""ResNet-18: its size, and that it computes what PyTorch computes of torchvision's weights."""

import hashlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from classify.config import ClassifierSettings
from classify.networks.resnet18 import Network, pretrained
from classify.state import init_state, make_classifier, with_weights
from common.data.prepared.prepared import DataCard
from common.program.errors import UserError
from configs.vgg16_covid import get_config

STRIDES = {1: 1, 2: 2, 3: 2, 4: 2}
EPSILON = 1e-5


def torchvision_arrays(width=64):
    """Random weights under the names of `torchvision.models.resnet18().state_dict()`."""
    rng, arrays = np.random.default_rng(0), {}

    def layer(conv, norm, out, into, size):
        scale = (2 / (into * size * size)) ** 0.5
        arrays[f"{conv}.weight"] = rng.normal(size=(out, into, size, size)) * scale
        for name, low, high in (
            *(("weight", 0.5, 1.5), ("bias", -0.2, 0.2)),
            *(("running_mean", -0.2, 0.2), ("running_var", 0.5, 1.5)),
        ):
            arrays[f"{norm}.{name}"] = rng.uniform(low, high, out)

    layer("conv1", "bn1", width, 3, 7)
    before = width
    for stage in range(1, 5):
        out = width << (stage - 1)
        for block in range(2):
            name = f"layer{stage}.{block}"
            layer(f"{name}.conv1", f"{name}.bn1", out, before, 3)
            layer(f"{name}.conv2", f"{name}.bn2", out, out, 3)
            if before != out:
                layer(f"{name}.downsample.0", f"{name}.downsample.1", out, before, 1)
            before = out
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def settings(file, sha256="", cache=""):
    config = get_config("tiny")
    config.model.update(name="resnet18", weights=str(file), weights_sha256=sha256)
    config.data.cache_dir = str(cache)
    with config.unlocked():
        config.model.network = {"imagenet_input": True}
    return ClassifierSettings.of(config)


CARD = DataCard("test", ("A", "B"), {"train": 8}, 64, 1, "0", False, 0, class_counts=(4, 4))


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "resnet18.npz"
    np.savez(path, **torchvision_arrays())
    return path


@pytest.fixture(scope="module")
def state(file):
    classifier = make_classifier(settings(file), CARD)
    return jax.jit(lambda rng: init_state(classifier, CARD, rng))(jax.random.key(0))


def test_weights_of_torchvision_are_of_every_layer_but_the_last(file):
    found = pretrained(file, "")
    images = jnp.zeros((1, 64, 64, 1))
    network = Network(2, imagenet_input=True)
    like = jax.eval_shape(lambda: network.init(jax.random.key(0), images, train=True))
    for collection in ("params", "batch_stats"):
        shapes = jax.tree.map(lambda leaf: leaf.shape, dict(like[collection]))
        shapes.pop("classes", None)
        assert jax.tree.map(lambda leaf: leaf.shape, found[collection]) == shapes


def test_features_are_those_of_pytorch(file):
    torch = pytest.importorskip("torch", reason="there is no torch: pip install -e '.[bench]'")
    images = jnp.asarray(np.random.default_rng(1).random((2, 64, 64, 1)), jnp.float32)
    arrays = {name: torch.from_numpy(array) for name, array in torchvision_arrays().items()}

    def conv(x, conv_name, norm, stride, padding):
        x = torch.nn.functional.conv2d(x, arrays[f"{conv_name}.weight"], None, stride, padding)
        parts = [arrays[f"{norm}.{part}"] for part in ("running_mean", "running_var")]
        affine = [arrays[f"{norm}.{part}"] for part in ("weight", "bias")]
        return torch.nn.functional.batch_norm(x, *parts, *affine, eps=EPSILON)

    mean, deviation = (
        torch.tensor(three).view(1, 3, 1, 1)
        for three in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    x = (
        torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).expand(-1, 3, -1, -1) - mean
    ) / deviation
    x = torch.nn.functional.max_pool2d(torch.relu(conv(x, "conv1", "bn1", 2, 3)), 3, 2, 1)
    for stage, first_stride in STRIDES.items():
        for block in range(2):
            name, stride = f"layer{stage}.{block}", first_stride if block == 0 else 1
            y = torch.relu(conv(x, f"{name}.conv1", f"{name}.bn1", stride, 1))
            y = conv(y, f"{name}.conv2", f"{name}.bn2", 1, 1)
            if stride > 1:
                x = conv(x, f"{name}.downsample.0", f"{name}.downsample.1", stride, 0)
            x = torch.relu(x + y)
    expected = x.mean((2, 3)).numpy()

    network = Network(2, imagenet_input=True)
    made = jax.jit(lambda: network.init(jax.random.key(0), images, train=False))()
    found = pretrained(file, "")
    variables = {**found, "params": {**made["params"], **found["params"]}}
    run = jax.jit(lambda v: network.apply(v, images, train=False, mutable=["intermediates"]))
    (features,) = run(variables)[1]["intermediates"]["features"]
    np.testing.assert_allclose(features, expected, atol=1e-4 * abs(expected).max())


def test_a_run_starts_from_a_file_and_refuses_one_of_another_size(file, state, tmp_path):
    started = with_weights(settings(file), state)
    kernel = started.network.params["stem_conv"]["kernel"]
    np.testing.assert_array_equal(
        kernel, torchvision_arrays()["conv1.weight"].transpose(2, 3, 1, 0)
    )
    np.savez(tmp_path / "narrow.npz", **torchvision_arrays(width=8))
    with pytest.raises(
        UserError, match=r"narrow\.npz has .* of shape .*8.*, but the network of .*64"
    ):
        with_weights(settings(tmp_path / "narrow.npz"), state)


def test_weights_by_url_need_a_checksum_and_come_once(file, state, tmp_path):
    chosen = settings(file.as_uri(), cache=tmp_path)
    with pytest.raises(UserError, match=r"config\.model\.weights_sha256 is ''"):
        with_weights(chosen, state)
    checksum = hashlib.sha256(file.read_bytes()).hexdigest()
    chosen = settings(file.as_uri(), checksum, tmp_path)
    for _ in range(2):
        started = with_weights(chosen, state)
        assert started.network.params["stem_conv"]["kernel"].shape == (7, 7, 3, 64)
    assert len(list(tmp_path.glob("downloads/*/resnet18.npz"))) == 1


def test_no_package_brings_its_weights():
    with pytest.raises(UserError, match="name a file or URL of torchvision"):
        pretrained(None, "")
